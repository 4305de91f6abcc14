//! The language of prefixes: literal text and expressions such as `!{timestamp:yyyy}`.
//!
//! Owns which expressions there are, where they may stand, and what they print. Does not own the
//! defaults of prefixes, nor which tenants write to a stream.
//!
//! Invariants: whatever the inputs, an evaluated prefix has the folders that the template shows: no
//! value can add one, since times and random strings have no `/`, and tenants and keys are escaped.
//! The one exception is asked for: [`Template::with_slashes`].

use std::collections::BTreeSet;

use super::escape::{DEFAULT_PARTITION, escape, unescape};
use super::group::{Group, Values};
use super::key::uuid_v4;
use super::pattern::{self, Moment, PatternError, Zone};
use super::slot::{EventField, Slot};
use crate::record::{ErrorOutputType, UnixMillis};

/// The most characters that a template may have, Firehose's bound.
const TEMPLATE_CHARS_MAX: usize = 1_024;
/// The most characters that an evaluated prefix may have, Firehose's bound.
const EVALUATED_CHARS_MAX: usize = 512;
/// What a random string or an error type has at most.
const PRINTED_BYTES_MAX: usize = 64;
/// The date that Firehose appends to a prefix without a time.
const IMPLICIT_DATE: &str = "yyyy/MM/dd/HH/";
/// How many characters of a random string are taken from its UUID.
const RANDOM_STRING_CHARS: usize = 11;

/// Which of a stream's two prefixes a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The prefix of converted records.
    Prefix,
    /// The prefix of failed records.
    ErrorPrefix,
}

/// A prefix with expressions, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) pieces: Vec<Piece>,
    /// What records fill, each slot once.
    slots: Vec<Slot>,
    /// Whether a `/` in a key makes folders.
    allows_slashes: bool,
    has_timestamp: bool,
    has_expressions: bool,
    /// Where the implicit date begins among the pieces; the bound does not count it.
    pub(super) implicit_from: Option<usize>,
    zone: Zone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Time(pattern::Field),
    RandomString,
    ErrorOutputType,
    Tenant,
    /// The slot of this number.
    Slot(usize),
}

/// A prefix for one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluated {
    /// What the key begins with, escaped.
    pub prefix: String,
    /// The `key=value` folders in order, values not escaped.
    pub partition: Vec<(String, String)>,
    /// The prefix up to the last `key=value` folder, with its slash; empty when there is none.
    pub partition_folder: String,
}

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// More characters than Firehose takes.
    #[error("it has {0} characters, at most {TEMPLATE_CHARS_MAX} are possible")]
    TooLong(usize),
    /// `!{` without `}`.
    #[error("'!{{' begins an expression, and its '}}' is missing: write !{{namespace:value}}")]
    Unterminated,
    /// An expression without a colon.
    #[error("'!{{{0}}}' has no colon: write !{{namespace:value}}, such as !{{timestamp:yyyy}}")]
    NoColon(String),
    /// A namespace that does not exist.
    #[error(
        "unknown namespace '{0}': write timestamp, event, firehose, lakehose, \
         partitionKeyFromQuery or partitionKeyFromLambda"
    )]
    Namespace(String),
    /// What only records with a place have, outside their prefix.
    #[error("!{{{0}}} has a value in the prefix of delivered records only: remove it here")]
    OnlyInPrefix(String),
    /// A value that the namespace does not have.
    #[error("unknown expression '!{{{namespace}:{value}}}': write {allowed}")]
    Value {
        /// The namespace.
        namespace: &'static str,
        /// The value.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// The error type outside an error prefix.
    #[error("!{{firehose:error-output-type}} has a value in error_prefix only: remove it here")]
    OnlyInErrorPrefix,
    /// An error prefix with expressions, but without the error type.
    #[error(
        "it has expressions, so it also needs !{{firehose:error-output-type}}: add it as a folder"
    )]
    ErrorOutputTypeMissing,
    /// A time pattern that cannot be read.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// `/` at the start.
    #[error("it begins with '/': remove the slash, keys have none there")]
    LeadingSlash,
    /// `//`.
    #[error("it has an empty folder: write one '/' in place of '//'")]
    EmptyFolder,
    /// `.` or `..`.
    #[error("it has a folder '{0}', which stores refuse: write the folder's own name")]
    DotFolder(String),
    /// A control character.
    #[error("it has a control character ({0:?}): remove it")]
    Control(char),
    /// A folder without a name or value around its `=`.
    #[error("the folder '{0}' is no partition: write name=value with both")]
    HalfPartition(String),
    /// A folder whose name is no plain text.
    #[error("the name before '=' in a folder comes from an expression: write the name itself")]
    PartitionName,
    /// Two folders with one name.
    #[error("two folders are named '{0}=': every partition needs a name of its own")]
    PartitionTwice(String),
}

/// Why a template gives no prefix for an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// More characters than Firehose takes.
    #[error(
        "the evaluated prefix has {0} characters, at most {EVALUATED_CHARS_MAX} are possible: shorten it or its values"
    )]
    TooLong(usize),
    /// The template asks for the error type, and there is no error.
    #[error("the prefix has !{{firehose:error-output-type}} and the object has no error type")]
    NoErrorOutputType,
    /// The template has slots, and the group has no values for them.
    #[error("the records have no place in the prefix")]
    NoPlace,
}

impl Template {
    /// Reads the text of a prefix that prints times in UTC.
    ///
    /// # Errors
    /// As [`Template::parse_in`].
    pub fn parse(text: &str, place: Place) -> Result<Self, TemplateError> {
        Self::parse_in(text, place, Zone::UTC)
    }

    /// Reads the text of a prefix that prints times in `zone`.
    ///
    /// # Errors
    /// When an expression cannot be read or stands in the wrong place, or when the keys would be
    /// such that stores refuse them; says what to write instead.
    pub fn parse_in(text: &str, place: Place, zone: Zone) -> Result<Self, TemplateError> {
        let length = text.chars().count();
        if length > TEMPLATE_CHARS_MAX {
            return Err(TemplateError::TooLong(length));
        }
        let mut template = Self {
            pieces: Vec::new(),
            slots: Vec::new(),
            allows_slashes: false,
            has_timestamp: false,
            has_expressions: false,
            implicit_from: None,
            zone,
        };
        let mut rest = text;
        while let Some((literal, expression)) = rest.split_once("!{") {
            let closed = expression.split_once('}');
            let (expression, after) = closed.ok_or(TemplateError::Unterminated)?;
            template.push_literal(literal);
            template.push_expression(expression, place)?;
            rest = after;
        }
        template.push_literal(rest);
        let names_error_type = template.pieces.contains(&Piece::ErrorOutputType);
        if place == Place::ErrorPrefix && template.has_expressions && !names_error_type {
            return Err(TemplateError::ErrorOutputTypeMissing);
        }
        template.check_folders()?;
        Ok(template)
    }

    /// The zone that it prints times in.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Whether the time is in it, by an expression or implicitly.
    #[must_use]
    pub fn has_timestamp(&self) -> bool {
        self.has_timestamp
    }

    /// Whether it has any expression.
    #[must_use]
    pub fn has_expressions(&self) -> bool {
        self.has_expressions
    }

    /// Whether each tenant has folders of its own: `!{lakehose:tenant}` is a whole folder, or all
    /// that follows `name=`.
    #[must_use]
    pub fn separates_tenants(&self) -> bool {
        let ends_well = |before: Option<&Piece>| match before {
            None => true,
            Some(Piece::Literal(text)) => text.ends_with(['/', '=']),
            Some(_) => false,
        };
        let begins_well = |after: Option<&Piece>| matches!(after, Some(Piece::Literal(text)) if text.starts_with('/'));
        self.pieces.iter().enumerate().any(|(index, piece)| {
            let before = index.checked_sub(1).and_then(|before| self.pieces.get(before));
            *piece == Piece::Tenant && ends_well(before) && begins_well(self.pieces.get(index + 1))
        })
    }

    /// Whether it has `!{lakehose:tenant}`.
    #[must_use]
    pub fn uses_tenant(&self) -> bool {
        self.pieces.contains(&Piece::Tenant)
    }

    /// What records fill, each slot once, in the order of their first places.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The first key of hooks that it has.
    #[must_use]
    pub fn hook_key(&self) -> Option<&str> {
        self.slots.iter().find(|slot| matches!(slot, Slot::HookKey(_)))?.key()
    }

    /// Values that fill the slots for a look at the template: `key` for each key, and the instant.
    #[must_use]
    pub fn example(&self, key: &str, instant: UnixMillis) -> Values {
        let value = |slot: &Slot| match slot {
            Slot::QueryKey(_) | Slot::HookKey(_) => key.to_owned(),
            Slot::Event(field) => self.event_value(field, instant),
        };
        self.slots.iter().map(|slot| value(slot).into_boxed_str()).collect()
    }

    /// The value of a slot for a record that names this instant.
    #[must_use]
    pub fn event_value(&self, EventField(field): &EventField, instant: UnixMillis) -> String {
        let mut value = String::new();
        field.print(&self.zone.at(instant), &mut value);
        value
    }

    /// The template up to the end of the folder that the piece `last` stands in; none when that is in no
    /// folder.
    pub(super) fn until_folder_end(&self, last: usize) -> Option<Self> {
        let mut pieces = self.pieces[..=last].to_vec();
        for piece in &self.pieces[last + 1..] {
            if let Piece::Literal(text) = piece
                && let Some(slash) = text.find('/')
            {
                pieces.push(Piece::Literal(text[..=slash].to_owned()));
                return Some(Self { pieces, implicit_from: None, ..self.clone() });
            }
            pieces.push(piece.clone());
        }
        None
    }

    /// The template with `<key>` in the place of each key of hooks.
    #[must_use]
    pub fn with_hook_keys_shown(self) -> Self {
        let mut shown = Self { pieces: Vec::new(), slots: Vec::new(), ..self };
        for (index, piece) in self.pieces.into_iter().enumerate() {
            if shown.implicit_from == Some(index) {
                shown.implicit_from = Some(shown.pieces.len());
            }
            match piece {
                Piece::Slot(number) => match &self.slots[number] {
                    Slot::HookKey(key) => {
                        shown.pieces.push(Piece::Literal(escape(&format!("<{key}>"))));
                    }
                    slot => shown.push_slot(slot.clone()),
                },
                piece => shown.pieces.push(piece),
            }
        }
        shown
    }

    /// The template in which a `/` in the value of a key makes folders, each of them escaped by
    /// itself. In a `name=value` folder it does not: a partition has one value.
    #[must_use]
    pub fn with_slashes(mut self) -> Self {
        self.allows_slashes = true;
        self
    }

    /// Whether a `/` in the value of a slot makes folders.
    #[must_use]
    pub fn splits(&self, slot: usize) -> bool {
        let mut is_in_partition = false;
        self.allows_slashes
            && self.slots[slot].key().is_some()
            && self.pieces.iter().any(|piece| {
                if let Piece::Literal(text) = piece {
                    let folder = text.rsplit('/').next().unwrap_or_default();
                    is_in_partition =
                        folder.contains('=') || (is_in_partition && !text.contains('/'));
                }
                *piece == Piece::Slot(slot) && !is_in_partition
            })
    }

    /// Whether the evaluated prefix is within its bound whatever the time.
    #[must_use]
    pub fn is_surely_short(&self, group: &Group) -> bool {
        // An escape has three characters for each byte.
        let of_value = |value: &str| 3 * value.len();
        let values = group.values().map_or(&[][..], |values| values);
        let lengths = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => text.len(),
            Piece::Time(field) => field.bytes_max(),
            Piece::RandomString | Piece::ErrorOutputType => PRINTED_BYTES_MAX,
            Piece::Tenant => group
                .tenant
                .as_ref()
                .map_or(DEFAULT_PARTITION.len(), |tenant| of_value(tenant.as_str())),
            Piece::Slot(number) => values.get(*number).map_or(0, |value| of_value(value)),
        });
        lengths.sum::<usize>() <= EVALUATED_CHARS_MAX
    }

    /// The template with the date appended that Firehose gives to a prefix without a time:
    /// `yyyy/MM/dd/HH/`, without a slash before it.
    #[must_use]
    pub fn with_implicit_date(mut self) -> Self {
        self.implicit_from = Some(self.pieces.len());
        self.has_timestamp = true;
        self.push_pattern(IMPLICIT_DATE).expect("the pattern is a constant");
        self
    }

    /// The names of the `name=value` folders, in order. Text behind the last slash is the
    /// beginning of the object's name and no folder.
    #[must_use]
    pub fn partition_keys(&self) -> Vec<String> {
        let shape = self.shape();
        Folders::of(&shape).map(|folder| unescape(folder.name)).collect()
    }

    /// The prefix of one object. A record without a tenant is placed in Hive's default partition
    /// when the template has the tenant in it. `random` is called once for each random string.
    ///
    /// # Errors
    /// When the prefix has more than 512 characters (the implicit date not counted), or needs an
    /// error type or a key that is not given.
    pub fn evaluate(
        &self,
        instant: UnixMillis,
        group: &Group,
        error: Option<ErrorOutputType>,
        random: &mut dyn FnMut() -> u128,
    ) -> Result<Evaluated, EvaluateError> {
        let time = self.zone.at(instant);
        let (written, implicit) =
            self.pieces.split_at(self.implicit_from.unwrap_or(self.pieces.len()));
        let mut prefix = String::new();
        for piece in written {
            match piece {
                Piece::RandomString => prefix.push_str(&random_string(random())),
                Piece::ErrorOutputType => {
                    let error = error.ok_or(EvaluateError::NoErrorOutputType)?;
                    prefix.push_str(error.as_str());
                }
                Piece::Tenant => match &group.tenant {
                    Some(tenant) => prefix.push_str(&escape(tenant.as_str())),
                    None => prefix.push_str(DEFAULT_PARTITION),
                },
                Piece::Slot(number) => {
                    let value = group.values().and_then(|values| values.get(*number));
                    let value = value.filter(|value| !value.is_empty());
                    self.print_value(value.ok_or(EvaluateError::NoPlace)?, &mut prefix);
                }
                Piece::Literal(_) | Piece::Time(_) => piece.print(&time, &mut prefix),
            }
        }
        let length = prefix.chars().count();
        if length > EVALUATED_CHARS_MAX {
            return Err(EvaluateError::TooLong(length));
        }
        for piece in implicit {
            piece.print(&time, &mut prefix);
        }
        let mut partition = Vec::new();
        let mut folder_end = 0;
        for folder in Folders::of(&prefix) {
            partition.push((unescape(folder.name), unescape(folder.value)));
            folder_end = folder.end;
        }
        let partition_folder = prefix[..folder_end].to_owned();
        Ok(Evaluated { prefix, partition, partition_folder })
    }

    fn print_value(&self, value: &str, prefix: &mut String) {
        let folder = prefix.rsplit('/').next().unwrap_or_default();
        if self.allows_slashes && !folder.contains('=') {
            let segments: Vec<_> = value.split('/').map(escape).collect();
            prefix.push_str(&segments.join("/"));
        } else {
            prefix.push_str(&escape(value));
        }
    }

    fn push_slot(&mut self, slot: Slot) {
        let number = self.slots.iter().position(|known| *known == slot);
        let number = number.unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        });
        self.pieces.push(Piece::Slot(number));
    }

    fn push_expression(&mut self, expression: &str, place: Place) -> Result<(), TemplateError> {
        let no_colon = || TemplateError::NoColon(expression.to_owned());
        let (namespace, value) = expression.split_once(':').ok_or_else(no_colon)?;
        self.has_expressions = true;
        match (namespace, value) {
            ("timestamp", pattern) => {
                self.has_timestamp = true;
                self.push_pattern(pattern)?;
            }
            ("firehose", "random-string") => self.pieces.push(Piece::RandomString),
            ("firehose", "error-output-type") if place == Place::ErrorPrefix => {
                self.pieces.push(Piece::ErrorOutputType);
            }
            ("firehose", "error-output-type") => return Err(TemplateError::OnlyInErrorPrefix),
            ("lakehose", "tenant") => self.pieces.push(Piece::Tenant),
            ("firehose", _) => return Err(unknown_firehose(value, place)),
            ("lakehose", _) => {
                return Err(TemplateError::Value {
                    namespace: "lakehose",
                    value: value.to_owned(),
                    allowed: "!{lakehose:tenant}",
                });
            }
            ("partitionKeyFromQuery", "") => {
                return Err(TemplateError::Value {
                    namespace: "partitionKeyFromQuery",
                    value: String::new(),
                    allowed: "the name of a key, such as !{partitionKeyFromQuery:customer}",
                });
            }
            ("partitionKeyFromLambda", "") => {
                return Err(TemplateError::Value {
                    namespace: "partitionKeyFromLambda",
                    value: String::new(),
                    allowed: "the name of a key, such as !{partitionKeyFromLambda:customer}",
                });
            }
            ("partitionKeyFromQuery" | "partitionKeyFromLambda" | "event", _)
                if place == Place::ErrorPrefix =>
            {
                return Err(TemplateError::OnlyInPrefix(expression.to_owned()));
            }
            ("partitionKeyFromQuery", key) => self.push_slot(Slot::QueryKey(key.to_owned())),
            ("partitionKeyFromLambda", key) => self.push_slot(Slot::HookKey(key.to_owned())),
            ("event", pattern) => {
                for part in pattern::parse(pattern, &self.zone)? {
                    match part {
                        pattern::Part::Literal(text) => self.push_literal(&text),
                        pattern::Part::Field(field) => {
                            self.push_slot(Slot::Event(EventField(field)));
                        }
                    }
                }
            }
            _ => return Err(TemplateError::Namespace(namespace.to_owned())),
        }
        Ok(())
    }

    fn push_pattern(&mut self, text: &str) -> Result<(), PatternError> {
        for part in pattern::parse(text, &self.zone)? {
            match part {
                pattern::Part::Literal(text) => self.push_literal(&text),
                pattern::Part::Field(field) => self.pieces.push(Piece::Time(field)),
            }
        }
        Ok(())
    }

    fn push_literal(&mut self, text: &str) {
        if let Some(Piece::Literal(last)) = self.pieces.last_mut() {
            last.push_str(text);
        } else if !text.is_empty() {
            self.pieces.push(Piece::Literal(text.to_owned()));
        }
    }

    /// The text of every evaluation, with [`ANY_VALUE`] where a value stands.
    fn shape(&self) -> String {
        let mut shape = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => shape.push_str(text),
                _ => shape.push(ANY_VALUE),
            }
        }
        shape
    }

    /// Holds for every evaluation, since values are neither empty nor dots, and have no `/` or `=`.
    fn check_folders(&self) -> Result<(), TemplateError> {
        let literals = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text),
            _ => None,
        });
        if let Some(control) = literals.flat_map(|text| text.chars()).find(|c| c.is_control()) {
            return Err(TemplateError::Control(control));
        }
        let shape = self.shape();
        if shape.starts_with('/') {
            return Err(TemplateError::LeadingSlash);
        }
        let mut names = BTreeSet::new();
        for segment in shape.split_inclusive('/') {
            let folder = segment.strip_suffix('/');
            match folder {
                Some("") => return Err(TemplateError::EmptyFolder),
                Some(dots @ ("." | "..")) => return Err(TemplateError::DotFolder(dots.to_owned())),
                _ => {}
            }
            if let Some((name, value)) = folder.unwrap_or(segment).split_once('=') {
                // Behind the last slash the value can still come: the implicit date, or a name.
                check_partition(name, value, folder.is_none())?;
                // Tables name their columns without regard to case.
                if !names.insert(name.to_lowercase()) {
                    return Err(TemplateError::PartitionTwice(name.to_owned()));
                }
            }
        }
        Ok(())
    }
}

impl Piece {
    /// Prints a piece that depends on the time alone.
    fn print(&self, time: &Moment, into: &mut String) {
        match self {
            Self::Literal(text) => into.push_str(text),
            Self::Time(field) => field.print(time, into),
            Self::RandomString | Self::ErrorOutputType | Self::Tenant | Self::Slot(_) => {}
        }
    }
}

/// Stands for a value in [`Template::shape`]; literal text cannot have it.
const ANY_VALUE: char = '\0';

fn check_partition(name: &str, value: &str, value_can_follow: bool) -> Result<(), TemplateError> {
    if name.contains(ANY_VALUE) {
        return Err(TemplateError::PartitionName);
    }
    if name.is_empty() || (value.is_empty() && !value_can_follow) {
        let shown = format!("{name}={value}").replace(ANY_VALUE, "...");
        return Err(TemplateError::HalfPartition(shown));
    }
    Ok(())
}

fn unknown_firehose(value: &str, place: Place) -> TemplateError {
    let allowed = match place {
        Place::Prefix => "!{firehose:random-string}",
        Place::ErrorPrefix => "!{firehose:error-output-type} or !{firehose:random-string}",
    };
    TemplateError::Value { namespace: "firehose", value: value.to_owned(), allowed }
}

fn random_string(random: u128) -> String {
    let mut text = uuid_v4(random).hyphenated().to_string();
    text.truncate(RANDOM_STRING_CHARS);
    text
}

/// The `name=value` folders of a prefix.
struct Folders<'a> {
    prefix: &'a str,
    at: usize,
}

struct Folder<'a> {
    name: &'a str,
    value: &'a str,
    /// Where the folder ends in the prefix, behind its slash.
    end: usize,
}

impl<'a> Folders<'a> {
    fn of(prefix: &'a str) -> Self {
        Self { prefix, at: 0 }
    }
}

impl<'a> Iterator for Folders<'a> {
    type Item = Folder<'a>;

    fn next(&mut self) -> Option<Folder<'a>> {
        loop {
            let rest = &self.prefix[self.at..];
            let segment = &rest[..rest.find('/')?];
            self.at += segment.len() + 1;
            if let Some((name, value)) = segment.split_once('=') {
                return Some(Folder { name, value, end: self.at });
            }
        }
    }
}
