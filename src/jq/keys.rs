//! Partition keys: what a query makes of a whole record.
//!
//! Owns what a query's output must look like. Does not own what a missing value means, nor how a
//! value stands in a key: both are for who places the record.

use std::collections::BTreeMap;

use jaq_json::Val;

use super::{Bounds, Numbers, Program, operators, text};

/// The most keys that a query may give, as in Firehose.
pub const KEYS_MAX: usize = 50;

/// The value of a partition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValue {
    /// The query gave `null`: the record has no such value.
    Null,
    /// A text, or a number or boolean as jq prints it.
    Text(String),
}

impl Program {
    /// The keys that this query makes of `record`, which is one JSON document.
    ///
    /// # Errors
    /// In words, when the record is not exactly one document, when the query fails or exceeds its
    /// bounds, or does not give exactly one object of at most [`KEYS_MAX`] texts, numbers, booleans
    /// and nulls.
    pub fn keys(&self, record: &[u8]) -> Result<BTreeMap<String, KeyValue>, String> {
        let document = one_document(record)?;
        let input = super::read(document.as_bytes(), Numbers::Doubles)?;
        let mut keys = None;
        let mut bounds = Bounds::for_record(record.len());
        self.evaluate(
            input,
            None,
            &mut bounds,
            &mut |output| match keys.replace(of(&output.0)?) {
                Some(_) => Err("the query gives more than one output".to_owned()),
                None => Ok(()),
            },
        )?;
        keys.ok_or_else(|| "the query gives no output".to_owned())
    }
}

fn of(output: &Val) -> Result<BTreeMap<String, KeyValue>, String> {
    let Val::Obj(object) = output else {
        return Err(format!("the query gives no object but {}", a_kind(output)));
    };
    if object.len() > KEYS_MAX {
        return Err(format!("the query gives {} keys, more than {KEYS_MAX}", object.len()));
    }
    let key = |(key, value)| {
        let key = text::plain(key)?;
        let value = key_value(&key, value)?;
        Ok((key, value))
    };
    object.iter().map(key).collect()
}

fn key_value(key: &str, value: &Val) -> Result<KeyValue, String> {
    Ok(match value {
        Val::Null => KeyValue::Null,
        Val::Num(number) if operators::double(number).is_nan() => KeyValue::Null,
        Val::Arr(_) | Val::Obj(_) => {
            return Err(format!("the query gives {} for {key}", a_kind(value)));
        }
        _ => KeyValue::Text(text::plain(value)?),
    })
}

fn a_kind(value: &Val) -> &'static str {
    match value {
        Val::Null => "null",
        Val::Bool(_) => "a boolean",
        Val::Num(_) => "a number",
        Val::TStr(_) | Val::BStr(_) => "a text",
        Val::Arr(_) => "an array",
        Val::Obj(_) => "an object",
    }
}

/// The record as the one document that it must be.
fn one_document(record: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(record).map_err(|_| "the record is not UTF-8".to_owned())?;
    super::check_shape(record).map_err(|why| format!("the record has {why}"))?;
    let documents = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut count = 0;
    for document in documents {
        document.map_err(|error| format!("the record is no JSON: {error}"))?;
        count += 1;
        if count > 1 {
            return Err(
                "the record holds more than one JSON document; let a deaggregate step take \
                        it apart before it is partitioned"
                    .to_owned(),
            );
        }
    }
    if count == 0 {
        return Err("the record is empty".to_owned());
    }
    Ok(text)
}
