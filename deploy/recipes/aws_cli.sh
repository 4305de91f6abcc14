#!/usr/bin/env bash
# Sends records with the AWS CLI. Version 2 wants data in base64 unless it is told otherwise; version 1 takes it as it is.
set -euo pipefail

export AWS_ACCESS_KEY_ID="${AWS_ACCESS_KEY_ID:-any}" AWS_SECRET_ACCESS_KEY="${AWS_SECRET_ACCESS_KEY:-any}"
aws=${AWS_CLI:-aws}
options=(--region us-east-1 --endpoint-url "${LAKEHOSE_ENDPOINT:-http://127.0.0.1:4573}" --delivery-stream-name clicks)
if [[ $("$aws" --version 2>&1) == aws-cli/2* ]]; then options+=(--cli-binary-format raw-in-base64-out); fi

"$aws" firehose put-record "${options[@]}" --record '{"Data": "{\"user_id\": \"u-1\", \"page_url\": \"/\"}"}'
"$aws" firehose put-record-batch "${options[@]}" \
    --records '[{"Data": "{\"user_id\": \"u-2\", \"page_url\": \"/\"}"}, {"Data": "{\"user_id\": \"u-3\", \"page_url\": \"/\"}"}]'
