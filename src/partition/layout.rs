//! What the text of a prefix tells of the folders in a lake: which there can be, and what values they
//! stand for.
//!
//! Owns the way back, from a folder to partition values. Does not evaluate anything.

use super::escape::unescape;
use super::template::{Piece, Template};

/// The folders that a prefix leads through, down to the last one that is a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// From the top.
    pub folders: Vec<Folder>,
}

/// One folder of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// What stands before `=`, not unescaped; absent for a folder that is no partition.
    pub key: Option<String>,
    /// What the rest of its name is made of.
    pub value: Vec<Part>,
}

/// A part of a folder's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// Digits of the time that can be read back: one of the letters `y M d H m s` of Java's patterns,
    /// and how often it stands there.
    Time(char, usize),
    /// The tenant, escaped.
    Tenant,
    /// Something that the text does not tell.
    Any,
}

impl Layout {
    /// The layout of a prefix; without any folder when the prefix has no partition.
    #[must_use]
    pub fn of(template: &Template) -> Self {
        let mut folders = Vec::new();
        let mut parts = Vec::new();
        for piece in &template.pieces {
            let part = match piece {
                Piece::Literal(text) => {
                    let mut segments = text.split('/');
                    push(&mut parts, segments.next().unwrap_or_default());
                    for segment in segments {
                        folders.push(Folder::of(std::mem::take(&mut parts)));
                        push(&mut parts, segment);
                    }
                    continue;
                }
                Piece::Time(field) => match field.digits() {
                    Some((letter, count)) => Part::Time(letter, count),
                    None => Part::Any,
                },
                Piece::Tenant => Part::Tenant,
                _ => Part::Any,
            };
            parts.push(part);
        }
        let last = folders.iter().rposition(|folder| folder.key.is_some());
        folders.truncate(last.map_or(0, |last| last + 1));
        Self { folders }
    }

    /// The names and values of a folder that has this layout, not escaped.
    #[must_use]
    pub fn values(folder: &str) -> Vec<(String, String)> {
        let pairs = folder.split('/').filter_map(|segment| segment.split_once('='));
        pairs.map(|(name, value)| (unescape(name), unescape(value))).collect()
    }
}

impl Folder {
    fn of(mut parts: Vec<Part>) -> Self {
        let mut key = None;
        if let Some(Part::Literal(text)) = parts.first_mut()
            && let Some((name, rest)) = text.split_once('=')
        {
            key = Some(name.to_owned());
            *text = rest.to_owned();
            if text.is_empty() {
                parts.remove(0);
            }
        }
        Self { key, value: parts }
    }

    /// The name, when it is always the same.
    #[must_use]
    pub fn fixed(&self) -> Option<String> {
        let value = match self.value.as_slice() {
            [Part::Literal(text)] => text,
            _ => return None,
        };
        Some(match &self.key {
            Some(key) => format!("{key}={value}"),
            None => value.clone(),
        })
    }

    /// Whether a folder of this name can be one of these.
    #[must_use]
    pub fn admits(&self, name: &str) -> bool {
        if let Some(fixed) = self.fixed() {
            return name == fixed;
        }
        match &self.key {
            Some(key) => {
                name.split_once('=').is_some_and(|(found, value)| found == key && !value.is_empty())
            }
            None => !name.contains('='),
        }
    }
}

fn push(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    fn layout(text: &str) -> Layout {
        Layout::of(&Template::parse(text, Place::Prefix).expect(text))
    }

    #[test]
    fn folders_end_with_the_last_partition() {
        let layout =
            layout("a/tenant=!{lakehose:tenant}/day=!{timestamp:yyyy-MM-dd}/!{timestamp:HH}/x-");
        let keys: Vec<_> = layout.folders.iter().map(|folder| folder.key.as_deref()).collect();
        assert_eq!(keys, [None, Some("tenant"), Some("day")]);
        assert_eq!(layout.folders[0].fixed().as_deref(), Some("a"));
        assert_eq!(layout.folders[1].value, [Part::Tenant]);
        let dash = || Part::Literal("-".to_owned());
        assert_eq!(
            layout.folders[2].value,
            [Part::Time('y', 4), dash(), Part::Time('M', 2), dash(), Part::Time('d', 2)]
        );
    }

    #[test]
    fn a_prefix_without_partitions_has_no_folders() {
        assert_eq!(layout("legacy/!{timestamp:yyyy/MM/dd/HH}/").folders, []);
    }

    #[test]
    fn names_are_told_apart_and_values_come_back() {
        let layout = layout("a/kind=fixed/!{timestamp:HH}/t=!{lakehose:tenant}/");
        let admits = |index: usize, name: &str| layout.folders[index].admits(name);
        assert!(admits(0, "a") && !admits(0, "b"));
        assert!(admits(1, "kind=fixed") && !admits(1, "kind=other"));
        assert!(admits(2, "07") && !admits(2, "t=07"));
        assert!(admits(3, "t=x%2Fy") && !admits(3, "t=") && !admits(3, "u=x"));
        let values = Layout::values("a/kind=fixed/07/t=x%2Fy/");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(values, [pair("kind", "fixed"), pair("t", "x/y")]);
    }
}
