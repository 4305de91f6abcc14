"""README's own configuration and calls work as they stand there."""

import json
import re

import kit

README = (kit.REPOSITORY / "README.md").read_text()


def block(language, holding=""):
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in blocks if holding in text)


def test_the_configuration_has_no_faults(tmp_path):
    file = tmp_path / "lakehose.yaml"
    # What a stream has more to say stands behind its columns.
    file.write_text(block("yaml") + block("yaml", holding="transform:"))
    secrets = {"ACME_SECRET": "a", "LAKE_KEY": "b", "LAKE_SECRET": "c"}
    done = kit.run("check", file, secrets=secrets, cwd=tmp_path)
    assert done.returncode == 0, done


def test_the_catalog_of_glue_has_no_faults(tmp_path):
    file = tmp_path / "lakehose.yaml"
    # Nothing is asked of the catalog before the file is in order.
    file.write_text(block("yaml", holding="type: glue") + "disk_budget: 1 MiB\n")
    done = kit.run("check", file, cwd=tmp_path)
    assert done.returncode == 78, done
    assert ["disk_budget" in line for line in (done.stdout + done.stderr).splitlines()] == [True]


def test_the_producer_and_the_query_work(tmp_path, new_lakehose, folder_lake):
    identity = kit.Identity("acme", ("clicks",))
    columns = {"user_id": "string", "at": "timestamp"}
    server = new_lakehose([identity], folder_lake, {"clicks": kit.stream_of({"columns": columns})})
    server.start()
    producer = block("python", holding="boto3").replace("http://localhost:4573", server.endpoint)
    producer = producer.replace('"ACMEPRODUCER"', json.dumps(identity.access_key))
    exec(producer.replace('"..."', json.dumps(identity.secret)), {})
    server.flush("clicks")
    query = block("sql").replace("s3://my-lake/", folder_lake.glob("clicks/").split("clicks/")[0])
    assert folder_lake.duckdb().sql(query).fetchall() == [("acme", 1)]
