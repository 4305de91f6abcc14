//! AWS Lambda functions: one synchronous invocation for each event.
//!
//! Owns the call by the SDK and which outcomes mean that the function cannot be reached. Does not
//! own the form of event and answer (`contract`) nor attempts (`invocations`).
//!
//! A function that reports an error, runs beyond the timeout or answers with more than 6 MB has
//! failed the attempt. Throttling, errors of the service and of the network mean that it is away;
//! where it does not exist, may not be called or is set up wrongly, a person is called as well, and
//! the records wait. The SDK itself does not retry, so that nothing is tried twice over.

use std::fmt;
use std::sync::atomic::AtomicU64;

use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::config::{
    Credentials, Region, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_sdk_lambda::error::{DisplayErrorContext, SdkError};
use aws_sdk_lambda::operation::invoke::InvokeError;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::{Client, Config};
use bytes::Bytes;
use futures::future::BoxFuture;

use super::contract::PAYLOAD_BYTES_MAX;
use super::invocations::{HookName, Invocations, Origin, Patience, Trouble};
use super::{Item, Transform, Unavailable, Verdict, short};
use crate::buffer::Hints;
use crate::fault::Action;

/// The ARN of a function, with or without a version or an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionArn {
    text: String,
    region: String,
    has_qualifier: bool,
}

impl FunctionArn {
    /// Reads `arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]`; nothing for another
    /// text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [arn, partition, "lambda", region, account, "function", name, qualifier @ ..] =
            parts.as_slice()
        else {
            return None;
        };
        let is_word = |text: &str, also: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c) || also.contains(c);
            !text.is_empty() && text.len() <= 128 && text.chars().all(fits)
        };
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let fits = *arn == "arn" && is_word(partition, "") && is_word(region, "") && is_account;
        let fits = fits && is_word(name, "");
        let has_qualifier = match qualifier {
            [] => false,
            [one] if is_word(one, "$") => true,
            _ => return None,
        };
        fits.then(|| Self { text: text.to_owned(), region: (*region).to_owned(), has_qualifier })
    }

    /// The region that the ARN names.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The ARN with the version that is meant when none is named, as error objects show it.
    fn qualified(&self) -> String {
        let version = if self.has_qualifier { "" } else { ":$LATEST" };
        format!("{}{version}", self.text)
    }
}

impl fmt::Display for FunctionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An access key and its secret.
#[derive(Clone)]
pub struct Keys {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// What a function is called by.
#[derive(Clone, Debug)]
pub struct LambdaSettings {
    /// The function.
    pub arn: FunctionArn,
    /// The region to sign for.
    pub region: String,
    /// The URL of the service, unless it is AWS's.
    pub endpoint: Option<String>,
    /// Absent where those of the given configuration are used.
    pub keys: Option<Keys>,
    /// How long and how often it is tried.
    pub patience: Patience,
    /// What it would like to be given at once.
    pub hints: Hints,
}

/// A Lambda function.
#[derive(Debug)]
pub struct Lambda {
    name: HookName,
    origin: Origin,
    settings: LambdaSettings,
    qualified_arn: String,
    client: Client,
    answers: AtomicU64,
}

impl Lambda {
    /// A function that is not called before the first batch; `config` is what the AWS tools would
    /// use on this machine.
    #[must_use]
    pub fn new(
        name: HookName,
        origin: Origin,
        settings: LambdaSettings,
        config: impl Into<Config>,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.patience.to_connect())
            .operation_timeout(settings.patience.timeout)
            .build();
        let config: Config = config.into();
        let mut config = config
            .to_builder()
            .region(Region::new(settings.region.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // A function may think for minutes before it answers anything.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(settings.endpoint.clone());
        if let Some(Keys { access_key, secret }) = &settings.keys {
            let keys = Credentials::new(access_key, secret, None, None, "settings");
            config = config.credentials_provider(SharedCredentialsProvider::new(keys));
        }
        let client = Client::from_conf(config.build());
        let answers = AtomicU64::new(0);
        Self { name, origin, qualified_arn: settings.arn.qualified(), settings, client, answers }
    }

    async fn send(&self, event: Bytes) -> Result<Bytes, Trouble> {
        let call = self.client.invoke().function_name(&self.settings.arn.text);
        let answer = Box::pin(call.payload(Blob::new(event)).send()).await;
        let answer = answer.map_err(|error| self.trouble(&error))?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        if let Some(kind) = answer.function_error {
            let said = short(&String::from_utf8_lossy(&payload));
            return Err(Trouble::Failed(format!("the function failed ({kind}): {said}")));
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            let why = format!("the answer has more than {PAYLOAD_BYTES_MAX} bytes");
            return Err(Trouble::Failed(why));
        }
        Ok(payload.into())
    }

    fn trouble(&self, error: &SdkError<InvokeError>) -> Trouble {
        let said = short(&DisplayErrorContext(error).to_string());
        let away = |action| {
            let reason = format!("could not call {}: {said}", self.settings.arn);
            Trouble::Away(Unavailable { reason, action })
        };
        match error {
            SdkError::TimeoutError(_) => {
                let seconds = self.settings.patience.timeout.as_secs_f64();
                Trouble::Failed(format!("there was no answer within {seconds} s"))
            }
            SdkError::ServiceError(context) => match context.err() {
                InvokeError::RequestTooLargeException(_)
                | InvokeError::SerializedRequestEntityTooLargeException(_)
                | InvokeError::InvalidRequestContentException(_) => Trouble::Failed(said),
                InvokeError::TooManyRequestsException(_)
                | InvokeError::ResourceConflictException(_)
                | InvokeError::ResourceNotReadyException(_) => away(Action::Retry),
                // By the status, which says whose fault it is also of errors not known here.
                _ => match context.raw().status().as_u16() {
                    429 | 500.. => away(Action::Retry),
                    _ => away(Action::Alarm),
                },
            },
            // An error of another kind that has a class is one of the connection as well, such as
            // its end before the answer.
            SdkError::DispatchFailure(failure)
                if failure.is_io() || failure.is_timeout() || failure.as_other().is_some() =>
            {
                away(Action::Retry)
            }
            SdkError::ResponseError(_) => away(Action::Retry),
            // Such as that there are no credentials.
            _ => away(Action::Alarm),
        }
    }
}

impl Transform for Lambda {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        let invocations = Invocations {
            name: &self.name,
            origin: &self.origin,
            retries: self.settings.patience.retries,
            lambda_arn: Some(&self.qualified_arn),
            answers: &self.answers,
        };
        Box::pin(async move { invocations.ask(items, |event| self.send(event)).await })
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.settings.hints)
    }
}
