"""Sends records with boto3 (pip install boto3)."""

import json
import os

import boto3
import botocore.config

os.environ.setdefault("AWS_ACCESS_KEY_ID", "any")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "any")

firehose = boto3.client(
    "firehose",
    region_name="us-east-1",
    endpoint_url=os.environ.get("LAKEHOSE_ENDPOINT", "http://127.0.0.1:4573"),
    # Retries are stored once, so there may be many.
    config=botocore.config.Config(retries={"mode": "standard", "total_max_attempts": 10}),
)
events = [{"user_id": f"u-{number}", "page_url": "/"} for number in range(3)]
answer = firehose.put_record_batch(
    DeliveryStreamName="clicks", Records=[{"Data": json.dumps(event)} for event in events]
)
print([each["RecordId"] for each in answer["RequestResponses"]])
