// The AWS SDK for JavaScript on the tour of the end-to-end tests (tests/e2e/test_tour.py): reads its
// plan as JSON from the standard input, and prints what it has seen. It trusts whom
// NODE_EXTRA_CA_CERTS names.

import { readFileSync } from "node:fs";
import {
  DescribeDeliveryStreamCommand,
  FirehoseClient,
  InvalidArgumentException,
  ListDeliveryStreamsCommand,
  PutRecordBatchCommand,
  PutRecordCommand,
  ResourceNotFoundException,
} from "@aws-sdk/client-firehose";

const plan = JSON.parse(readFileSync(0, "utf8"));

function client(endpoint, accessKeyId, secretAccessKey) {
  return new FirehoseClient({ endpoint, region: plan.region, credentials: { accessKeyId, secretAccessKey } });
}

const firehose = client(plan.endpoint, plan.accessKey, plan.secret);
const record = (data) => ({ Data: typeof data === "string" ? new TextEncoder().encode(data) : data });
const put = (client, data, DeliveryStreamName = plan.stream) =>
  client.send(new PutRecordCommand({ DeliveryStreamName, Record: record(data) }));
const batch = (records) =>
  firehose.send(new PutRecordBatchCommand({ DeliveryStreamName: plan.stream, Records: records }));

async function refused(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("the call was taken");
}

const listed = await firehose.send(new ListDeliveryStreamsCommand({}));
const { DeliveryStreamDescription: described } = await firehose.send(
  new DescribeDeliveryStreamCommand({ DeliveryStreamName: plan.stream }),
);
const one = await put(firehose, plan.records[0]);
const many = await batch(plan.records.slice(1).map(record));

const unknown = await refused(put(firehose, "{}", plan.unknownStream));
const tooMuch = await refused(batch(Array(5).fill(record(new Uint8Array(1_000_000)))));
const report = {
  streams: listed.DeliveryStreamNames,
  hasMore: listed.HasMoreDeliveryStreams,
  status: described.DeliveryStreamStatus,
  type: described.DeliveryStreamType,
  recordId: one.RecordId,
  failedCount: many.FailedPutCount,
  recordIds: many.RequestResponses.map((response) => response.RecordId),
  unknownStream: unknown.name,
  isTyped: unknown instanceof ResourceNotFoundException && tooMuch instanceof InvalidArgumentException,
  wrongSecret: (await refused(put(client(plan.endpoint, plan.accessKey, "wrong"), "{}"))).name,
  unknownKey: (await refused(put(client(plan.endpoint, "AKNOBODY", plan.secret), "{}"))).name,
  tooMany: (await refused(batch(Array(plan.recordCountTooMany).fill(record("{}"))))).name,
  tooLong: (await refused(batch([record(new Uint8Array(plan.recordBytesTooMany))]))).name,
  tooMuch: tooMuch.name,
  repeated: [],
};
if (plan.proxy) {
  const through = client(plan.proxy, plan.accessKey, plan.secret);
  for (const data of plan.repeated) {
    report.repeated.push((await put(through, data)).RecordId);
  }
}
console.log(JSON.stringify(report));
