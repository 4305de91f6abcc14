"""The failing store, the proxy and the exact system calls do what they are told, and nothing else."""

import os
import subprocess
import sys

import botocore.exceptions
import pytest

import faults
import proxy
import store
from kits import kit


@pytest.fixture
def server(tmp_path):
    s3 = kit.S3Server(tmp_path)
    yield s3.start()
    s3.kill()


def client(endpoint):
    return kit.client(
        "s3", endpoint, kit.LAKE_ACCESS_KEY, kit.LAKE_SECRET, s3={"addressing_style": "path"},
        request_checksum_calculation="when_required", connect_timeout=2, read_timeout=2,
    )


def put(endpoint, key, body=b"x" * 4_000):
    """The status that a put is answered with; None without an answer."""
    try:
        client(endpoint).put_object(Bucket=kit.BUCKET, Key=key, Body=body)
        return 200
    except botocore.exceptions.ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    except botocore.exceptions.BotoCoreError:
        return None


def is_stored(server, key):
    return (server.root / kit.BUCKET / key).exists()


@pytest.mark.parametrize("fault", store.FAULTS)
def test_the_front_spoils_a_put_as_its_name_says_and_the_next_one_not(server, fault):
    front = store.Front(server)
    try:
        front.order(fault, every=2)
        assert put(front.endpoint, "sound") == 200 and is_stored(server, "sound")
        answered = put(front.endpoint, "spoilt")
        wanted = {"foreign": 200, "lost": None, "lost-500": 500, "zombie": None, "delayed": None, "huge": None, "slow": 200}
        assert answered == (int(fault) if fault.isdigit() else wanted[fault]) or (fault, answered) == ("huge", 500)
        assert is_stored(server, "spoilt") == (fault in ("lost", "lost-500", "zombie", "slow", "foreign"))
        front.settle()
        assert is_stored(server, "spoilt") == (fault in ("lost", "lost-500", "zombie", "slow", "foreign", "delayed"))
        times = sum(key.endswith("/spoilt") for key, _ in front.writes)
        assert times == {"zombie": 2}.get(fault, int(is_stored(server, "spoilt")))
        front.order()
        assert put(front.endpoint, "after") == 200
    finally:
        front.close()


@pytest.mark.parametrize("honours", [True, False])
def test_the_front_honours_conditions_or_ignores_them(server, honours):
    front = store.Front(server, honours)
    try:
        assert put(front.endpoint, "key", b"first") == 200
        again = {"Bucket": kit.BUCKET, "Key": "key", "Body": b"second", "IfNoneMatch": "*"}
        if honours:
            with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
                client(front.endpoint).put_object(**again)
        else:
            client(front.endpoint).put_object(**again)
        assert (server.root / kit.BUCKET / "key").read_bytes() == (b"first" if honours else b"second")
    finally:
        front.close()


@pytest.mark.parametrize("mode", proxy.MODES)
def test_the_proxy_fails_as_its_mode_says_and_passes_afterwards(server, mode):
    between = proxy.Proxy(server.endpoint)
    try:
        assert put(between.endpoint, "before") == 200
        between.set(mode)
        assert put(between.endpoint, "during") == (200 if mode == "slow" else None)
        assert is_stored(server, "during") == (mode in ("slow", "swallow"))
        between.set("pass")
        assert put(between.endpoint, "after") == 200
    finally:
        between.close()


@pytest.mark.parametrize("act", ["kill", "after"])
def test_the_nth_removal_is_met_over_several_lives(tmp_path, act):
    try:
        line = faults.Faultline(tmp_path, path="/watched/")
    except faults.Unavailable as reason:
        pytest.skip(str(reason))
    (tmp_path / "watched").mkdir()
    environment = {**os.environ, **line.environment("unlink", 3, act)}
    for life, code in [(1, 0), (2, -9)]:
        for number in range(2):
            (tmp_path / f"watched/{life}{number}").touch()
        (tmp_path / "elsewhere").touch()
        script = f"import os; os.unlink('elsewhere'); os.unlink('watched/{life}0'); os.unlink('watched/{life}1')"
        script = script.replace("'", '"').replace('unlink("', f'unlink("{tmp_path}/')
        done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path)
        assert done.returncode == code
    assert line.count == 3
    left = sorted(path.name for path in (tmp_path / "watched").iterdir())
    assert left == (["20", "21"] if act == "kill" else ["21"])
