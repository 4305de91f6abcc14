"""What producers are told when a call is wrong, by boto3 and by the AWS CLI."""

import json
import re
import subprocess
import sys

import botocore.exceptions
import pytest

import kit

ACME = kit.Identity("acme", ("clicks",))
GLOBEX = kit.Identity("globex", ("orders",))
STREAMS = {name: kit.stream_of({"columns": {"id": "string"}}) for name in ("clicks", "orders")}
GOOD = b'{"id":"1"}'
MAX_RECORD_BYTES = 1_024_000


class Case:
    """One wrong call and the code of its answer."""

    def __init__(self, code, stream="clicks", records=(GOOD,), access_key=None, secret=None):
        self.code, self.stream, self.records = code, stream, list(records)
        self.access_key = access_key or ACME.access_key
        self.secret = secret or ACME.secret


CASES = {
    "unknown stream": Case("ResourceNotFoundException", stream="nowhere"),
    "stream of another tenant": Case("ResourceNotFoundException", stream="orders"),
    "wrong secret": Case("InvalidSignatureException", secret="not-the-secret"),
    "unknown key": Case("UnrecognizedClientException", access_key="AKNOBODY"),
    "501 records": Case("ValidationException", records=[GOOD] * 501),
    "record too long": Case("ValidationException", records=[GOOD, b"x" * (MAX_RECORD_BYTES + 1)]),
    "batch over 4 MiB": Case("InvalidArgumentException", records=[b"x" * 1_000_000] * 5),
}


@pytest.fixture
def server(new_lakehose, folder_lake):
    server = new_lakehose([ACME, GLOBEX], folder_lake, STREAMS).start()
    server.lake = folder_lake
    return server


def code_of(call, **parameters):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**parameters)
    answer = caught.value.response
    assert answer["Error"]["Message"], answer
    assert answer["ResponseMetadata"]["RequestId"], answer
    return answer["Error"]["Code"]


def put_by_boto3(server, case):
    firehose = kit.client(
        "firehose", server.endpoint, case.access_key, case.secret, parameter_validation=False
    )
    records = [{"Data": data} for data in case.records]
    return code_of(firehose.put_record_batch, DeliveryStreamName=case.stream, Records=records)


def aws(server, access_key, secret, *arguments):
    """The AWS CLI, version 1."""
    variables = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret}
    settings = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    return subprocess.run(
        [sys.executable, "-m", "awscli", "firehose", *arguments, "--output", "json"]
        + ["--endpoint-url", server.endpoint, "--region", kit.REGION],
        capture_output=True,
        text=True,
        timeout=60,
        env=kit.plain_environment(**variables, **settings, AWS_MAX_ATTEMPTS="1"),
    )


def put_by_cli(server, case, folder):
    # Version 1 takes the data as it is and encodes it itself.
    file = folder / "records.json"
    file.write_text(json.dumps([{"Data": data.decode()} for data in case.records]))
    put = ["put-record-batch", "--delivery-stream-name", case.stream, "--records", f"file://{file}"]
    return aws(server, case.access_key, case.secret, *put)


def test_wrong_calls_have_their_codes_and_leave_nothing(server, tmp_path):
    by_boto3 = {name: put_by_boto3(server, case) for name, case in CASES.items()}
    assert by_boto3 == {name: case.code for name, case in CASES.items()}

    by_cli = {}
    for name, case in CASES.items():
        done = put_by_cli(server, case, tmp_path)
        code = re.search(r"An error occurred \((\w+)\) when calling", done.stderr)
        by_cli[name] = code and done.returncode != 0 and code[1] or done
    assert by_cli == {name: case.code for name, case in CASES.items()}

    for stream in STREAMS:
        server.flush(stream)
        kit.assert_conserved(server.status(stream), 0)
    assert server.lake.keys() == []

    # Without this, a server that takes nothing would pass.
    done = put_by_cli(server, Case(None), tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["FailedPutCount"] == 0, done
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), 1)
    assert len(server.lake.keys()) == 1


def test_limits_themselves_are_allowed(server):
    firehose = server.firehose(ACME)
    longest = b'{"id":"' + b"x" * (MAX_RECORD_BYTES - 9) + b'"}'
    assert len(longest) == MAX_RECORD_BYTES
    answer = firehose.put_record(DeliveryStreamName="clicks", Record={"Data": longest})
    assert answer["RecordId"] and answer["Encrypted"] is False
    kit.send(firehose, "clicks", [GOOD] * 500)
    kit.send(firehose, "clicks", [longest] * 4)
    server.flush("clicks")
    kit.assert_conserved(server.status("clicks"), 505)
    assert server.status("clicks")["delivered"] == 505


def test_calls_that_break_the_model_are_refused(server):
    firehose = kit.client(
        "firehose", server.endpoint, ACME.access_key, ACME.secret, parameter_validation=False
    )
    put = firehose.put_record_batch
    assert code_of(put, DeliveryStreamName="clicks", Records=[]) == "ValidationException"
    assert code_of(put, DeliveryStreamName="a b", Records=[{"Data": GOOD}]) == "ValidationException"
    assert code_of(put, DeliveryStreamName="clicks") == "ValidationException"
    kit.assert_conserved(server.status("clicks"), 0)


def test_streams_are_described_and_listed_to_their_own_tenant(server):
    firehose = server.firehose(ACME)
    listed = firehose.list_delivery_streams()
    assert listed["DeliveryStreamNames"] == ["clicks"]
    assert listed["HasMoreDeliveryStreams"] is False

    found = firehose.describe_delivery_stream(DeliveryStreamName="clicks")["DeliveryStreamDescription"]
    assert found["DeliveryStreamName"] == "clicks"
    assert found["DeliveryStreamStatus"] == "ACTIVE"
    assert found["DeliveryStreamType"] == "DirectPut"
    assert re.fullmatch(r"arn:aws:firehose:[\w-]+:\d{12}:deliverystream/clicks", found["DeliveryStreamARN"])
    assert found["VersionId"].isdigit()
    assert found["HasMoreDestinations"] is False
    assert found["CreateTimestamp"].year >= 2026
    [destination] = found["Destinations"]
    assert destination["DestinationId"] == "destinationId-000000000001"
    extended = destination["ExtendedS3DestinationDescription"]
    assert extended["BufferingHints"] == {"SizeInMBs": 4, "IntervalInSeconds": 900}
    assert extended["Prefix"].startswith("clicks/tenant=")
    assert extended["ErrorOutputPrefix"].startswith("errors/clicks/tenant=")

    for name in ("nowhere", "orders"):
        code = code_of(firehose.describe_delivery_stream, DeliveryStreamName=name)
        assert code == "ResourceNotFoundException"
