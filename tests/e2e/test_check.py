"""`lakehose check`: every fault of a settings file at once, with its line, and nothing else happens."""

import re
import socket

import pytest
import yaml

import kit

FAULTY = sorted((kit.REPOSITORY / "tests" / "faulty").glob("*.yaml"))
EXPECTATION = re.compile(r"# expect: (?P<line>\d+): (?P<text>.+)")
CONFIG_FAULT = 78
IDENTITY = kit.Identity("acme", ("clicks",))
STREAMS = {"clicks": kit.stream_of({"columns": {"id": "string"}})}


def test_there_are_faulty_files():
    assert FAULTY, "tests/faulty holds no settings file"


def expectations(file):
    """What the comments at the top of the file foretell."""
    found = []
    for text in file.read_text().splitlines():
        match = EXPECTATION.fullmatch(text.strip())
        if match is None:
            break
        found.append((int(match["line"]), match["text"].strip()))
    assert found, f"{file} does not begin with an expectation"
    return found


def faults(file, stderr):
    """Line and the rest of each fault that is reported."""
    form = re.compile(re.escape(str(file)) + r":(\d+):(\d+): (\S.*)")
    matches = (form.fullmatch(text) for text in stderr.splitlines())
    return [(int(match[1]), match[3]) for match in matches if match]


@pytest.mark.parametrize("file", FAULTY, ids=lambda file: file.stem)
def test_each_fault_is_reported_at_its_line(file):
    done = kit.run("check", file)
    assert done.returncode == CONFIG_FAULT, done
    reported = faults(file, done.stderr)
    missing = [
        (line, text)
        for line, text in expectations(file)
        if not any(line == at and text in message for at, message in reported)
    ]
    assert not missing, f"not reported: {missing}\n{done.stderr}"
    assert "panicked" not in done.stderr


def write(file, settings):
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return file


@pytest.fixture
def settings(tmp_path, folder_lake):
    return kit.settings_of(tmp_path, [IDENTITY], folder_lake, STREAMS)


def test_a_good_file_passes_without_a_port_or_a_folder(settings, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "%s:%d" % taken.getsockname()
        settings["server"] = {"listen": address, "admin": "127.0.0.1:1"}
        file = write(tmp_path / "good.yaml", settings)
        done = kit.run("check", file, secrets=kit.secrets_of([IDENTITY]))
        assert done.returncode == 0, done
    assert not (tmp_path / "data").exists()


def test_serve_refuses_what_check_refuses(settings, tmp_path):
    settings["delivery_streams"]["clicks"]["bufering"] = {}
    file = write(tmp_path / "bad.yaml", settings)
    secrets = kit.secrets_of([IDENTITY])
    checked = kit.run("check", file, secrets=secrets)
    served = kit.run("serve", "--config", file, secrets=secrets)
    assert checked.returncode == served.returncode == CONFIG_FAULT, (checked, served)
    assert "bufering" in checked.stderr and faults(file, checked.stderr), checked
    assert "bufering" in served.stderr, served
    assert not (tmp_path / "data").exists()


def test_secrets_are_never_shown(settings, tmp_path):
    hidden = "hunter2-from-the-environment"
    in_place = "hunter2-in-the-file"
    settings["unknown_key"] = 1
    settings["identities"].append({**IDENTITY.settings(), "access_key": "AKOTHER", "secret": in_place})
    settings["identities"].append({**IDENTITY.settings(), "access_key": "AKTHIRD", "secret": [in_place]})
    file = write(tmp_path / "secrets.yaml", settings)
    done = kit.run("check", file, secrets={"LAKE_SECRET": hidden, IDENTITY.variable: hidden})
    assert done.returncode == CONFIG_FAULT, done
    for text in (hidden, in_place):
        assert text not in done.stdout + done.stderr


def test_a_missing_variable_is_a_fault_at_its_line(settings, tmp_path):
    file = write(tmp_path / "variable.yaml", settings)
    done = kit.run("check", file)
    lines = file.read_text().splitlines()
    at = 1 + next(number for number, text in enumerate(lines) if IDENTITY.variable in text)
    reported = faults(file, done.stderr)
    assert any(line == at and IDENTITY.variable in text for line, text in reported), done
    assert done.returncode == CONFIG_FAULT, done
