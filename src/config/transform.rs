//! The steps of a stream: the section `transform`, its settings and their checks.
//!
//! Owns which kinds of steps there are and what stands behind each, but for Firehose's processors
//! (`processors`). Does not own what a step does (`transform`), which is asked whether a program
//! compiles and an ARN or a header can be used.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value as Json;

use super::faults::{Place, listed, shown};
use super::json_schema;
use super::processors::{
    CloudWatchSection, DeaggregateSection, DecompressSection, Plain, cloudwatch_step,
    deaggregate_step, decompress_step,
};
use super::reader::Presence::{Default, Optional, Required};
use super::reader::{At, Field, List, Named, Reader, Scalar, Setting, Source, section};
use super::secret::{PlainOrReference, REFERENCE_PATTERN, Secret, looks_like_reference};
use super::settings::{Buffering, Credentials};
use super::values::{Endpoint, Region, Size, Text, TimeUpTo};
use crate::jq::Program;
use crate::transform::{FieldsSettings, FunctionArn, LogForm, SubRecords, is_header};

/// Firehose's bounds of a Lambda processor.
const RETRIES_MAX: u32 = 300;
const HOOK_SECONDS_MAX: u64 = 300;
const HOOK_BUFFER_BYTES_MIN: u64 = 1 << 10;
const HOOK_BUFFER_BYTES_MAX: u64 = 3 << 20;
const HOOK_BUFFER_SECONDS_MAX: u64 = 900;
const STEPS_MAX: usize = 20;
const TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// One step of a stream's chain, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its kind and its settings.
    pub kind: StepKind,
    /// Where it stands.
    pub place: Place,
}

/// The kinds of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A hook behind HTTP.
    Http {
        /// Where events are posted to; its query may be a secret.
        url: Secret,
        /// Sent with each event.
        headers: BTreeMap<String, Secret>,
        /// How long one attempt may take.
        timeout: Duration,
        /// How many attempts follow one that failed.
        retries: u32,
        /// What the hook would like to be given at once.
        buffering: Buffering,
    },
    /// An AWS Lambda function.
    Lambda {
        /// The function.
        arn: FunctionArn,
        /// The region to sign for.
        region: String,
        /// The URL of the service, unless it is AWS's.
        endpoint: Option<String>,
        /// Absent where the usual AWS chain of credentials is asked.
        credentials: Option<Credentials>,
        /// How long one attempt may take.
        timeout: Duration,
        /// How many attempts follow one that failed.
        retries: u32,
        /// What the function would like to be given at once.
        buffering: Buffering,
    },
    /// A program that is fed with lines.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Its whole environment.
        environment: BTreeMap<String, Secret>,
        /// How long it may be silent while it owes answers.
        timeout: Duration,
        /// How many attempts follow one that failed.
        retries: u32,
    },
    /// Records of the Kinesis Producer Library are taken apart.
    Kpl,
    /// Records are unpacked.
    Decompress,
    /// Envelopes of CloudWatch Logs become what was logged.
    CloudWatchLogs(LogForm),
    /// Records are taken apart.
    Deaggregate(SubRecords),
    /// A jq program that compiles; its outputs are the parts.
    Jq(String),
    /// A jq program that compiles; it tells what stays.
    Filter(String),
    /// Fields are dropped, renamed and added.
    Fields(FieldsSettings),
    /// Every record ends with this.
    AppendDelimiter(String),
}

impl StepKind {
    /// Whether the step asks somebody outside this process, who alone can give values for
    /// `!{partitionKeyFromLambda:...}`.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        match self {
            Self::Http { .. } | Self::Lambda { .. } | Self::Command { .. } => true,
            Self::Kpl
            | Self::Decompress
            | Self::CloudWatchLogs(_)
            | Self::Deaggregate(_)
            | Self::Jq(_)
            | Self::Filter(_)
            | Self::Fields(_)
            | Self::AppendDelimiter(_) => false,
        }
    }

    /// Its key in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http { .. } => "http",
            Self::Lambda { .. } => "lambda",
            Self::Command { .. } => "command",
            Self::Kpl => "kpl",
            Self::Decompress => "decompress",
            Self::CloudWatchLogs(_) => "cloudwatch_logs",
            Self::Deaggregate(_) => "deaggregate",
            Self::Jq(_) => "jq",
            Self::Filter(_) => "filter",
            Self::Fields(_) => "fields",
            Self::AppendDelimiter(_) => "append_delimiter",
        }
    }
}

section! {
    /// One step: exactly one of the keys.
    StepSection expects "one step, such as jq: PROGRAM or http: {url: URL}" {
        /// A hook behind HTTP, by Lambda's contract.
        http: HttpSection = Optional,
        /// An AWS Lambda function.
        lambda: LambdaSection = Optional,
        /// A program that reads and writes one JSON line for each record.
        command: CommandSection = Optional,
        /// Records of the Kinesis Producer Library are taken apart; others stay as they are.
        kpl: Plain = Optional,
        /// Records are unpacked: Firehose's Decompression.
        decompress: DecompressSection = Optional,
        /// What CloudWatch Logs sends becomes what was logged: Firehose's CloudWatchLogProcessing.
        cloudwatch_logs: CloudWatchSection = Optional,
        /// Each of several sub-records in a record goes on by itself: Firehose's RecordDeAggregation.
        deaggregate: DeaggregateSection = Optional,
        /// A jq program, whose outputs take the place of the record.
        jq: Text = Optional,
        /// A jq program; records that it is false of are dropped.
        filter: Text = Optional,
        /// Fields that are dropped, renamed and added.
        fields: FieldsSection = Optional,
        /// Ends every record with a delimiter.
        append_delimiter: DelimiterSection = Optional,
    }
}

section! {
    /// A hook behind HTTP.
    HttpSection expects "a mapping with url" {
        /// Where events are posted to.
        url: HookUrl = Required,
        /// Sent with each event.
        headers: Named<PlainOrReference> = Default("{}"),
        /// How long one attempt may take.
        timeout: TimeUpTo<HOOK_SECONDS_MAX> = Default("60 s"),
        /// How many attempts follow one that failed.
        retries: Retries = Default("3"),
        /// What it would like to be given at once.
        buffering: HookBufferingSection = Default("{}"),
    }
}

section! {
    /// An AWS Lambda function.
    LambdaSection expects "a mapping with arn" {
        /// The function, with a version or an alias where one is meant.
        arn: FunctionArn = Required,
        /// The region to sign for; the ARN's if absent.
        region: Region = Optional,
        /// The URL of the service, unless it is AWS's.
        endpoint: Endpoint = Optional,
        /// The public half of the credentials.
        access_key: PlainOrReference = Optional,
        /// The secret half.
        secret: Secret = Optional,
        /// How long one attempt may take.
        timeout: TimeUpTo<HOOK_SECONDS_MAX> = Default("300 s"),
        /// How many attempts follow one that failed.
        retries: Retries = Default("3"),
        /// What it would like to be given at once.
        buffering: HookBufferingSection = Default("{}"),
    }
}

section! {
    /// A program that reads and writes one JSON line for each record.
    CommandSection expects "a mapping with argv" {
        /// The program and its arguments.
        argv: List<Text> = Required,
        /// What it finds in its environment besides PATH, HOME, LANG, LC_ALL, TZ and TMPDIR.
        environment: Named<PlainOrReference> = Default("{}"),
        /// How long it may be silent while it owes answers.
        timeout: TimeUpTo<HOOK_SECONDS_MAX> = Default("60 s"),
        /// How many attempts follow one that failed.
        retries: Retries = Default("3"),
    }
}

section! {
    /// What a hook would like to be given at once.
    HookBufferingSection expects "a mapping with size and interval" {
        /// By the bytes of the records.
        size: Size<HOOK_BUFFER_BYTES_MIN, HOOK_BUFFER_BYTES_MAX> = Default("1 MiB"),
        /// By the age of the oldest of them.
        interval: TimeUpTo<HOOK_BUFFER_SECONDS_MAX> = Default("1 s"),
    }
}

section! {
    /// Fields at the top of JSON objects.
    FieldsSection expects "a mapping with drop, rename and add" {
        /// These go.
        drop: List<Text> = Default("[]"),
        /// Old name to new name.
        rename: Named<Text> = Default("{}"),
        /// Name to text; what else a field should hold is for jq to say.
        add: Named<Text> = Default("{}"),
    }
}

section! {
    /// Ends every record with a delimiter.
    DelimiterSection expects "a mapping with delimiter" {
        /// The delimiter.
        delimiter: Text = Default("\"\\n\""),
    }
}

/// Where events are posted to.
#[derive(Clone, Debug)]
pub(super) struct HookUrl(pub(super) String);

impl Setting for HookUrl {
    const EXPECTED: &'static str = "a URL, such as http://127.0.0.1:9000/enrich";

    fn json_schema() -> Json {
        let pattern = format!("^({REFERENCE_PATTERN}|https?://.+)$");
        json_schema::pattern(Self::EXPECTED, &pattern)
    }

    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let PlainOrReference { text, .. } = PlainOrReference::read(source, reader)?;
        let message = match check_hook_url(&text) {
            Ok(()) => return Some(Self(text)),
            // What a reference gave is not shown.
            Err(_) if source.scalar().is_some_and(looks_like_reference) => {
                "what the reference gives is no http or https URL that can be called".to_owned()
            }
            Err(message) => message,
        };
        reader.fault(source.place(), message);
        None
    }
}

fn check_hook_url(text: &str) -> Result<(), String> {
    // The query is the hook's own; all else is as for any server.
    let (server, query) = text.split_once('?').unwrap_or((text, ""));
    Endpoint::parse(server)?;
    if query.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        let expected = HookUrl::EXPECTED;
        return Err(format!("the query of the URL cannot be sent: write {expected}"));
    }
    Ok(())
}

/// How many attempts follow one that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries(u32);

impl Scalar for Retries {
    const EXPECTED: &'static str = "a number from 0 to 300";

    fn json_schema() -> Json {
        serde_json::json!({"type": "integer", "minimum": 0, "maximum": RETRIES_MAX})
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if number <= RETRIES_MAX => Ok(Self(number)),
            _ => Err(format!("expected {}, found {}", <Self as Scalar>::EXPECTED, shown(text))),
        }
    }
}

impl Scalar for FunctionArn {
    const EXPECTED: &'static str =
        "an ARN, such as arn:aws:lambda:us-east-1:111122223333:function:enrich:live";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, "^arn:.+:function:.+$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let expected = <Self as Scalar>::EXPECTED;
        Self::parse(text)
            .ok_or_else(|| format!("{} is no ARN of a function: write {expected}", shown(text)))
    }
}

/// Checks the steps of a stream, which stand in their order.
pub(super) fn steps(
    field: &Field<List<StepSection>>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Step>> {
    let At { value: List(fields), place } = field.given()?;
    if fields.len() > STEPS_MAX {
        let message = format_args!("there are {} steps: write at most {STEPS_MAX}", fields.len());
        reader.fault(place.clone(), message);
    }
    let mut steps = Vec::new();
    for at in fields.iter().filter_map(Field::given) {
        let kind = kind(at, reader);
        steps.extend(kind.map(|kind| Step { kind, place: at.place.clone() }));
    }
    Some(steps)
}

fn kind(At { value, place }: &At<StepSection>, reader: &mut Reader<'_>) -> Option<StepKind> {
    let StepSection { http, lambda, command, kpl, decompress, cloudwatch_logs, .. } = value;
    let StepSection { deaggregate, jq, filter, fields, append_delimiter, .. } = value;
    let written = [
        ("http", !http.is_absent()),
        ("lambda", !lambda.is_absent()),
        ("command", !command.is_absent()),
        ("kpl", !kpl.is_absent()),
        ("decompress", !decompress.is_absent()),
        ("cloudwatch_logs", !cloudwatch_logs.is_absent()),
        ("deaggregate", !deaggregate.is_absent()),
        ("jq", !jq.is_absent()),
        ("filter", !filter.is_absent()),
        ("fields", !fields.is_absent()),
        ("append_delimiter", !append_delimiter.is_absent()),
    ];
    let kinds = listed(written.iter().map(|(name, _)| *name));
    let written: Vec<&str> =
        written.iter().filter(|(_, is_written)| *is_written).map(|(name, _)| *name).collect();
    match written.as_slice() {
        [] => {
            // An unknown key was told already.
            if !reader.has_fault_below(place) {
                reader.fault(place.clone(), format_args!("this is no step: write one of {kinds}"));
            }
            return None;
        }
        [_] => {}
        several => {
            let several = listed(several.iter().copied());
            let message = format_args!(
                "one item of the list is one step, and here are {several}: begin each with '- '"
            );
            reader.fault(place.clone(), message);
            return None;
        }
    }
    if let Some(at) = http.given() {
        return http_step(&at.value, reader);
    }
    if let Some(at) = lambda.given() {
        return lambda_step(at, reader);
    }
    if let Some(at) = command.given() {
        return command_step(&at.value, reader);
    }
    if let Some(Plain) = kpl.value() {
        return Some(StepKind::Kpl);
    }
    if let Some(at) = decompress.given() {
        return decompress_step(&at.value);
    }
    if let Some(at) = cloudwatch_logs.given() {
        return cloudwatch_step(&at.value, reader);
    }
    if let Some(at) = deaggregate.given() {
        return deaggregate_step(at, reader);
    }
    if let Some(at) = jq.given() {
        return program(at, reader).map(StepKind::Jq);
    }
    if let Some(at) = filter.given() {
        return program(at, reader).map(StepKind::Filter);
    }
    if let Some(at) = fields.given() {
        return fields_step(at, reader);
    }
    let At { value, place } = append_delimiter.value()?.delimiter.given()?;
    if value.0.is_empty() {
        reader.fault(place.clone(), "the delimiter is empty: write one, or remove the step");
    }
    Some(StepKind::AppendDelimiter(value.0.clone()))
}

fn http_step(section: &HttpSection, reader: &mut Reader<'_>) -> Option<StepKind> {
    let mut headers = BTreeMap::new();
    for entry in &section.headers.value()?.0 {
        let Some(PlainOrReference { text: value, .. }) = entry.field.value() else {
            continue;
        };
        // The value may be a secret and is not shown.
        if !is_header(&entry.name, value) {
            let message = "this is no header that can be sent: write a name of letters, digits and \
                           '-', and a value on one line";
            reader.fault(entry.place.clone(), message);
        }
        headers.insert(entry.name.clone(), Secret::new(value));
    }
    Some(StepKind::Http {
        url: Secret::new(&*section.url.value()?.0),
        headers,
        timeout: timeout(&section.timeout, reader)?,
        retries: section.retries.value()?.0,
        buffering: buffering(&section.buffering)?,
    })
}

fn lambda_step(
    At { value: section, place }: &At<LambdaSection>,
    reader: &mut Reader<'_>,
) -> Option<StepKind> {
    let LambdaSection { access_key, secret, .. } = section;
    if access_key.is_absent() != secret.is_absent() {
        let (missing, other) =
            if secret.is_absent() { ("secret", "access_key") } else { ("access_key", "secret") };
        let message = format_args!(
            "it is missing beside {other}: write both, or neither to use the credentials that \
             the AWS tools would find"
        );
        reader.fault(place.below(missing), message);
    }
    let credentials = access_key.value().zip(secret.value());
    let credentials = credentials.map(|(access_key, secret)| Credentials {
        access_key: access_key.text.clone(),
        access_key_file: access_key.file.clone(),
        secret: secret.clone(),
    });
    let timeout = timeout(&section.timeout, reader);
    let arn = section.arn.value()?.clone();
    let region = section.region.value().map_or(arn.region(), |Region(region)| region.as_str());
    Some(StepKind::Lambda {
        region: region.to_owned(),
        arn,
        endpoint: section.endpoint.value().map(|Endpoint(url)| url.clone()),
        credentials,
        timeout: timeout?,
        retries: section.retries.value()?.0,
        buffering: buffering(&section.buffering)?,
    })
}

/// What a program needs of the service's own environment. Nothing else is passed on: secrets of the
/// configuration may stand there.
const INHERITED: &[&str] = &["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

fn command_step(section: &CommandSection, reader: &mut Reader<'_>) -> Option<StepKind> {
    let timeout = timeout(&section.timeout, reader);
    let At { value: List(words), place } = section.argv.given()?;
    let argv: Vec<String> =
        words.iter().filter_map(Field::value).map(|Text(word)| word.clone()).collect();
    if words.is_empty() || argv.first().is_some_and(String::is_empty) {
        let message = "there is no program: write a list such as [python3, /etc/lakehose/hook.py]";
        reader.fault(place.clone(), message);
    }
    if argv.iter().any(|word| word.contains('\0')) {
        reader.fault(place.clone(), "an argument holds a zero byte: remove it");
    }
    let inherited =
        INHERITED.iter().filter_map(|name| Some((*name, reader.environment.variable(name).ok()??)));
    let mut environment: BTreeMap<String, Secret> =
        inherited.map(|(name, value)| (name.to_owned(), Secret::new(&value))).collect();
    for entry in &section.environment.value()?.0 {
        let Some(PlainOrReference { text: value, .. }) = entry.field.value() else {
            continue;
        };
        if entry.name.is_empty() || entry.name.contains(['=', '\0']) || value.contains('\0') {
            let message =
                "this is no variable: write a name without '=', and a value without zero byte";
            reader.fault(entry.place.clone(), message);
        }
        environment.insert(entry.name.clone(), Secret::new(value));
    }
    let retries = section.retries.value()?.0;
    Some(StepKind::Command { argv, environment, timeout: timeout?, retries })
}

fn program(At { value: Text(text), place }: &At<Text>, reader: &mut Reader<'_>) -> Option<String> {
    match Program::compile(text) {
        Ok(_) => Some(text.clone()),
        Err(error) => {
            reader.fault(place.clone(), format_args!("this is no jq program: {error}"));
            None
        }
    }
}

fn fields_step(
    At { value: section, place }: &At<FieldsSection>,
    reader: &mut Reader<'_>,
) -> Option<StepKind> {
    let pairs = |named: &Field<Named<Text>>| -> Option<BTreeMap<String, String>> {
        let entries = named.value()?.0.iter();
        let pairs =
            entries.filter_map(|entry| Some((entry.name.clone(), entry.field.value()?.0.clone())));
        Some(pairs.collect())
    };
    let drop = section.drop.value()?.0.iter().filter_map(Field::value);
    let settings = FieldsSettings {
        drop: drop.map(|Text(name)| name.clone()).collect(),
        rename: pairs(&section.rename)?,
        add: pairs(&section.add)?,
    };
    if settings == FieldsSettings::default() {
        reader.fault(place.clone(), "the step does nothing: write drop, rename or add");
    }
    let dropped = settings.drop.iter().filter(|name| settings.rename.contains_key(*name));
    for name in dropped {
        let message = format_args!("{} is dropped and cannot be renamed as well", shown(name));
        reader.fault(place.clone(), message);
    }
    let names: BTreeSet<&String> = settings.rename.values().collect();
    if names.len() < settings.rename.len() {
        reader.fault(place.clone(), "two fields would have the same new name: rename one of them");
    }
    Some(StepKind::Fields(settings))
}

/// The time of an attempt, which may be short but not nothing.
fn timeout(field: &Field<TimeUpTo<HOOK_SECONDS_MAX>>, reader: &mut Reader<'_>) -> Option<Duration> {
    let At { value: TimeUpTo(time), place } = field.given()?;
    if *time < TIMEOUT_MIN {
        reader.fault(place.clone(), "nothing answers so fast: write at least 10 ms");
    }
    Some(*time)
}

fn buffering(field: &Field<HookBufferingSection>) -> Option<Buffering> {
    let section = field.value()?;
    Some(Buffering {
        size_bytes: section.size.value()?.0,
        object_bytes: None,
        interval: section.interval.value()?.0,
    })
}
