#!/usr/bin/env bash
# Sends records with curl: lines, an array and a compressed body.
# An Idempotency-Key makes a repetition safe: the same key with the same body is stored once.
set -euo pipefail

url="${LAKEHOSE_ENDPOINT:-http://127.0.0.1:4573}/v1/streams/clicks/records"
post=(curl --silent --show-error --fail-with-body --request POST "$url")
if [[ -n ${AWS_CA_BUNDLE:-} ]]; then post+=(--cacert "$AWS_CA_BUNDLE"); fi
if [[ -n ${LAKEHOSE_TOKEN:-} ]]; then post+=(--header "Authorization: Bearer $LAKEHOSE_TOKEN"); fi

printf '%s\n' '{"user_id": "u-1", "page_url": "/"}' '{"user_id": "u-2", "page_url": "/cart"}' |
    "${post[@]}" --header "Content-Type: application/x-ndjson" --data-binary @-
echo

"${post[@]}" --header "Content-Type: application/json" --header "Idempotency-Key: recipe-$$" \
    --retry 5 --retry-all-errors --data '[{"user_id": "u-3", "page_url": "/"}]'
echo

printf '%s\n' '{"user_id": "u-4", "page_url": "/"}' | gzip |
    "${post[@]}" --header "Content-Type: application/x-ndjson" --header "Content-Encoding: gzip" --data-binary @-
echo
