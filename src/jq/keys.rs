//! Partition keys: what a query makes of a whole record.
//!
//! Owns what a query's output must look like. Does not own what a missing value means, nor how a
//! value stands in a key: both are for who places the record.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Program;

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
    /// In words, when the record is not exactly one document, when the query fails, or does not give
    /// exactly one object of at most [`KEYS_MAX`] texts, numbers, booleans and nulls.
    pub fn keys(&self, record: &[u8]) -> Result<BTreeMap<String, KeyValue>, String> {
        let document = one_document(record)?;
        let mut output = None;
        self.run(document, &mut |found| match output.replace(found.json()?) {
            Some(_) => Err("the query gives more than one output".to_owned()),
            None => Ok(()),
        })?;
        let output = output.ok_or("the query gives no output")?;
        let Ok(Value::Object(object)) = serde_json::from_slice(&output) else {
            return Err("the query gives no object".to_owned());
        };
        if object.len() > KEYS_MAX {
            return Err(format!("the query gives {} keys, more than {KEYS_MAX}", object.len()));
        }
        object.into_iter().map(|(key, value)| Ok((key.clone(), key_value(&key, value)?))).collect()
    }
}

fn key_value(key: &str, value: Value) -> Result<KeyValue, String> {
    Ok(match value {
        Value::Null => KeyValue::Null,
        Value::String(text) => KeyValue::Text(text),
        Value::Bool(_) | Value::Number(_) => KeyValue::Text(value.to_string()),
        Value::Array(_) => return Err(format!("the query gives an array for {key}")),
        Value::Object(_) => return Err(format!("the query gives an object for {key}")),
    })
}

/// The record as the one document that it must be.
fn one_document(record: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(record).map_err(|_| "the record is not UTF-8".to_owned())?;
    if !super::is_shallow(record) {
        return Err(format!("the record has more than {} levels", super::DEPTH_MAX));
    }
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
