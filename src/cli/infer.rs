//! `lakehose infer`: from samples of records to a delivery stream.
//!
//! Owns the reading of the samples and the last check, by the converter itself. A file is read a
//! second time for that, so that one sample is held at a time, however many there are; what cannot be
//! read twice is kept, up to the size of one sample, and beyond that not checked. The proposal goes to
//! the standard output, what is said about it to the standard error. Does not own the rules by which
//! types are chosen (`infer`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::{fail, sample, thousands};
use crate::convert::{Encoder, Format, PushError, Rejection, Schema};
use crate::infer::{Inference, Proposal, TENANT_FOLDER};
use crate::record::StreamName;
use crate::table::Column;

/// The stream of a sample without a name.
const STREAM_DEFAULT: &str = "records";
/// Objects that go into one file of the check.
const CHECKED_BYTES_MAX: usize = 16 << 20;

pub(super) fn infer(
    paths: &[PathBuf],
    stream: Option<String>,
    glue: bool,
    tenants: bool,
) -> ExitCode {
    let stream = stream.unwrap_or_else(|| stream_of(&paths[0]));
    let stream = match StreamName::new(&stream) {
        Ok(stream) => stream,
        Err(rule) => return fail(&format!("'{stream}' is no name of a delivery stream: {rule}")),
    };
    let mut kept = BTreeMap::new();
    let (mut kept_bytes, mut unchecked) = (0, 0);
    let mut inference = Inference::new();
    for (index, path) in paths.iter().enumerate() {
        let sample = match sample::read(path) {
            Ok(sample) => sample,
            Err(error) => return fail(&format!("could not read {}: {error}", path.display())),
        };
        inference.observe(&sample.bytes);
        if sample.is_cut {
            let bytes = thousands(sample.bytes.len() as u64);
            eprintln!("{}: only the first {bytes} bytes are looked at", path.display());
        }
        if !sample.is_file && kept_bytes + sample.bytes.len() as u64 > sample::SAMPLE_BYTES_MAX {
            unchecked += 1;
            kept.insert(index, Vec::new());
        } else if !sample.is_file {
            kept_bytes += sample.bytes.len() as u64;
            kept.insert(index, sample.bytes);
        }
    }
    let mut proposal = inference.propose(&stream);
    if proposal.columns.is_empty() {
        return fail(&nothing(&proposal));
    }
    if tenants {
        if proposal.columns.iter().any(|each| each.column.name == TENANT_FOLDER) {
            return fail(&format!(
                "the sample has a field '{TENANT_FOLDER}', and no table has a column and a \
                 partition key of one name: rename the field, for instance with a fields step in \
                 transform"
            ));
        }
        proposal = proposal.by_tenant();
    }
    print!("{}", if glue { proposal.to_glue() } else { proposal.to_yaml() });
    if unchecked > 0 {
        eprintln!("not checked: {unchecked} samples that cannot be read a second time");
    }
    let samples = paths.iter().enumerate().map(|(index, path)| match kept.remove(&index) {
        Some(bytes) => Ok(bytes),
        None => match sample::read(path) {
            Ok(sample) => Ok(sample.bytes),
            Err(error) => Err(format!("could not read {} again: {error}", path.display())),
        },
    });
    match check(&proposal, samples) {
        Ok(Checked { converted, rejected: None }) => {
            eprintln!("checked: all {} objects convert", thousands(converted));
            ExitCode::SUCCESS
        }
        Ok(Checked { converted, rejected: Some((count, first)) }) => {
            eprintln!(
                "checked: {} objects convert, {} would be rejected, the first with: {}",
                thousands(converted),
                thousands(count),
                first.message
            );
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// Why a sample gives no columns.
fn nothing(proposal: &Proposal) -> String {
    let counts = proposal.counts;
    let mut text =
        "the sample holds no JSON object with a key: there is nothing to propose".to_owned();
    if let Some(line) = counts.first_bad_line {
        let bad = counts.not_json;
        let are = if bad == 1 { "line is" } else { "lines are" };
        text += &format!(
            "; {} {are} no JSON, the first is line {line}. Samples are JSON lines or one array, not \
             packed: of CSV make JSON first, and of gzip `gunzip -c FILE | lakehose infer -`",
            thousands(bad)
        );
    }
    text
}

/// What the converter said to the proposal.
#[derive(Debug, Default)]
struct Checked {
    converted: u64,
    /// How many objects, and what is wrong with the first of them.
    rejected: Option<(u64, Rejection)>,
}

/// Converts the samples by the proposed columns, one after another.
fn check(
    proposal: &Proposal,
    samples: impl Iterator<Item = Result<Vec<u8>, String>>,
) -> Result<Checked, String> {
    let columns: Vec<Column> = proposal.columns.iter().map(|each| each.column.clone()).collect();
    let schema = Schema::new(&columns).map_err(|error| error.to_string())?;
    let format = Format::Parquet(Arc::new(schema));
    let new_encoder = || Encoder::new(&format).map_err(|error| error.to_string());
    let mut encoder = new_encoder()?;
    let mut checked = Checked::default();
    let mut bytes = 0;
    for sample in samples {
        for object in Inference::objects(&sample?) {
            bytes += object.len();
            if bytes > CHECKED_BYTES_MAX {
                (encoder, bytes) = (new_encoder()?, object.len());
            }
            match encoder.push(object) {
                Ok(_) => checked.converted += 1,
                Err(PushError::Rejected(rejection)) => {
                    checked.rejected.get_or_insert((0, rejection)).0 += 1;
                }
                Err(PushError::Encode(error)) => return Err(error.to_string()),
            }
        }
    }
    Ok(checked)
}

/// A stream named like a file: `web-clicks.2026.ndjson` gives `web-clicks`.
fn stream_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String = stem.chars().map(|c| if allowed(c) { c } else { '_' }).take(64).collect();
    let has_name = name.contains(|c: char| c.is_ascii_alphanumeric());
    if has_name { name } else { STREAM_DEFAULT.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, SystemEnvironment};

    fn proposal(sample: &[u8]) -> Proposal {
        let mut inference = Inference::new();
        inference.observe(sample);
        inference.propose(&StreamName::new("s").expect("a name"))
    }

    fn assert_loads(proposal: &Proposal) {
        let yaml = proposal.to_yaml();
        let loaded = config::load(&yaml, &SystemEnvironment);
        let config = loaded.unwrap_or_else(|faults| panic!("{}\n{yaml}", faults.in_file("yaml")));
        let columns: Vec<_> = proposal.columns.iter().map(|each| each.column.clone()).collect();
        let stream = config.delivery_streams.values().next().expect("a stream");
        let schema = stream.schema.as_ref().expect("a schema");
        assert_eq!(schema.columns.as_ref(), Some(&columns), "{yaml}");
    }

    /// JSON as hostile as it comes, of the forms that the rules know.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|truth| truth.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            (0u32..100_000).prop_map(|number| number.to_string()),
            any::<f64>()
                .prop_filter("JSON has none", |f| f.is_finite())
                .prop_map(|f| f.to_string()),
            Just("-0.0e-7".to_owned()),
            Just("123456789012345678901234567890.5".to_owned()),
            Just("1e999".to_owned()),
            (1_500_000_000u64..1_800_000_000).prop_map(|number| number.to_string()),
            (0u32..9_999, 0u32..14, 0u32..33, 0u32..26).prop_map(|(y, m, d, h)| {
                format!("\"{y:04}-{m:02}-{d:02}T{h:02}:00:00+1{}:30\"", h % 10)
            }),
            (1900u32..2100, 0u32..14, 0u32..33)
                .prop_map(|(y, m, d)| { format!("\"{y:04}-{m:02}-{d:02}\"") }),
            "[0-9]{1,3}(\\.[0-9]{1,3})?".prop_map(|text| format!("\"{text}\"")),
            "\\PC{0,6}".prop_map(|text| serde_json::to_string(&text).expect("a text")),
        ];
        let key = prop_oneof![
            3 => "[abAB]".prop_map(|key| format!("\"{key}\"")),
            1 => "(price|created_at|year|true|null|1e3|~|- a|#|: |a b|ſ|İ|é|\u{85}|\u{2028})"
                .prop_map(|key| serde_json::to_string(&key).expect("a text")),
            1 => "\\PC{0,4}".prop_map(|key| serde_json::to_string(&key).expect("a text")),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                proptest::collection::vec((key.clone(), inner), 0..5).prop_map(|fields| {
                    let fields: Vec<_> = fields.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn whatever_is_proposed_loads_and_converts_the_whole_sample(
            lines in proptest::collection::vec(json(), 1..12),
        ) {
            let bytes = lines.join("\n").into_bytes();
            let proposal = proposal(&bytes);
            if !proposal.columns.is_empty() {
                assert_loads(&proposal);
                let checked = check(&proposal, [Ok(bytes)].into_iter()).expect("columns");
                prop_assert!(checked.rejected.is_none(), "{:?}\n{}", checked, proposal.to_yaml());
                let glue: serde_json::Value =
                    serde_json::from_str(&proposal.to_glue()).expect("JSON");
                prop_assert!(glue["StorageDescriptor"]["Columns"].is_array());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = proposal(&bytes).to_yaml();
        }

        #[test]
        fn broken_json_never_panics(text in "([{}\\[\\],:\"0-9ae.\\\\u\n-]|true|null|\"a\":|\\{\"a\":1\\}){0,60}") {
            let proposal = proposal(text.as_bytes());
            if !proposal.columns.is_empty() {
                assert_loads(&proposal);
            }
        }
    }

    #[test]
    fn streams_are_named_like_their_file() {
        for (path, name) in [
            ("web-clicks.2026.ndjson", "web-clicks"),
            ("/a/b c.json", "b_c"),
            ("-", "records"),
            (".hidden", "records"),
            ("é.json", "records"),
        ] {
            assert_eq!(stream_of(Path::new(path)), name, "{path}");
        }
    }
}
