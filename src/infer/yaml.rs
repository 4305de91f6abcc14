//! A proposal as a file that `lakehose check` accepts.
//!
//! Owns the text. Does not own the keys of the file (`config`), which a test reads it with.

use std::fmt::Write as _;

use super::propose::{DEFAULT_FOLDERS, Note, Proposal};

/// A remark stands behind its column if the line is not longer.
const LINE_CHARS_MAX: usize = 110;
/// Remarks on the whole that are printed.
const NOTES_MAX: usize = 20;

impl Proposal {
    /// The proposal as a YAML file with one delivery stream; remarks are comments.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        self.write_yaml(&mut text).expect("a string takes any text");
        text
    }

    fn write_yaml(&self, out: &mut String) -> std::fmt::Result {
        let counts = self.counts;
        writeln!(out, "# Proposed by `lakehose infer` from {} records.", counts.objects)?;
        if let Some(line) = counts.first_bad_line {
            let bad = counts.not_json;
            writeln!(out, "# Not JSON, and not looked at: {bad}, the first at line {line}.")?;
        }
        if counts.not_objects > 0 {
            let odd = counts.not_objects;
            writeln!(out, "# JSON that is no object, which no table takes: {odd}.")?;
        }
        for note in self.notes.iter().take(NOTES_MAX) {
            writeln!(out, "# {}", remark(note))?;
        }
        if self.notes.len() > NOTES_MAX {
            writeln!(out, "# ... and {} more of these.", self.notes.len() - NOTES_MAX)?;
        }
        if let Some(best) = self.event_times.first() {
            writeln!(
                out,
                "# Event time: {} seems to say when. Folders go by the time of arrival.",
                quoted(best)
            )?;
        }
        if !self.partition_candidates.is_empty() {
            let few = self.partition_candidates.iter();
            let few: Vec<_> =
                few.map(|(name, count)| format!("{} ({count} values)", quoted(name))).collect();
            writeln!(out, "# Few values, so cheap to filter by: {}.", few.join(", "))?;
        }
        writeln!(out, "delivery_streams:")?;
        writeln!(out, "  {}:", quoted(self.stream.as_str()))?;
        writeln!(out, "    buffering: {{size: 64 MiB, interval: 60 s}}")?;
        writeln!(out, "    schema:")?;
        if self.columns.is_empty() {
            writeln!(out, "      columns: {{}}   # the sample has none: write name: type here")?;
        } else {
            writeln!(out, "      columns:")?;
        }
        for proposed in &self.columns {
            let column = &proposed.column;
            let hive_type = quoted(&column.hive_type.to_string());
            let line = format!("        {}: {hive_type}", quoted(&column.name));
            let comment: Vec<_> = proposed.notes.iter().map(remark).collect();
            match comment.as_slice() {
                [] => writeln!(out, "{line}")?,
                [only] if line.len() + only.len() < LINE_CHARS_MAX => {
                    writeln!(out, "{line}  # {only}")?;
                }
                many => {
                    for each in many {
                        writeln!(out, "        # {each}")?;
                    }
                    writeln!(out, "{line}")?;
                }
            }
        }
        self.write_destination(out)
    }

    /// No column may have the name of a folder.
    fn write_destination(&self, out: &mut String) -> std::fmt::Result {
        let folders = self.folders();
        if folders == DEFAULT_FOLDERS {
            return Ok(());
        }
        let folder = folders[0];
        let (stream, date) = (&self.stream, format!("{folder}=!{{timestamp:yyyy-MM-dd}}/"));
        writeln!(
            out,
            "    # The sample has a field year, month or day, so the folders are others."
        )?;
        writeln!(out, "    destination:")?;
        writeln!(out, "      prefix: \"{stream}/{date}\"")?;
        writeln!(
            out,
            "      error_prefix: \"errors/{stream}/!{{firehose:error-output-type}}/{date}\""
        )
    }
}

fn remark(note: &Note) -> String {
    let doubt = if note.is_doubt { "doubtful: " } else { "" };
    let text = note.text.replace(|c: char| c.is_control(), " ");
    format!("{doubt}{text}")
}

/// A text as a YAML scalar: as it is where nothing in it can mean anything else, or in quotes.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_<>,:().-".contains(c);
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(is_plain)
        && !text.ends_with(':');
    let means_more = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if is_word && !means_more.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return text.to_owned();
    }
    // YAML reads JSON's strings, and these escapes keep odd characters off the page.
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() || !is_visible(c) => {
                let code = u32::from(c);
                let escape =
                    if code > 0xffff { format!("\\U{code:08x}") } else { format!("\\u{code:04x}") };
                out.push_str(&escape);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether the character shows, by the rule with which Rust prints texts for programmers.
fn is_visible(c: char) -> bool {
    c == '\'' || !c.escape_debug().to_string().starts_with('\\')
}
