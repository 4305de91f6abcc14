//! What becomes of a program before it is compiled: every loop, call and operation in it pays the
//! meter.
//!
//! Owns reading a program and rewriting it, and the definitions of the standard library in the same
//! way. Does not own what is paid ([`super::meter`]), nor the natives that a rewritten program calls
//! ([`super::natives`]); their names begin with `__`.
//!
//! What keeps a program in bounds:
//!
//! - Bodies of definitions, of folds, of arguments, and whatever stands behind a `|` begin with
//!   `__tick`, which takes a step and looks at the stack. So does every sixteenth level of a term.
//! - Behind each `[]` stands `__turn`, since one evaluation of it gives as many outputs as a list has, and
//!   what takes them may be plain. What is gathered into a list takes the room of each element
//!   (`__element`) before it is there.
//! - A definition with an argument that is no variable ends with `| .`, which keeps its calls from
//!   being tail calls: closures in closures would otherwise grow without a stack to look at, and free
//!   themselves with one.
//! - What makes lists and objects ends with `__made`, which goes through the value: none is nested so
//!   deep, or shares its parts so often, that comparing, printing or freeing it has no bound.
//! - Operators, comparisons and updates are natives of our own. They ask for the room of what they
//!   make, numbers are doubles, and updates do what jq's do of paths that are not there yet.

use std::borrow::Cow;

use jaq_core::load::lex::{Lexer, StrPart, Token};
use jaq_core::load::parse::{BinaryOp, Def, Parser, Pattern, Term};
use jaq_core::load::{Arena, Error};
use jaq_core::ops::{Cmp, Math};
use jaq_core::path::{Part, Path};

use super::text;

/// How many levels of a term stand between two looks at the stack.
const LEVELS_PER_TICK: usize = 16;
/// What an assignment calls the value of its right side.
const ASSIGNED: &str = "$__value";

/// The program, guarded.
///
/// # Errors
/// The first fault of the text.
pub(super) fn program<'a>(
    text: &'a str,
    arena: &'a Arena,
) -> Result<Term<&'a str>, Error<&'a str>> {
    let tokens = Lexer::new(text).lex().map_err(Error::Lex)?;
    // Modules are not there at all.
    if let Some(Token(word @ ("import" | "include" | "module"), _)) = tokens.first() {
        return Err(Error::Io(vec![(*word, String::new())]));
    }
    let term = Parser::new(&tokens).parse(Parser::term).map_err(|errors| {
        let found = |token| Token::opt_as_str(token, text);
        Error::Parse(errors.into_iter().map(|(expect, token)| (expect, found(token))).collect())
    })?;
    Ok(Guard { arena }.body(term, 0))
}

/// A definition of a library, guarded.
pub(super) fn definition<'a>(def: Def<&'a str>, arena: &'a Arena) -> Def<&'a str> {
    Guard { arena }.definition(def, 0)
}

struct Guard<'a> {
    arena: &'a Arena,
}

fn call<'a>(name: &'a str, args: impl Into<Vec<Term<&'a str>>>) -> Term<&'a str> {
    Term::Call(name, args.into())
}

fn pipe<'a>(first: Term<&'a str>, second: Term<&'a str>) -> Term<&'a str> {
    Term::BinOp(first.into(), BinaryOp::Pipe(None), second.into())
}

/// Whether evaluating a term is one step, whatever it is evaluated over.
fn is_plain(term: &Term<&str>) -> bool {
    let is_plain_part = |part: &Part<Term<&str>>| match part {
        Part::Index(index) => is_plain(index),
        Part::Range(..) => false,
    };
    match term {
        Term::Id | Term::Num(_) => true,
        Term::Str(None, parts) => !parts.iter().any(|part| matches!(part, StrPart::Term(_))),
        Term::Path(head, path) => {
            matches!(**head, Term::Id)
                && path.0.len() < LEVELS_PER_TICK
                && path.0.iter().all(|(part, _)| is_plain_part(part))
        }
        _ => false,
    }
}

impl<'a> Guard<'a> {
    /// A term that is evaluated again and again.
    fn body(&self, term: Term<&'a str>, level: usize) -> Term<&'a str> {
        if is_plain(&term) {
            return self.plain(term, level);
        }
        pipe(call("__tick", []), self.plain(term, level))
    }

    fn term(&self, term: Term<&'a str>, level: usize) -> Term<&'a str> {
        if level.is_multiple_of(LEVELS_PER_TICK) {
            self.body(term, level)
        } else {
            self.plain(term, level)
        }
    }

    fn boxed(&self, term: Term<&'a str>, level: usize) -> Box<Term<&'a str>> {
        Box::new(self.term(term, level))
    }

    fn plain(&self, term: Term<&'a str>, level: usize) -> Term<&'a str> {
        let level = level + 1;
        match term {
            Term::Id | Term::Break(_) | Term::Var(_) => term,
            Term::Recurse => pipe(call("__small", []), term),
            Term::Num(number) => Term::Num(self.number(number)),
            Term::Str(format, parts) => {
                let parts = parts.into_iter().map(|part| match part {
                    StrPart::Term(term) => {
                        let text = call(format.unwrap_or("__text"), []);
                        StrPart::Term(pipe(self.body(term, level), text))
                    }
                    other => other,
                });
                Term::Str(None, parts.collect())
            }
            Term::Arr(items) => {
                let gathered = |items| pipe(self.term(items, level), call("__element", []));
                let items = items.map(|items| Box::new(gathered(*items)));
                pipe(Term::Arr(items), call("__made", []))
            }
            Term::Obj(entries) => {
                let entries = entries.into_iter().map(|(key, value)| {
                    (self.term(key, level), value.map(|value| self.body(value, level)))
                });
                pipe(Term::Obj(entries.collect()), call("__made", []))
            }
            Term::Neg(term) => Term::Neg(self.boxed(*term, level)),
            Term::BinOp(left, operator, right) => self.operation(*left, operator, *right, level),
            Term::Label(name, term) => Term::Label(name, self.body(*term, level).into()),
            Term::Fold(name, items, pattern, args) => {
                let args = args.into_iter().map(|arg| self.body(arg, level)).collect();
                let pattern = self.pattern(pattern, level);
                Term::Fold(name, self.boxed(*items, level), pattern, args)
            }
            Term::TryCatch(term, catch) => {
                let catch = catch.map(|catch| self.body(*catch, level).into());
                Term::TryCatch(self.boxed(*term, level), catch)
            }
            Term::IfThenElse(branches, otherwise) => {
                let branches = branches
                    .into_iter()
                    .map(|(test, then)| (self.term(test, level), self.body(then, level)));
                let otherwise = otherwise.map(|term| self.body(*term, level).into());
                Term::IfThenElse(branches.collect(), otherwise)
            }
            Term::Def(defs, term) => {
                let defs = defs.into_iter().map(|def| self.definition(def, level));
                Term::Def(defs.collect(), self.boxed(*term, level))
            }
            Term::Call(name, args) => {
                call(name, args.into_iter().map(|arg| self.body(arg, level)).collect::<Vec<_>>())
            }
            Term::Path(head, path) => {
                let part = |part| match part {
                    Part::Index(index) => Part::Index(self.body(index, level)),
                    Part::Range(None, None) => part,
                    // As an index, which may be one of null.
                    Part::Range(from, to) => {
                        let bound = |bound: Option<_>| match bound {
                            Some(bound) => self.body(bound, level),
                            None => call("null", []),
                        };
                        Part::Index(call("__slice", [bound(from), bound(to)]))
                    }
                };
                let mut term = self.term(*head, level);
                let mut parts = Vec::new();
                for (piece, optional) in path.0 {
                    let is_loop = matches!(piece, Part::Range(None, None));
                    parts.push((part(piece), optional));
                    if is_loop {
                        let path = Path(std::mem::take(&mut parts));
                        term = pipe(Term::Path(term.into(), path), call("__turn", []));
                    }
                }
                if parts.is_empty() { term } else { Term::Path(term.into(), Path(parts)) }
            }
        }
    }

    fn definition(&self, def: Def<&'a str>, level: usize) -> Def<&'a str> {
        let has_closures = def.args.iter().any(|arg| !arg.starts_with('$'));
        // The term itself is no body, since a look at the stack stands before it in any case.
        let body = pipe(call("__tick", []), self.plain(def.body, level));
        Def { body: if has_closures { pipe(body, Term::Id) } else { body }, ..def }
    }

    fn operation(
        &self,
        left: Term<&'a str>,
        operator: BinaryOp<&'a str>,
        right: Term<&'a str>,
        level: usize,
    ) -> Term<&'a str> {
        // The right side is the outer loop, as in jq.
        let native =
            |name, left, right| call(name, [self.body(right, level), self.body(left, level)]);
        let assigned = |path, value, new| {
            let modified = call("__modify", [self.body(path, level), new]);
            let bound = BinaryOp::Pipe(Some(Pattern::Var(ASSIGNED)));
            Term::BinOp(self.boxed(value, level), bound, pipe(call("__tick", []), modified).into())
        };
        match operator {
            BinaryOp::Pipe(None) => pipe(self.term(left, level), self.body(right, level)),
            BinaryOp::Pipe(Some(pattern)) => {
                let pattern = self.pattern(pattern, level);
                let right = self.body(right, level).into();
                Term::BinOp(self.boxed(left, level), BinaryOp::Pipe(Some(pattern)), right)
            }
            BinaryOp::Comma => {
                let right = self.boxed(right, level);
                Term::BinOp(self.boxed(left, level), BinaryOp::Comma, right)
            }
            BinaryOp::Alt | BinaryOp::Or | BinaryOp::And => {
                let right = self.body(right, level).into();
                Term::BinOp(self.boxed(left, level), operator, right)
            }
            BinaryOp::Math(operator) => native(arithmetic(operator), left, right),
            BinaryOp::Cmp(operator) => native(comparison(operator), left, right),
            BinaryOp::Update => call("__modify", [self.body(left, level), self.body(right, level)]),
            BinaryOp::Assign => assigned(left, right, Term::Var(ASSIGNED)),
            BinaryOp::UpdateMath(operator) => {
                let new = call(arithmetic(operator), [Term::Var(ASSIGNED), Term::Id]);
                assigned(left, right, new)
            }
            BinaryOp::UpdateAlt => {
                let value = Box::new(Term::Var(ASSIGNED));
                assigned(left, right, Term::BinOp(Term::Id.into(), BinaryOp::Alt, value))
            }
        }
    }

    fn pattern(&self, pattern: Pattern<&'a str>, level: usize) -> Pattern<&'a str> {
        match pattern {
            Pattern::Var(_) => pattern,
            Pattern::Arr(patterns) => {
                let patterns = patterns.into_iter().map(|pattern| self.pattern(pattern, level));
                Pattern::Arr(patterns.collect())
            }
            Pattern::Obj(entries) => {
                let entries = entries.into_iter();
                let entries = entries
                    .map(|(key, pattern)| (self.body(key, level), self.pattern(pattern, level)));
                Pattern::Obj(entries.collect())
            }
        }
    }

    /// A number of a program is the double that it stands for.
    fn number(&self, number: &'a str) -> &'a str {
        let text = number.parse().map_or(Cow::Borrowed(number), |value| text::number(value).into());
        if text == number { number } else { self.arena.alloc(text.into_owned()) }
    }
}

fn arithmetic(operator: Math) -> &'static str {
    match operator {
        Math::Add => "__plus",
        Math::Sub => "__minus",
        Math::Mul => "__multiply",
        Math::Div => "__divide",
        Math::Rem => "__remainder",
    }
}

fn comparison(operator: Cmp) -> &'static str {
    match operator {
        Cmp::Eq => "__equal",
        Cmp::Ne => "__not_equal",
        Cmp::Lt => "__less",
        Cmp::Le => "__less_or_equal",
        Cmp::Gt => "__greater",
        Cmp::Ge => "__greater_or_equal",
    }
}
