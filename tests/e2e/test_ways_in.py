"""Every way in: plain records over HTTP with a token, and TLS, on the compiled server."""

import gzip
import hashlib
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import sys

import botocore.exceptions
import pyarrow
import pytest
import yaml

import kit
from tls_kit import Authority, tls_settings, write_pair

ACME = kit.Identity("acme", ("clicks",))
GLOBEX = kit.Identity("globex", ("clicks",))
TOKENS = {"acme": "token-of-acme-0123456789", "globex": "token-of-globex-0123456789"}
STREAMS = {
    name: kit.stream_of({"columns": {"id": "string", "number": "bigint"}})
    for name in ("clicks", "others")
}


def give_tokens(server):
    """Gives each identity of the settings file a token beside its secret."""
    settings = yaml.safe_load(server.settings_file.read_text())
    for identity in settings["identities"]:
        variable = f"TOKEN_{identity['tenant'].upper()}"
        identity["token"] = f"${{env:{variable}}}"
        server.secrets[variable] = TOKENS[identity["tenant"]]
    server.settings_file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return server


@pytest.fixture
def new_server(new_lakehose, folder_lake):
    def make(**replaced):
        return give_tokens(new_lakehose([ACME, GLOBEX], folder_lake, STREAMS, **replaced))

    return make


def post(server, body, stream="clicks", tenant="acme", **headers):
    """Status and document of one call of the plain endpoint."""
    host, port = server.endpoint.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if tenant:
        sent.setdefault("Authorization", f"Bearer {TOKENS[tenant]}")
    try:
        connection.request("POST", f"/v1/streams/{stream}/records", body, sent)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        connection.close()


def accepted(answer):
    status, document, _ = answer
    assert status == 200, document
    assert document["accepted"] == len(document["record_ids"])
    return document["record_ids"]


def rows(lake):
    query = f"SELECT tenant, id, number FROM {kit.rows_of(lake, 'clicks')} ORDER BY ALL"
    return lake.duckdb().execute(query).fetchall()


def lines(*names):
    return "".join(json.dumps({"id": name, "number": 1}) + "\n" for name in names).encode()


def test_every_kind_of_body_arrives_under_the_tenant_of_its_token(new_server, folder_lake):
    server = new_server().start()
    ndjson, array = "application/x-ndjson", "application/json"
    zstd = pyarrow.compress(lines("f", "g"), codec="zstd", asbytes=True)
    calls = [
        (lines("a", "b"), {"Content_Type": ndjson}),
        (b'[{"id": "c", "number": 1},\n {"id": "d", "number": 1}]', {"Content_Type": array}),
        (gzip.compress(lines("e")), {"Content_Type": ndjson, "Content_Encoding": "gzip"}),
        (zstd, {"Content_Type": ndjson, "Content_Encoding": "zstd"}),
        (b'{\n  "id": "h",\n  "number": 1\n}', {"Content_Type": array}),
        (lines("i"), {}),
        # Chunks, whose length nobody knows beforehand.
        (iter([lines("j")[:9], lines("j")[9:]]), {"Content_Type": ndjson}),
    ]
    ids = [each for body, headers in calls for each in accepted(post(server, body, **headers))]
    ids += accepted(post(server, lines("k"), tenant="globex"))
    # A line that is no row goes to the error prefix, as every bad record does.
    ids += accepted(post(server, b"no JSON\n", Content_Type="text/plain"))
    assert len(set(ids)) == 12
    # The same stream by the API of Firehose: one journal, one lake.
    kit.send(server.firehose(ACME), "clicks", [b'{"id": "l", "number": 1}'])
    server.flush("clicks")
    expected = [("acme", name, 1) for name in "abcdefghijl"] + [("globex", "k", 1)]
    assert rows(folder_lake) == expected
    [failure] = kit.failures(folder_lake)
    assert failure.raw == b"no JSON" and "tenant=acme" in failure.key
    kit.assert_conserved(server.status("clicks"), 13)


def test_a_token_alone_opens_the_plain_endpoint_and_an_access_key_alone_the_api(
    new_server, folder_lake
):
    server = new_server()
    settings = yaml.safe_load(server.settings_file.read_text())
    acme, globex = settings["identities"]
    del acme["access_key"], acme["secret"], globex["token"]
    server.settings_file.write_text(yaml.safe_dump(settings, sort_keys=False))
    server.start()
    once = accepted(post(server, lines("a", "b"), Idempotency_Key="k"))
    assert accepted(post(server, lines("a", "b"), Idempotency_Key="k")) == once
    server.kill()
    server.start()
    assert accepted(post(server, lines("a", "b"), Idempotency_Key="k")) == once
    status, document, _ = post(server, lines("c"), tenant="globex")
    assert (status, document["code"]) == (403, "forbidden"), document
    kit.send(server.firehose(GLOBEX), "clicks", [b'{"id": "d", "number": 1}'])
    # Nobody signs as who has no secret, not even under the name that stands for the access key.
    stands_for_it = hashlib.sha256(b"token:" + hashlib.sha256(TOKENS["acme"].encode()).digest())
    for key in (ACME.access_key, f"token:{stands_for_it.hexdigest()}"):
        for secret in (ACME.secret, "no-identity-has-this-secret-0000000000000"):
            firehose = kit.client("firehose", server.endpoint, key, secret)
            with pytest.raises(botocore.exceptions.ClientError) as caught:
                kit.send(firehose, "clicks", [b"{}"])
            assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"
    server.flush("clicks")
    assert rows(folder_lake) == [("acme", "a", 1), ("acme", "b", 1), ("globex", "d", 1)]


def test_refused_calls_say_why_and_store_nothing(new_server):
    server = new_server().start()
    bomb = gzip.compress(b" " * (64 << 20))
    for status, code, body, call in [
        (401, "unauthorized", b"1", {"tenant": None}),
        (401, "unauthorized", b"1", {"Authorization": "Basic dTpw"}),
        (403, "forbidden", b"1", {"Authorization": "Bearer nobody-has-this-token"}),
        (404, "stream_not_found", b"1", {"stream": "others"}),
        (404, "stream_not_found", b"1", {"stream": "nothing"}),
        (400, "no_record", b"\n\n", {}),
        (400, "malformed_json", b'[{"id": "a"}, {"id"', {}),
        (400, "malformed_encoding", b"1", {"Content_Encoding": "gzip"}),
        (415, "unsupported_encoding", b"1", {"Content_Encoding": "br"}),
        (415, "unsupported_type", b"1", {"Content_Type": "application/xml"}),
        (413, "body_too_large", bomb, {"Content_Encoding": "gzip"}),
        (413, "record_too_large", b"a" * 1_024_001, {}),
        (413, "too_many_records", b"1\n" * 10_001, {}),
        (400, "idempotency_key", b"1", {"Idempotency_Key": "a b"}),
    ]:
        found, document, _ = post(server, body, **call)
        assert (found, document["code"]) == (status, code), document
        assert document["message"].endswith("."), document
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=30)
    connection.request("GET", "/v1/streams/clicks/records")
    assert connection.getresponse().status == 405
    connection.close()
    assert server.status("clicks")["accepted"] == 0


def test_a_used_up_budget_is_told_with_a_time_to_come_again(s3, s3_lake, new_lakehose):
    streams = {"clicks": STREAMS["clicks"]}
    server = give_tokens(new_lakehose([ACME], s3_lake, streams, disk_budget="64 MiB")).start()
    s3.set_faults(put_status=503)
    record = json.dumps({"id": "x" * 1_000_000, "number": 1}).encode() + b"\n"

    def refused():
        status, document, headers = post(server, record * 8)
        return status != 200 and (status, document["code"], headers["Retry-After"])

    assert kit.wait_for(refused, 120, "a refusal", every=0) == (503, "unavailable", "1")


def test_a_call_with_a_key_is_stored_once_also_across_a_kill(new_server, folder_lake):
    server = new_server().start()
    first = accepted(post(server, lines("a", "b"), Idempotency_Key="order-1"))
    assert accepted(post(server, lines("a", "b"), Idempotency_Key="order-1")) == first
    server.kill()
    server.start()
    assert accepted(post(server, lines("a", "b"), Idempotency_Key="order-1")) == first
    # A key belongs to whoever uses it.
    other = accepted(post(server, lines("a", "b"), tenant="globex", Idempotency_Key="order-1"))
    assert not set(other) & set(first)
    server.flush("clicks")
    expected = [(tenant, name, 1) for tenant in ("acme", "globex") for name in "ab"]
    assert rows(folder_lake) == expected


def test_the_recipes_send_their_records(new_server):
    server = new_server().start()
    recipes = kit.REPOSITORY / "deploy" / "recipes"
    environment = kit.plain_environment(
        LAKEHOSE_ENDPOINT=server.endpoint,
        LAKEHOSE_TOKEN=TOKENS["acme"],
        AWS_ACCESS_KEY_ID=ACME.access_key,
        AWS_SECRET_ACCESS_KEY=ACME.secret,
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CLI=str(pathlib.Path(sys.executable).with_name("aws")),
    )
    for command, count in [
        (["bash", recipes / "curl.sh"], 4),
        (["bash", recipes / "aws_cli.sh"], 3),
        ([sys.executable, recipes / "boto3_producer.py"], 3),
    ]:
        before = server.status("clicks")["accepted"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done
        assert server.status("clicks")["accepted"] - before == count, done
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), 10)


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def handshake(server, context, protocols=()):
    """The certificate that is shown, and the protocol that is agreed on."""
    if protocols:
        context.set_alpn_protocols(protocols)
    host, port = server.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as plain:
        with context.wrap_socket(plain, server_hostname=host) as connection:
            shown = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))
            return shown.encode(), connection.selected_alpn_protocol()


def test_clients_that_speak_tls_are_served_and_others_are_not(
    new_server, authority, tmp_path, folder_lake, monkeypatch
):
    certificate, key = authority.issue()
    write_pair(tmp_path, certificate, key)
    server = new_server(server=tls_settings(tmp_path)).start()
    for protocol in ("h2", "http/1.1"):
        assert handshake(server, authority.context(), [protocol]) == (certificate, protocol)
    assert handshake(server, authority.context())[1] is None
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, ssl.create_default_context())

    endpoint = server.endpoint.replace("http://", "https://")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.file))
    firehose = kit.client("firehose", endpoint, ACME.access_key, ACME.secret)
    kit.send(firehose, "clicks", [b'{"id": "a", "number": 1}'])
    for version in ("--http1.1", "--http2"):
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--fail", version, "--cacert", authority.file]
            + ["--header", f"Authorization: Bearer {TOKENS['acme']}"]
            + ["--data-binary", lines("b").decode(), f"{endpoint}/v1/streams/clicks/records"],
            capture_output=True, text=True, timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["accepted"] == 1
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        post(server, lines("c"))
    server.flush("clicks")
    assert rows(folder_lake) == [("acme", "a", 1), ("acme", "b", 1), ("acme", "b", 1)]


def test_a_new_certificate_is_taken_into_use_and_a_bad_one_is_not(new_server, authority, tmp_path):
    first, second = authority.issue(), authority.issue()
    write_pair(tmp_path, *first)
    server = new_server(server=tls_settings(tmp_path)).start()
    kept = http.client.HTTPSConnection(
        server.endpoint.removeprefix("http://"), timeout=60, context=authority.context()
    )

    def post_on_kept():
        headers = {"Authorization": f"Bearer {TOKENS['acme']}"}
        kept.request("POST", "/v1/streams/clicks/records", lines("a"), headers)
        answer = kept.getresponse()
        answer.read()
        return answer.status

    assert post_on_kept() == 200
    # Another certificate with the key of the first: half a renewal.
    write_pair(tmp_path, second[0], first[1])
    kit.wait_for(lambda: "the one before stays in use" in server.log_text(), 60, "the complaint")
    assert handshake(server, authority.context())[0] == first[0]
    assert post_on_kept() == 200
    write_pair(tmp_path, *second)
    kit.wait_for(
        lambda: handshake(server, authority.context())[0] == second[0], 60, "the new certificate"
    )
    assert server.log_text().count("the one before stays in use") == 1
    assert post_on_kept() == 200
    kept.close()


def test_a_reload_takes_up_other_files_of_a_certificate_and_refuses_what_takes_a_restart(
    new_server, authority, tmp_path
):
    first, second = authority.issue(), authority.issue()
    write_pair(tmp_path, *first)
    server = new_server(server=tls_settings(tmp_path)).start()
    (tmp_path / "renewed").mkdir()
    write_pair(tmp_path / "renewed", *second)
    settings = yaml.safe_load(server.settings_file.read_text())

    def reload(tls):
        changed = settings | {"server": {**settings["server"], "tls": tls}}
        if tls is None:
            del changed["server"]["tls"]
        server.settings_file.write_text(yaml.safe_dump(changed, sort_keys=False))
        return server.run("reload", "--admin", server.admin)

    moved = tls_settings(tmp_path / "renewed")["tls"]
    absent = reload(moved | {"key": str(tmp_path / "absent.key")})
    assert absent.returncode == 78 and "absent.key cannot be used" in absent.stderr, absent
    assert handshake(server, authority.context())[0] == first[0]
    assert reload(moved).returncode == 0
    assert handshake(server, authority.context())[0] == second[0]
    refused = reload(None)
    assert refused.returncode == 78 and "server.tls: it is set" in refused.stderr, refused
    assert handshake(server, authority.context())[0] == second[0]
    # The files that are in use now are those that are looked at.
    write_pair(tmp_path / "renewed", *first)
    kit.wait_for(
        lambda: handshake(server, authority.context())[0] == first[0], 60, "the renewed certificate"
    )


def test_files_that_cannot_be_used_are_faults_with_their_line(new_server, authority, tmp_path):
    certificate, key = authority.issue()
    server = new_server(server=tls_settings(tmp_path))
    settings = server.settings_file
    line_of = {
        word: next(
            number
            for number, text in enumerate(settings.read_text().splitlines(), 1)
            if text.strip().startswith(f"{word}:") and "server." in text
        )
        for word in ("certificate", "key")
    }
    other_key = authority.issue()[1]
    for written, word, text in [
        ((None, None), "certificate", "cannot be read"),
        ((b"nothing", key), "certificate", "no CERTIFICATE section"),
        ((certificate, b"nothing"), "key", "no such section"),
        ((certificate, other_key), "key", "not the key of the certificate"),
        ((certificate[:100] + certificate[120:], key), "certificate", "cannot be used"),
    ]:
        if written[0]:
            write_pair(tmp_path, *written)
        for command in (("check", settings), ("serve", "--config", settings)):
            done = server.run(*command)
            assert done.returncode == 78, (written, done)
            assert f"{settings}:{line_of[word]}:" in done.stderr and text in done.stderr, done.stderr
            assert "PRIVATE" not in done.stderr
    write_pair(tmp_path, certificate, key)
    assert server.run("check", settings).returncode == 0
