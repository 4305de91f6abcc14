//! Sends records with the AWS SDK for Rust. In Cargo.toml:
//!
//! ```toml
//! [dependencies]
//! aws-config = { version = "1", features = ["behavior-version-latest"] }
//! aws-sdk-firehose = "1"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! The credentials are `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` of the environment.

use aws_config::retry::RetryConfig;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::Record;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = std::env::var("LAKEHOSE_ENDPOINT");
    let config = aws_config::from_env()
        .region("us-east-1")
        .endpoint_url(endpoint.unwrap_or_else(|_| "http://127.0.0.1:4573".to_owned()))
        // Retries are stored once, so there may be many.
        .retry_config(RetryConfig::standard().with_max_attempts(10))
        .load()
        .await;
    let firehose = aws_sdk_firehose::Client::new(&config);
    let mut call = firehose.put_record_batch().delivery_stream_name("clicks");
    for number in 1..=3 {
        let event = format!(r#"{{"user_id": "u-{number}", "page_url": "/"}}"#);
        call = call.records(Record::builder().data(Blob::new(event)).build()?);
    }
    for each in call.send().await?.request_responses() {
        println!("{:?}", each.record_id());
    }
    Ok(())
}
