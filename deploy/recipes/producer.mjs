// Sends records with the AWS SDK for JavaScript (npm install @aws-sdk/client-firehose).
import { FirehoseClient, PutRecordBatchCommand } from "@aws-sdk/client-firehose";

const firehose = new FirehoseClient({
  region: "us-east-1",
  endpoint: process.env.LAKEHOSE_ENDPOINT ?? "http://127.0.0.1:4573",
  credentials: {
    accessKeyId: process.env.AWS_ACCESS_KEY_ID ?? "any",
    secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY ?? "any",
  },
  // Retries are stored once, so there may be many.
  maxAttempts: 10,
});
const events = [1, 2, 3].map((number) => ({ user_id: `u-${number}`, page_url: "/" }));
const answer = await firehose.send(
  new PutRecordBatchCommand({
    DeliveryStreamName: "clicks",
    Records: events.map((event) => ({ Data: Buffer.from(JSON.stringify(event)) })),
  }),
);
console.log(answer.RequestResponses.map((each) => each.RecordId));
