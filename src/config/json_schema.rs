//! The JSON Schema of the YAML file, for editors: made from the same declarations that read it.
//!
//! Owns the schema's dialect and how sections, lists and patterns are written in it. Does not own
//! what a type accepts: each type describes itself beside its reader, and does not compile without.
//!
//! What a schema cannot tell (bounds of sizes, relations between keys, what catalogs hold) is left
//! to `lakehose check`; what it does refuse, the reader refuses too.

use serde_json::{Map, Value as Json, json};

use super::reader::Presence;
use super::yaml::{self, Node, Value};

/// The dialect that editors' YAML servers know.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// A key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Its doc comment.
    pub(super) about: &'static str,
    pub(super) presence: Presence,
    pub(super) schema: Json,
}

/// The schema of the whole file as a text that ends with a newline.
pub(super) fn document(mut file: Json) -> String {
    file["$schema"] = DIALECT.into();
    file["title"] = "Configuration of Lakehose".into();
    format!("{file:#}\n")
}

/// A mapping with these keys and no other.
pub(super) fn section(about: &str, keys: Vec<Key>) -> Json {
    let required: Vec<_> = keys
        .iter()
        .filter(|key| matches!(key.presence, Presence::Required))
        .map(|key| key.name)
        .collect();
    let property = |Key { name, about, presence, mut schema }: Key| {
        let about = prose(about);
        schema["description"] = match schema["description"].as_str() {
            Some(form) => format!("{about} Write {form}.").into(),
            None => about.into(),
        };
        if let Presence::Default(text) = presence {
            let node = yaml::parse(text).expect("defaults are YAML").root;
            schema["default"] = default_of(&node, &schema);
        }
        (name.to_owned(), schema)
    };
    let properties: Map<_, _> = keys.into_iter().map(property).collect();
    let mut schema = json!({
        "type": "object",
        "title": prose(about),
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// A mapping of names that the user chooses.
pub(super) fn named(value: Json) -> Json {
    json!({"type": "object", "additionalProperties": value})
}

/// A list.
pub(super) fn list(item: Json) -> Json {
    json!({"type": "array", "items": item})
}

/// A text of a certain form; `form` is what faults call it.
pub(super) fn pattern(form: &str, pattern: &str) -> Json {
    json!({"type": "string", "pattern": pattern, "description": form})
}

/// A text of any form but that of a reference.
pub(super) fn text(form: &str) -> Json {
    pattern(form, r"^((?!\$\{)[\s\S])*$")
}

/// One of a few words.
pub(super) fn words(words: &[&str]) -> Json {
    json!({"enum": words})
}

/// `true` or `false`.
pub(super) fn truth() -> Json {
    json!({"type": "boolean"})
}

/// A pattern that matches the words in any case; the dialect has no flag for it.
pub(super) fn any_case(words: &[&str]) -> String {
    let letter = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase()),
        false => c.to_string(),
    };
    let words = words.iter().map(|word| word.chars().map(letter).collect::<String>());
    words.collect::<Vec<_>>().join("|")
}

/// A doc comment on one line.
fn prose(about: &str) -> String {
    about.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A default as JSON. The tree knows scalars as texts only, so the schema says which are not.
fn default_of(node: &Node, schema: &Json) -> Json {
    match &node.value {
        Value::Null | Value::Faulty => Json::Null,
        Value::Scalar(text) => match schema["type"].as_str() {
            Some("boolean" | "integer" | "number") => {
                text.parse().unwrap_or_else(|_| text.as_str().into())
            }
            _ => text.as_str().into(),
        },
        Value::List(items) => items.iter().map(|item| default_of(item, &schema["items"])).collect(),
        Value::Map(entries) => {
            let value = |entry: &yaml::Entry| {
                let inside = schema["properties"].get(&entry.key);
                let inside = inside.unwrap_or(&schema["additionalProperties"]);
                (entry.key.clone(), default_of(&entry.node, inside))
            };
            Json::Object(entries.iter().map(value).collect())
        }
    }
}
