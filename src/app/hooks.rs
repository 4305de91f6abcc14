//! The chain of a stream's steps, made from its settings.
//!
//! Owns which settings become which step, and the credentials that Lambda functions are called
//! with. Does not own when a chain runs: the pipeline does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::prepare::hints;
use crate::config::{
    Config, Credentials, DeliveryStream, Fault, Secret, Step, StepKind, find_program,
};
use crate::ingest::stream_arn;
use crate::jq::Program;
use crate::record::StreamName;
use crate::transform::{
    AppendDelimiter, Chain, Command, CommandSettings, Fields, Filter, HookName, Http, HttpSettings,
    Jq, Keys, Lambda, LambdaSettings, Origin, Patience, Transform, cloudwatch_logs, deaggregate,
    decompress, kpl,
};

/// The chain of a stream, which speaks to nobody before its first batch; nothing without steps.
///
/// # Errors
/// A step that cannot be made; what a file can get wrong by itself was checked with it.
pub(super) async fn chain(
    stream: &StreamName,
    settings: &DeliveryStream,
) -> Result<Option<Chain>, Fault> {
    let steps = steps(stream, settings).await?;
    Ok((!steps.is_empty()).then(|| Chain::new(steps)))
}

/// The steps of a stream's chain.
///
/// # Errors
/// As for [`chain`].
pub(super) async fn steps(
    stream: &StreamName,
    settings: &DeliveryStream,
) -> Result<Vec<Arc<dyn Transform>>, Fault> {
    let mut steps: Vec<Arc<dyn Transform>> = Vec::new();
    for (index, step) in settings.transform.iter().enumerate() {
        let name = HookName { stream: stream.to_string(), step: format!("transform[{index}]") };
        let made = made(name, step).await;
        steps.push(made.map_err(|why| Fault::new(step.place.clone(), why))?);
    }
    Ok(steps)
}

/// Commands that cannot be started, of all streams.
pub(super) fn missing_programs(config: &Config) -> Vec<Fault> {
    let steps = config.delivery_streams.values().flat_map(|stream| &stream.transform);
    let faults = steps.filter_map(|step| match &step.kind {
        StepKind::Command { argv, environment, .. } => {
            Some(Fault::new(step.place.clone(), program(argv, environment).err()?))
        }
        _ => None,
    });
    faults.collect()
}

fn program(argv: &[String], environment: &BTreeMap<String, Secret>) -> Result<(), String> {
    let folders = environment.get("PATH").map_or("", Secret::expose);
    find_program(argv.first().map_or("", String::as_str), folders)
}

/// A step that speaks to somebody outside this process, in words, and how long that may take.
pub(super) fn outside(step: &Step) -> Option<(String, Patience)> {
    let (what, timeout, retries) = match &step.kind {
        StepKind::Http { url, timeout, retries, .. } => {
            // What follows may be a secret.
            let url = url.expose().split('?').next().unwrap_or_default();
            (format!("http {url}"), timeout, retries)
        }
        StepKind::Lambda { arn, timeout, retries, .. } => {
            (format!("lambda {arn}"), timeout, retries)
        }
        StepKind::Command { argv, timeout, retries, .. } => {
            (format!("command {}", argv.first().map_or("", String::as_str)), timeout, retries)
        }
        StepKind::Kpl
        | StepKind::Decompress
        | StepKind::CloudWatchLogs(_)
        | StepKind::Deaggregate(_)
        | StepKind::Jq(_)
        | StepKind::Filter(_)
        | StepKind::Fields(_)
        | StepKind::AppendDelimiter(_) => return None,
    };
    Some((what, Patience { timeout: *timeout, retries: *retries }))
}

async fn made(name: HookName, step: &Step) -> Result<Arc<dyn Transform>, String> {
    let origin = Origin {
        stream_arn: stream_arn(super::REGION, &name.stream),
        region: super::REGION.to_owned(),
    };
    let compile = |text: &str| Program::compile(text).map_err(|error| error.to_string());
    Ok(match &step.kind {
        StepKind::Http { url, headers, timeout, retries, buffering } => {
            let headers = headers.iter().map(|(name, value)| (name.clone(), value.expose().into()));
            let settings = HttpSettings {
                url: url.expose().to_owned(),
                headers: headers.collect(),
                patience: Patience { timeout: *timeout, retries: *retries },
                hints: hints(*buffering),
            };
            Arc::new(Http::new(name, origin, settings)?)
        }
        StepKind::Lambda { arn, region, endpoint, credentials, timeout, retries, buffering } => {
            let settings = LambdaSettings {
                arn: arn.clone(),
                region: region.clone(),
                endpoint: endpoint.clone(),
                keys: credentials.as_ref().map(keys),
                patience: Patience { timeout: *timeout, retries: *retries },
                hints: hints(*buffering),
            };
            let region = aws_config::Region::new(region.clone());
            let defaults = aws_config::defaults(aws_config::BehaviorVersion::latest());
            // What the environment says is read here; credentials are asked for at the first call.
            let config = Box::pin(defaults.region(region).load()).await;
            Arc::new(Lambda::new(name, origin, settings, &config))
        }
        StepKind::Command { argv, environment, timeout, retries } => {
            program(argv, environment)?;
            let patience = Patience { timeout: *timeout, retries: *retries };
            let environment = environment.iter();
            let environment = environment
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect();
            let settings = CommandSettings { argv: argv.clone(), environment, patience };
            Arc::new(Command::new(name, settings))
        }
        StepKind::Kpl => Arc::new(kpl()),
        StepKind::Decompress => Arc::new(decompress()),
        StepKind::CloudWatchLogs(form) => Arc::new(cloudwatch_logs(*form)),
        StepKind::Deaggregate(sub_records) => Arc::new(deaggregate(sub_records.clone())),
        StepKind::Jq(text) => Arc::new(Jq::new(compile(text)?)),
        StepKind::Filter(text) => Arc::new(Filter::new(compile(text)?)),
        StepKind::Fields(settings) => Arc::new(Fields::new(settings.clone())),
        StepKind::AppendDelimiter(delimiter) => Arc::new(AppendDelimiter::new(delimiter.clone())),
    })
}

fn keys(Credentials { access_key, secret, .. }: &Credentials) -> Keys {
    Keys { access_key: access_key.clone(), secret: secret.expose().to_owned() }
}
