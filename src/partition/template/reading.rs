//! From the text of a prefix to its pieces.
//!
//! Owns the language, and that no evaluation of an accepted text makes a key that stores refuse.

use std::collections::BTreeSet;

use super::super::pattern::{self, PatternError, Zone};
use super::super::slot::{EventField, Slot};
use super::{Piece, Place, TEMPLATE_CHARS_MAX, Template, TemplateError};

/// The date that Firehose appends to a prefix without a time.
const IMPLICIT_DATE: &str = "yyyy/MM/dd/HH/";

/// Stands for a value in [`Template::shape`]; literal text cannot have it.
const ANY_VALUE: char = '\0';

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

    /// The template with the date appended that Firehose gives to a prefix without a time:
    /// `yyyy/MM/dd/HH/`, without a slash before it.
    #[must_use]
    pub fn with_implicit_date(mut self) -> Self {
        self.implicit_from = Some(self.pieces.len());
        self.has_timestamp = true;
        self.push_pattern(IMPLICIT_DATE).expect("the pattern is a constant");
        self
    }

    pub(super) fn push_slot(&mut self, slot: Slot) {
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
    pub(super) fn shape(&self) -> String {
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
