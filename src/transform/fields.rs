//! Top-level fields of JSON objects: dropped, renamed and added, in this order.
//!
//! Owns the edit of a record's text. Everything that is not named keeps its bytes: the order of
//! the fields, the digits of numbers, what is nested. Does not reach into nested objects, which is
//! what jq is for.
//!
//! A field that is renamed takes the place of one that has the new name already, and so does one
//! that is added, which stands at the end. A record may hold several objects, and what stands
//! between them stays; anything but an object fails the record.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::documents::{documents, each_member};
use super::{Item, Part, Transform, Unavailable, Verdict};

/// What happens to the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldsSettings {
    /// These go.
    pub drop: Vec<String>,
    /// Old name to new name.
    pub rename: BTreeMap<String, String>,
    /// Name to text.
    pub add: BTreeMap<String, String>,
}

/// Edits the fields of records.
#[derive(Clone, Debug)]
pub struct Fields {
    settings: FieldsSettings,
}

/// A field of an object.
struct Member<'a> {
    name: String,
    /// The name as it is written.
    name_text: &'a str,
    value: &'a str,
}

impl Fields {
    /// A step that does what `settings` say.
    #[must_use]
    pub fn new(settings: FieldsSettings) -> Self {
        Self { settings }
    }

    fn edit(&self, part: &Part) -> Verdict {
        match self.edited(&part.data) {
            Ok(data) => {
                let partition_keys = part.partition_keys.clone();
                Verdict::Parts(vec![Part { data: Bytes::from(data), partition_keys }])
            }
            Err(why) => Verdict::failed("Transform.FieldsFailed", why),
        }
    }

    fn edited(&self, data: &[u8]) -> Result<String, String> {
        let (text, documents) = documents(data)?;
        if documents.is_empty() {
            return Err("the record holds no JSON object".to_owned());
        }
        let mut edited = String::with_capacity(text.len());
        let mut copied = 0;
        for place in documents {
            edited.push_str(&text[copied..place.start]);
            copied = place.end;
            self.write(members(&text[place])?, &mut edited);
        }
        edited.push_str(&text[copied..]);
        Ok(edited)
    }

    fn write(&self, mut members: Vec<Member<'_>>, edited: &mut String) {
        let FieldsSettings { drop, rename, add } = &self.settings;
        members.retain(|member| !drop.contains(&member.name));
        let renamed = |member: &Member<'_>| rename.get(&member.name);
        let taken: BTreeSet<&String> = members.iter().filter_map(renamed).collect();
        let is_taken = |member: &Member<'_>| {
            let stays = !rename.contains_key(&member.name);
            (stays && taken.contains(&member.name)) || self.is_added(member)
        };
        members.retain(|member| !is_taken(member));
        let mut separator = "{";
        for member in members {
            edited.push_str(separator);
            separator = ",";
            match rename.get(&member.name) {
                Some(name) => edited.push_str(&quoted(name)),
                None => edited.push_str(member.name_text),
            }
            edited.push(':');
            edited.push_str(member.value);
        }
        for (name, value) in add {
            edited.push_str(separator);
            separator = ",";
            edited.push_str(&quoted(name));
            edited.push(':');
            edited.push_str(&quoted(value));
        }
        if separator == "{" {
            edited.push('{');
        }
        edited.push('}');
    }

    /// Whether a field of the name that this one ends up with is added.
    fn is_added(&self, member: &Member<'_>) -> bool {
        let FieldsSettings { rename, add, .. } = &self.settings;
        add.contains_key(rename.get(&member.name).unwrap_or(&member.name))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The fields of a document, which must be an object. That it is JSON is known.
fn members(document: &str) -> Result<Vec<Member<'_>>, String> {
    if !document.starts_with('{') {
        return Err("a document is no object".to_owned());
    }
    let mut members = Vec::new();
    each_member(document, |name_text, value| {
        let name = serde_json::from_str(name_text).map_err(|error| error.to_string())?;
        members.push(Member { name, name_text, value });
        Ok::<_, String>(())
    })?;
    Ok(members)
}

impl Transform for Fields {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        let verdicts: Vec<_> = items.iter().map(|item| self.edit(&item.part)).collect();
        Box::pin(async { Ok(verdicts) })
    }
}
