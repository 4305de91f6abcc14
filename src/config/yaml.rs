//! YAML text to a tree that knows where everything stands.
//!
//! Owns the part of YAML that the file may use: one document of mappings, lists and scalars. Does
//! not own what keys mean.
//!
//! Invariants: size, depth and number of nodes are bounded; anchors, aliases and tags are refused,
//! so that what is written is what is read; the first of two equal keys stands, and the second is
//! a fault.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::faults::{Fault, Place, join};

/// The most bytes that the file may have.
pub(super) const FILE_BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of mappings and lists.
const DEPTH_MAX: usize = 32;
/// The most keys, values and collections in one file.
const NODES_MAX: usize = 100_000;

/// Where a node stands: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Where a scalar begins; for what stands behind a key and is no scalar, where the key begins.
    pub(super) mark: Mark,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// What is already reported as a fault and can be neither used nor judged.
    Faulty,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) mark: Mark,
    pub(super) node: Node,
}

/// A tree and the faults of its form.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Node,
    pub(super) faults: Vec<Fault>,
}

/// Reads `text`.
///
/// # Errors
/// The first fault of syntax or of a bound, behind which nothing can be read.
pub(super) fn parse(text: &str) -> Result<Tree, Fault> {
    let start = Mark { line: 1, column: 1 };
    if text.len() > FILE_BYTES_MAX {
        let length = text.len();
        let message = format!("the file has {length} bytes, at most {FILE_BYTES_MAX} are read");
        return Err(fault(start, message));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            let mark = Mark { line: marker.line().max(1), column: marker.col() + 1 };
            fault(mark, format!("this is no YAML: {}", error.info()))
        })?;
        if !builder.take(event, mark_of(span))? {
            break;
        }
    }
    let root = builder.root.unwrap_or(Node { mark: start, value: Value::Null });
    Ok(Tree { root, faults: builder.faults })
}

#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    root: Option<Node>,
    node_count: usize,
    faults: Vec<Fault>,
}

/// A collection that is not closed yet.
struct Frame {
    mark: Mark,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, known: HashSet<String>, key: Option<Key> },
}

/// A key whose value is not read yet.
struct Key {
    text: String,
    mark: Mark,
    /// Whether its value is left out, since the key is faulty.
    is_faulty: bool,
}

impl Builder {
    /// Takes an event; returns whether there is more to read.
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<bool, Fault> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let message =
                    "a second document begins here: write one document a file, without '---'";
                self.faults.push(fault(mark, message));
                return Ok(false);
            }
            Event::Alias(_) => {
                self.fault(mark, "aliases (*name) are not supported: write the value itself");
                self.count(mark)?;
                self.close(Node { mark, value: Value::Faulty });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(anchor, tag.is_some(), mark);
                self.count(mark)?;
                let is_null = style == ScalarStyle::Plain
                    && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                let value = if is_null && !self.wants_key() {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                self.close(Node { mark, value });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(anchor, tag.is_some(), mark);
                self.begin(mark, FrameKind::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(anchor, tag.is_some(), mark);
                let (entries, known) = (Vec::new(), HashSet::new());
                self.begin(mark, FrameKind::Map { entries, known, key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(true)
    }

    fn refuse(&mut self, anchor: usize, has_tag: bool, mark: Mark) {
        if anchor != 0 {
            self.fault(mark, "anchors (&name) are not supported: remove it and repeat the value");
        }
        if has_tag {
            self.fault(mark, "tags (!name) are not supported: remove it, or quote the value");
        }
    }

    fn fault(&mut self, mark: Mark, message: &str) {
        let path = self.path();
        self.faults.push(Fault::new(Place { line: mark.line, column: mark.column, path }, message));
    }

    /// The keys that lead to the node that is read next.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.open {
            match &frame.kind {
                FrameKind::List(items) => path.push_str(&format!("[{}]", items.len())),
                FrameKind::Map { key: Some(key), .. } => path = join(&path, &key.text),
                FrameKind::Map { key: None, .. } => {}
            }
        }
        path
    }

    fn count(&mut self, mark: Mark) -> Result<(), Fault> {
        self.node_count += 1;
        if self.node_count > NODES_MAX {
            return Err(fault(mark, format!("the file has more than {NODES_MAX} keys and values")));
        }
        Ok(())
    }

    fn begin(&mut self, mark: Mark, kind: FrameKind) -> Result<(), Fault> {
        self.count(mark)?;
        if self.open.len() == DEPTH_MAX {
            return Err(fault(mark, format!("this is nested more than {DEPTH_MAX} levels deep")));
        }
        self.open.push(Frame { mark, kind });
        Ok(())
    }

    fn end(&mut self) {
        let Some(Frame { mark, kind }) = self.open.pop() else {
            return;
        };
        let value = match kind {
            FrameKind::List(items) => Value::List(items),
            FrameKind::Map { entries, .. } => Value::Map(entries),
        };
        self.close(Node { mark, value });
    }

    fn wants_key(&self) -> bool {
        let kind = self.open.last().map(|frame| &frame.kind);
        matches!(kind, Some(FrameKind::Map { key: None, .. }))
    }

    /// Puts a finished node where it belongs.
    fn close(&mut self, mut node: Node) {
        if self.wants_key() {
            return self.take_key(node);
        }
        let Some(frame) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match &mut frame.kind {
            FrameKind::List(items) => items.push(node),
            FrameKind::Map { entries, key, .. } => {
                let Some(key) = key.take().filter(|key| !key.is_faulty) else {
                    return;
                };
                if !matches!(node.value, Value::Scalar(_)) {
                    node.mark = key.mark;
                }
                entries.push(Entry { key: key.text, mark: key.mark, node });
            }
        }
    }

    fn take_key(&mut self, node: Node) {
        let mark = node.mark;
        let (text, what_is_wrong) = match node.value {
            Value::Scalar(text) => (text, None),
            Value::Faulty => (String::new(), Some("")),
            _ => {
                (String::new(), Some("a key must be plain text: quote it if it begins with { or ["))
            }
        };
        let Some(Frame { kind: FrameKind::Map { known, key, .. }, .. }) = self.open.last_mut()
        else {
            return;
        };
        let what_is_wrong = match what_is_wrong {
            None if !known.insert(text.clone()) => {
                Some("this key stands twice: remove one of them")
            }
            other => other,
        };
        *key = Some(Key { text, mark, is_faulty: what_is_wrong.is_some() });
        if let Some(message) = what_is_wrong.filter(|message| !message.is_empty()) {
            self.fault(mark, message);
        }
    }
}

fn mark_of(span: Span) -> Mark {
    Mark { line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn fault(mark: Mark, message: impl std::fmt::Display) -> Fault {
    let Mark { line, column } = mark;
    Fault::new(Place { line, column, path: String::new() }, message)
}
