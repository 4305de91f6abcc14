//! The natives of our own: what a guarded program calls, and what jq 1.6 does otherwise than the
//! interpreter's library.
//!
//! Owns which natives there are and under what names: one of the library that goes over a whole text
//! or list is there as `__name` only, and a definition pays before it calls it. Does not own
//! operators, regular expressions and times, which have modules of their own.

use jaq_core::native::{Fun, bome, run, v};
use jaq_core::{Bind, Cv, Error, Exn, Native, ValR, ValXs};
use jaq_json::{Num, Val};

use super::{Data, matching, meter, operators, text, times, update};

/// Natives of the library that do not exist here, or are our own.
const ABSENT: [&str; 29] = [
    "contains",
    "debug_empty",
    "env",
    "escape_sh",
    "encode_uri",
    "fromdateiso8601",
    "fromjson",
    "gmtime",
    "halt",
    "indices",
    "input",
    "length",
    "localtime",
    "ltrimstr",
    "matches",
    "mktime",
    "now",
    "path_value",
    "range",
    "rtrimstr",
    "split_",
    "split_matches",
    "stderr_empty",
    "strflocaltime",
    "strftime",
    "strptime",
    "tobytes",
    "todateiso8601",
    "tojson",
];
/// Natives of the library that a definition pays for.
const PAID: [(&str, &str); 14] = [
    ("explode", "__explode"),
    ("implode", "__implode"),
    ("ascii_downcase", "__ascii_downcase"),
    ("ascii_upcase", "__ascii_upcase"),
    ("sort", "__sort"),
    ("sort_by", "__sort_by"),
    ("group_by", "__group_by"),
    ("min_by_or_empty", "__min_by_or_empty"),
    ("max_by_or_empty", "__max_by_or_empty"),
    ("keys_unsorted", "__keys_unsorted"),
    ("bsearch", "__bsearch"),
    ("escape_html", "__escape_html"),
    ("encode_base64", "__encode_base64"),
    ("decode_base64", "__decode_base64"),
];

/// All natives, the later ones first of those with one name.
pub(super) fn all() -> impl Iterator<Item = Fun<Data>> {
    let library = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let library = library.filter(|fun: &Fun<Data>| !ABSENT.contains(&fun.0));
    let library = library.map(|(name, args, native)| {
        let paid = PAID.iter().find(|(known, _)| *known == name);
        (paid.map_or(name, |(_, paid)| *paid), args, native)
    });
    library.chain(looks()).chain(own())
}

type Run = for<'a> fn(Cv<'a, Data>) -> ValXs<'a, Val>;

/// What hands on its input after a look at it; a path goes through it.
macro_rules! look {
    ($name:literal, $look:expr) => {
        (
            $name,
            v(0),
            Native::new(|cv| {
                let look: fn(&Val) = $look;
                look(&cv.1);
                bome(Ok(cv.1))
            })
            .with_paths(|cv| {
                let look: fn(&Val) = $look;
                look(&cv.1.0);
                meter::path(cv.1.1.iter());
                Box::new(std::iter::once(Ok(cv.1)))
            }),
        )
    };
}

fn looks() -> [Fun<Data>; 5] {
    [
        look!("__tick", |value| {
            meter::tick();
            meter::pass_large(value);
        }),
        look!("__turn", |_| meter::tick()),
        look!("__element", |_| meter::elements(1)),
        look!("__small", meter::walk),
        look!("__pass", meter::pass),
    ]
}

macro_rules! of_input {
    ($function:expr) => {
        |cv| bome($function(cv.1))
    };
}

macro_rules! of_one {
    ($function:expr) => {
        |mut cv| {
            let one = cv.0.pop_var();
            bome($function(cv.1, one))
        }
    };
}

/// Of the left and the right side, of which the right one stands first. The input is let go before,
/// so that what only the left side holds is changed in place.
macro_rules! of_both {
    ($function:expr) => {
        |mut cv| {
            let left = cv.0.pop_var();
            let right = cv.0.pop_var();
            drop(cv);
            bome($function(left, right))
        }
    };
}

/// Whether there is a native of our own, which a definition of the library would stand before.
pub(super) fn is_own(name: &str, args: usize) -> bool {
    own().any(|(own, binds, _)| own == name && binds.len() == args)
}

fn own() -> impl Iterator<Item = Fun<Data>> {
    let of_input: [(&'static str, Run); 16] = [
        ("__made", of_input!(made)),
        ("__text", of_input!(text_of)),
        ("tostring", of_input!(text_of)),
        ("tojson", of_input!(|value: Val| Ok(text::json(&value).map_err(Error::str)?.into()))),
        ("fromjson", of_input!(from_json)),
        ("tonumber", of_input!(to_number)),
        ("type", of_input!(|value: Val| Ok(operators::kind(&value).to_owned().into()))),
        ("length", of_input!(length)),
        ("null", of_input!(|_| Ok(Val::Null))),
        ("nan", of_input!(|_| Ok(f64::NAN.into()))),
        ("infinite", of_input!(|_| Ok(f64::INFINITY.into()))),
        ("isnormal", of_input!(is_normal)),
        ("@uri", of_input!(uri)),
        ("now", of_input!(now)),
        ("gmtime", of_input!(times::broken_down)),
        ("mktime", of_input!(times::seconds)),
    ];
    let of_one: [(&'static str, Run); 8] = [
        ("contains", of_one!(contains)),
        ("indices", of_one!(indices)),
        (
            "ltrimstr",
            of_one!(|text, start: Val| Ok(
                trimmed(text, &start, |text, cut| text.strip_prefix(cut))
            )),
        ),
        (
            "rtrimstr",
            of_one!(|text, end: Val| Ok(trimmed(text, &end, |text, cut| text.strip_suffix(cut)))),
        ),
        ("__split", of_one!(operators::split)),
        ("delpaths", of_one!(update::delete)),
        ("strftime", of_one!(times::format)),
        ("strptime", of_one!(times::parse)),
    ];
    let of_both: [(&'static str, Run); 12] = [
        ("__plus", of_both!(operators::plus)),
        ("__minus", of_both!(operators::minus)),
        ("__multiply", of_both!(operators::multiply)),
        ("__divide", of_both!(operators::divide)),
        ("__remainder", of_both!(operators::remainder)),
        ("__equal", of_both!(|l: Val, r: Val| compared(&l, &r, |l, r| l == r))),
        ("__not_equal", of_both!(|l: Val, r: Val| compared(&l, &r, |l, r| l != r))),
        ("__less", of_both!(|l: Val, r: Val| compared(&l, &r, |l, r| l < r))),
        ("__less_or_equal", of_both!(|l: Val, r: Val| compared(&l, &r, |l, r| l <= r))),
        ("__greater", of_both!(|l: Val, r: Val| compared(&l, &r, |l, r| l > r))),
        ("__greater_or_equal", of_both!(|l: Val, r: Val| compared(&l, &r, |l, r| l >= r))),
        ("__slice", of_both!(|to: Val, from: Val| Ok(update::slice(&from, &to)))),
    ];
    let named =
        |count| move |(name, native): (&'static str, Run)| run::<Data>((name, v(count), native));
    let more: [Fun<Data>; 3] = [
        run::<Data>(("range", v(3), range)),
        run::<Data>(("__match", v(3), matching::matches)),
        run::<Data>(("__modify", [Bind::Fun(()), Bind::Fun(())].into(), update::modify)),
    ];
    of_input
        .into_iter()
        .map(named(0))
        .chain(of_one.into_iter().map(named(1)))
        .chain(of_both.into_iter().map(named(2)))
        .chain(more)
}

fn made(value: Val) -> ValR<Val> {
    meter::walk(&value);
    if let Val::Obj(object) = &value
        && let Some(key) = object.keys().find(|key| !matches!(key, Val::TStr(_)))
    {
        let what = format!("Object keys must be strings, not {}", operators::kind(key));
        return Err(Error::str(what));
    }
    Ok(value)
}

fn compared(left: &Val, right: &Val, test: fn(&Val, &Val) -> bool) -> ValR<Val> {
    // As long as the shorter one, but for lists of lists, whose lengths tell nothing.
    for value in [left, right] {
        if matches!(value, Val::Arr(_) | Val::Obj(_) | Val::TStr(_)) {
            meter::walk(value);
        }
    }
    meter::tick();
    Ok(test(left, right).into())
}

fn text_of(value: Val) -> ValR<Val> {
    match value {
        Val::TStr(text) => {
            meter::bytes(text.len());
            Ok(Val::TStr(text))
        }
        other => Ok(text::plain(&other).map_err(Error::str)?.into()),
    }
}

/// A list of JSON documents is none, and neither is one that a producer has nested without end.
fn from_json(value: Val) -> ValR<Val> {
    let Val::TStr(json) = &value else {
        return Err(Error::str("only strings can be parsed"));
    };
    meter::bytes(json.len().saturating_mul(16));
    if json.trim_ascii() == b"nan" {
        return Ok(f64::NAN.into());
    }
    super::read(json, super::Numbers::Doubles).map_err(Error::str)
}

fn to_number(value: Val) -> ValR<Val> {
    let text = match &value {
        Val::Num(_) => return Ok(value),
        Val::TStr(text) => text,
        _ => return Err(Error::str("cannot be parsed as a number")),
    };
    meter::pass(&value);
    let text = String::from_utf8_lossy(text);
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
    if trimmed == "nan" {
        return Ok(f64::NAN.into());
    }
    let number = text::lenient_number(trimmed);
    let number = number.ok_or_else(|| Error::str("the text is no number"))?;
    Ok(operators::plain(Num::Float(number)))
}

fn length(value: Val) -> ValR<Val> {
    meter::pass(&value);
    Ok(match value {
        Val::Null => 0_usize.into(),
        Val::TStr(text) => String::from_utf8_lossy(&text).chars().count().into(),
        Val::Arr(list) => list.len().into(),
        Val::Obj(object) => object.len().into(),
        Val::Num(number) => operators::plain(Num::Float(operators::double(&number).abs())),
        other => {
            return Err(Error::str(format!("{} has no length", operators::kind(&other))));
        }
    })
}

fn is_normal(value: Val) -> ValR<Val> {
    match &value {
        Val::Num(number) => Ok(operators::double(number).is_normal().into()),
        _ => Err(Error::str("number required")),
    }
}

fn uri(value: Val) -> ValR<Val> {
    let text = text::plain(&value).map_err(Error::str)?;
    meter::bytes(text.len().saturating_mul(3));
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%'].into_iter().chain(format!("{byte:02X}").chars()));
        }
    }
    Ok(out.into())
}

fn now(_: Val) -> ValR<Val> {
    let nothing =
        "now stands for nothing here: the outcome must not depend on when it is looked at";
    meter::now().map(Val::from).ok_or_else(|| Error::str(nothing))
}

fn trimmed(text: Val, cut: &Val, strip: for<'a> fn(&'a [u8], &[u8]) -> Option<&'a [u8]>) -> Val {
    if let (Val::TStr(whole), Val::TStr(cut)) = (&text, cut)
        && let Some(rest) = strip(whole, cut)
    {
        return Val::utf8_str(whole.slice_ref(rest));
    }
    text
}

fn contains(whole: Val, part: Val) -> ValR<Val> {
    holds(&whole, &part).map(Val::from)
}

fn holds(whole: &Val, part: &Val) -> ValR<bool, Val> {
    meter::tick();
    Ok(match (whole, part) {
        (Val::Obj(whole), Val::Obj(part)) => {
            for (key, part) in part.iter() {
                match whole.get(key) {
                    Some(whole) if holds(whole, part)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Val::Arr(whole), Val::Arr(part)) => {
            for part in part.iter() {
                let mut is_there = false;
                for item in whole.iter() {
                    let alike = operators::kind(item) == operators::kind(part);
                    if alike && holds(item, part)? {
                        is_there = true;
                        break;
                    }
                }
                if !is_there {
                    return Ok(false);
                }
            }
            true
        }
        (Val::TStr(text), Val::TStr(part)) => {
            meter::pass(whole);
            part.is_empty() || operators::find(text, part, 0).is_some()
        }
        (one, other) if operators::kind(one) == operators::kind(other) => one == other,
        (one, other) => {
            let (one, other) = (operators::kind(one), operators::kind(other));
            let what = format!("{one} and {other} cannot have their containment checked");
            return Err(Error::str(what));
        }
    })
}

/// Where a part begins, of a text in bytes, as in jq 1.6.
fn indices(whole: Val, part: Val) -> ValR<Val> {
    let found: Vec<usize> = match (&whole, &part) {
        (Val::Null, _) => return Ok(Val::Null),
        (Val::TStr(text), Val::TStr(part)) => {
            meter::pass(&whole);
            let mut found = Vec::new();
            let mut from = 0;
            while !part.is_empty()
                && let Some(place) = operators::find(text, part, from)
            {
                meter::elements(1);
                found.push(place);
                from = place + 1;
            }
            found
        }
        (Val::Arr(list), other) => {
            let one = [other.clone()];
            let part = match other {
                Val::Arr(part) => part.as_slice(),
                _ => &one,
            };
            meter::walk(&whole);
            let is_here = |window: &&[Val]| {
                meter::steps(1);
                // What is long is compared as far as it is the same.
                window.iter().zip(part).all(|(one, other)| {
                    meter::steps(1);
                    one == other
                })
            };
            if part.is_empty() {
                return Ok(Val::Null);
            }
            let windows = list.windows(part.len()).enumerate();
            windows.filter(|(_, window)| is_here(window)).map(|(index, _)| index).collect()
        }
        _ => return Err(Error::str("Cannot determine indices of what is no text and no list")),
    };
    Ok(found.into_iter().map(Val::from).collect())
}

fn range<'a>(mut cv: Cv<'a, Data>) -> ValXs<'a, Val> {
    let (by, to, from) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
    let (Val::Num(by), Val::Num(to), Val::Num(from)) = (by, to, from) else {
        let what = "Range bounds must be numeric";
        return Box::new(std::iter::once(Err(Exn::from(Error::str(what)))));
    };
    let (by, to) = (operators::double(&by), operators::double(&to));
    let mut next = operators::double(&from);
    Box::new(std::iter::from_fn(move || {
        meter::tick();
        let is_inside = if by > 0.0 { next < to } else { by < 0.0 && next > to };
        is_inside.then(|| {
            let this = next;
            next += by;
            Ok(operators::plain(Num::Float(this)))
        })
    }))
}
