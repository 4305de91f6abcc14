"""What is wrong around the program is told at once, with what to do about it."""

import socket
import time

import pytest
import yaml

import kit

IDENTITY = kit.Identity("acme", ("clicks",))
COLUMNS = {"id": "bigint"}


@pytest.fixture
def stream():
    return kit.stream_of({"columns": dict(COLUMNS)})


def written(folder, lake, stream, **replaced):
    settings = kit.settings_of(folder, [IDENTITY], lake, {"clicks": stream}) | replaced
    file = folder / "lakehose.yaml"
    file.write_text(yaml.safe_dump(settings))
    (folder / "sample.ndjson").write_text('{"id": 1}\n')
    return file


def run(*arguments):
    return kit.run(*arguments, secrets=kit.secrets_of([IDENTITY]))


@pytest.mark.parametrize("program, told", [
    ("/nowhere/hook", "there is no file '/nowhere/hook'"),
    ("no-such-program-of-the-tests", "the folders of PATH have no program"),
    ("SAMPLE", "may not be executed"),
])
def test_a_command_that_can_never_start_is_found_before_the_first_record(
    tmp_path, folder_lake, stream, program, told
):
    program = program.replace("SAMPLE", str(tmp_path / "sample.ndjson"))
    stream["transform"] = [{"jq": "."}, {"command": {"argv": [program]}}]
    file = written(tmp_path, folder_lake, stream)
    for command in (["check", file], ["serve", "--config", file]):
        done = run(*command)
        assert done.returncode == 78 and told in done.stderr, done
        assert "delivery_streams.clicks.transform[1]" in done.stderr, done


def test_a_preview_says_which_hook_it_waits_for_and_gives_it_up(tmp_path, folder_lake, stream):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/hook"
    stream["transform"] = [{"http": {"url": url, "timeout": "5 s", "retries": 2}}]
    file = written(tmp_path, folder_lake, stream)
    begun = time.monotonic()
    done = run("preview", "--config", file, "--run-hooks", tmp_path / "sample.ndjson")
    assert done.returncode == 1 and time.monotonic() - begun < 30, done
    first, *waiting, last = done.stderr.splitlines()
    assert first == f"calling transform[0], http {url}: 3 attempts, 5 s for each"
    assert len(waiting) == 3 and all("Connection refused" in line for line in waiting), done
    assert "(attempt 3 of 3); it is given up" in last, done


def test_a_taken_port_is_named_by_its_setting(tmp_path, folder_lake, stream):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "%s:%d" % taken.getsockname()
        file = written(tmp_path, folder_lake, stream, server={"listen": "127.0.0.1:0", "admin": address})
        # The file is taken as `check` takes it.
        done = run("serve", file)
    assert done.returncode == 1, done
    last = done.stderr.splitlines()[-1]
    assert f"could not listen on {address}, the address of server.admin: " in last, done
    assert "end the process that listens there" in last, done


def test_commands_that_reach_the_other_listener_say_so(new_lakehose, folder_lake, stream):
    server = new_lakehose([IDENTITY], folder_lake, {"clicks": stream}).start()
    for command in (["status"], ["ready"], ["flush", "clicks"], ["reload"]):
        done = run(*command, "--admin", server.endpoint)
        assert done.returncode == 1 and done.stdout == "", done
        [line] = done.stderr.splitlines()
        assert "is answered by the listener for producers (server.listen)" in line, done


def test_a_file_that_is_no_text_is_told_with_its_line(tmp_path):
    file = tmp_path / "lakehose.yaml"
    file.write_bytes(b"# fine\ndelivery_streams:\n  caf\xe9: {}\n")
    done = run("check", file)
    assert done.returncode == 78 and "line 3 is not UTF-8" in done.stderr, done


def test_a_type_that_braces_cut_is_to_be_quoted(tmp_path, folder_lake, stream):
    file = written(tmp_path, folder_lake, stream)
    file.write_text("delivery_streams: {s: {schema: {columns: {b: decimal(12,2)}}}}\n")
    done = run("check", file)
    assert done.returncode == 78 and "so quote the type" in done.stderr, done


def test_a_data_dir_that_cannot_be_one_says_what_to_do(tmp_path, folder_lake, stream):
    (tmp_path / "taken").write_text("")
    file = written(tmp_path, folder_lake, stream, data_dir=str(tmp_path / "taken" / "data"))
    done = run("serve", file)
    assert done.returncode == 78 and "name another data_dir" in done.stderr, done


def test_a_store_is_quoted_on_one_line_with_the_key_once(s3, s3_lake, new_lakehose, stream):
    stream["buffering"]["interval"] = "1 s"
    server = new_lakehose([IDENTITY], s3_lake, {"clicks": stream}).start()

    def blocked():
        return server.status("clicks")["blocked"]

    s3.kill()
    kit.send(server.firehose(IDENTITY), "clicks", [b'{"id": 1}'])
    refused = kit.wait_for(blocked, 60, "a refusal")
    assert "Connection refused" in refused and refused.count("year=") == 1, refused
    assert "\n" not in refused


def test_what_is_no_json_is_counted(tmp_path):
    file = tmp_path / "sample.csv"
    file.write_text("id,name\n1,a\n2,b\n")
    done = run("infer", file)
    assert done.returncode == 1 and "3 lines are no JSON, the first is line 1" in done.stderr, done


def test_one_is_no_plural_and_whole_decimals_have_no_point(tmp_path, folder_lake, stream):
    stream["schema"]["columns"] = {"id": "decimal(38,0)"}
    file = written(tmp_path, folder_lake, stream)
    done = run("preview", "--config", file, tmp_path / "sample.ndjson")
    assert "(1 row)" in done.stdout and "over 1 folder " in done.stdout, done
    assert "| 1 " in done.stdout and "1." not in done.stdout.split("(1 row)")[1].split("delivered")[0], done
