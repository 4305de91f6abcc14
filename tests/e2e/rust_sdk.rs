//! The AWS SDK for Rust on the tour of the end-to-end tests (`tests/e2e/test_tour.py`): reads its plan
//! as JSON from the standard input, and prints what it has seen. It trusts whom `SSL_CERT_FILE` names.

use aws_sdk_firehose::Client;
use aws_sdk_firehose::config::retry::RetryConfig;
use aws_sdk_firehose::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::Record;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    endpoint: String,
    /// Where answers get lost.
    proxy: Option<String>,
    region: String,
    access_key: String,
    secret: String,
    stream: String,
    unknown_stream: String,
    records: Vec<String>,
    /// One more than a call may have.
    record_count_too_many: usize,
    /// One more than a record may have.
    record_bytes_too_many: usize,
    repeated: Vec<String>,
}

fn client(plan: &Plan, endpoint: &str, access_key: &str, secret: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(plan.region.clone()))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(access_key, secret, None, None, "tour"))
        .retry_config(RetryConfig::standard())
        .build();
    Client::from_conf(config)
}

fn record(data: impl Into<Vec<u8>>) -> Record {
    Record::builder().data(Blob::new(data)).build().expect("a record has data")
}

fn code<T, E: ProvideErrorMetadata>(answer: Result<T, SdkError<E>>) -> Value {
    match answer {
        Ok(_) => json!("no error"),
        Err(error) => json!(error.code().unwrap_or("no code")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let plan: Plan = serde_json::from_reader(std::io::stdin()).expect("the plan is JSON");
    let firehose = client(&plan, &plan.endpoint, &plan.access_key, &plan.secret);
    let batch = |records: Vec<Record>| {
        let call = firehose.put_record_batch().delivery_stream_name(&plan.stream);
        call.set_records(Some(records)).send()
    };

    let listed = firehose.list_delivery_streams().send().await.expect("the streams are listed");
    let described = firehose.describe_delivery_stream().delivery_stream_name(&plan.stream);
    let described = described.send().await.expect("the stream is described");
    let described = described.delivery_stream_description().expect("a description");

    let (first, others) = plan.records.split_first().expect("records to send");
    let one = firehose.put_record().delivery_stream_name(&plan.stream);
    let one = one.record(record(first.as_str())).send().await.expect("a record is taken");
    let many = batch(others.iter().map(|data| record(data.as_str())).collect()).await;
    let many = many.expect("a batch is taken");
    let ids = many.request_responses().iter().map(|response| response.record_id());

    let unknown = firehose.put_record().delivery_stream_name(&plan.unknown_stream);
    let unknown = unknown.record(record("{}")).send().await.expect_err("there is no such stream");
    let put = |firehose: Client| {
        firehose.put_record().delivery_stream_name(&plan.stream).record(record("{}")).send()
    };
    let wrong_secret = put(client(&plan, &plan.endpoint, &plan.access_key, "wrong")).await;
    let unknown_key = put(client(&plan, &plan.endpoint, "AKNOBODY", &plan.secret)).await;
    let too_many = batch(vec![record("{}"); plan.record_count_too_many]).await;
    let too_long = batch(vec![record(vec![b'x'; plan.record_bytes_too_many])]).await;
    let too_much = batch(vec![record(vec![b'x'; 1_000_000]); 5]).await;
    let is_typed = too_much.as_ref().err().and_then(SdkError::as_service_error);
    let is_typed = is_typed.is_some_and(|error| error.is_invalid_argument_exception());

    let mut repeated = Vec::new();
    if let Some(proxy) = &plan.proxy {
        let firehose = client(&plan, proxy, &plan.access_key, &plan.secret);
        for data in &plan.repeated {
            let call = firehose.put_record().delivery_stream_name(&plan.stream);
            let answer = call.record(record(data.as_str())).send().await;
            repeated.push(answer.expect("a lost answer is asked for again").record_id);
        }
    }

    let report = json!({
        "streams": listed.delivery_stream_names(),
        "hasMore": listed.has_more_delivery_streams(),
        "status": described.delivery_stream_status().as_str(),
        "type": described.delivery_stream_type().as_str(),
        "recordId": one.record_id(),
        "failedCount": many.failed_put_count(),
        "recordIds": ids.collect::<Vec<_>>(),
        "unknownStream": unknown.code(),
        "isTyped": is_typed
            && unknown.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()),
        "wrongSecret": code(wrong_secret),
        "unknownKey": code(unknown_key),
        "tooMany": code(too_many),
        "tooLong": code(too_long),
        "tooMuch": code(too_much),
        "repeated": repeated,
    });
    println!("{report}");
}
