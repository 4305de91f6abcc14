"""README's own configuration and calls work as they stand there."""

import json
import os
import pathlib
import re
import subprocess
import sys

import kit
import yaml

README = (kit.REPOSITORY / "README.md").read_text()
SECRETS = {
    "ACME_SECRET": "a-secret-of-acme",
    "ACME_TOKEN": "a-token-of-acme-1",
    "LAKE_KEY": kit.LAKE_ACCESS_KEY,
    "LAKE_SECRET": kit.LAKE_SECRET,
}


def block(language, holding=""):
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in blocks if holding in text)


def test_the_configuration_has_no_faults(tmp_path):
    file = tmp_path / "lakehose.yaml"
    # What a stream has more to say stands behind its columns.
    file.write_text(block("yaml") + block("yaml", holding="transform:"))
    done = kit.run("check", file, secrets=SECRETS, cwd=tmp_path)
    assert done.returncode == 0, done


def test_partitions_of_event_time_have_no_faults(tmp_path):
    file = tmp_path / "lakehose.yaml"
    stream = "delivery_streams:\n  clicks:\n    schema: {columns: {user_id: string}}\n"
    file.write_text(stream + block("yaml", holding="event_time:"))
    done = kit.run("check", file, secrets={"PARTITION_HOOK": "http://127.0.0.1:9000/x"}, cwd=tmp_path)
    assert done.returncode == 0, done


def test_the_catalog_of_glue_has_no_faults(tmp_path):
    file = tmp_path / "lakehose.yaml"
    # Nothing is asked of the catalog before the file is in order.
    file.write_text(block("yaml", holding="type: glue") + "disk_budget: 1 MiB\n")
    done = kit.run("check", file, cwd=tmp_path)
    assert done.returncode == 78, done
    assert ["disk_budget" in line for line in (done.stdout + done.stderr).splitlines()] == [True]


def first_configuration(folder, s3):
    """README's configuration, with this test's places for its own."""
    text = block("yaml").replace("s3://my-lake", f"s3://{kit.BUCKET}")
    text = text.replace("http://minio:9000", s3.endpoint).replace("/var/lib/", f"{folder}/")
    settings = yaml.safe_load(text)
    settings["server"] = {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    return settings


def paste(text, server, folder):
    """Runs a block as a reader would who has set the secrets."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text.replace("http://localhost:4573", server.endpoint)],
        capture_output=True, text=True, timeout=120, cwd=folder, check=False,
        env={**os.environ, **SECRETS, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done
    return done.stdout


def test_every_way_in_and_the_query_work_with_the_first_configuration(tmp_path, running, s3, s3_lake):
    server = kit.Lakehose(tmp_path, first_configuration(tmp_path, s3), SECRETS)
    running.append(server)
    server.start()
    producer = block("python", holding="boto3").replace("http://localhost:4573", server.endpoint)
    exec(producer.replace('"..."', json.dumps(SECRETS["ACME_SECRET"])), {})
    (tmp_path / "events.ndjson").write_text('{"user_id": "u2"}\n{"user_id": "u3"}\n')
    assert '"accepted":2' in paste(block("sh", holding="curl -H"), server, tmp_path)
    # The client of the tests is version 1, which takes the text itself: a record that fails.
    assert "RecordId" in paste(block("sh", holding="aws firehose"), server, tmp_path)
    server.flush("clicks")
    status = server.status("clicks")
    assert (status["delivered"], status["failed"]) == (3, 1), status

    secret, query = block("sql").split(";\n", 1)
    secret = secret.replace("KEY_ID '...'", f"KEY_ID '{kit.LAKE_ACCESS_KEY}'")
    secret = secret.replace("SECRET '...'", f"SECRET '{kit.LAKE_SECRET}'")
    secret = secret.replace("minio:9000", s3.endpoint.removeprefix("http://"))
    connection = s3_lake.duckdb()
    connection.execute("DROP SECRET lake")
    connection.execute(secret)
    found = connection.sql(query.replace("s3://my-lake", f"s3://{kit.BUCKET}")).fetchall()
    assert found == [("acme", 3)]


def test_the_hook_answers_whatever_it_is_given(tmp_path):
    hook = tmp_path / "hook.py"
    hook.write_text(block("python", holding="sys.stdin"))
    given = [{"recordId": "1", "data": '{"a": 1}'}, {"recordId": "2", "data": "[1]"},
             {"recordId": "3", "data": "no JSON"}, {"recordId": "4", "dataBase64": "/w=="}]
    lines = "".join(json.dumps(each) + "\n" for each in given)
    done = subprocess.run([sys.executable, hook], input=lines, capture_output=True, text=True, timeout=60)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers == [{"recordId": "1", "data": '{"a": 1, "seen": true}'}] + [
        {"recordId": str(number), "result": "ProcessingFailed"} for number in (2, 3, 4)
    ]
