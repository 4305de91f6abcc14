//! The operators, over doubles and within bounds.
//!
//! Owns arithmetic, also of texts, lists and objects, and what a number is: an integer where a double
//! is one exactly, which lists are indexed by, and a double otherwise. A number that only passes
//! through a program stays as it was read.

use jaq_core::{Error, ValR};
use jaq_json::{Map, Num, Rc, Val};

use super::meter;

/// From here on not every integer is a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What jq calls the type of a value.
pub(super) fn kind(value: &Val) -> &'static str {
    match value {
        Val::Null => "null",
        Val::Bool(_) => "boolean",
        Val::Num(_) => "number",
        Val::TStr(_) | Val::BStr(_) => "string",
        Val::Arr(_) => "array",
        Val::Obj(_) => "object",
    }
}

/// A number as a double.
#[allow(clippy::cast_precision_loss)]
pub(super) fn double(number: &Num) -> f64 {
    match number {
        Num::Int(value) => *value as f64,
        Num::Float(value) => *value,
        // Beyond all doubles: no need to know all its digits.
        Num::BigInt(large) if large.bits() > 1_100 => {
            if *number < Num::Int(0) {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }
        }
        Num::BigInt(_) | Num::Dec(_) => number.to_string().parse().unwrap_or(f64::NAN),
    }
}

/// A number as programs make it.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn plain(number: Num) -> Val {
    let value = double(&number);
    let is_negative_zero = value == 0.0 && value.is_sign_negative();
    if value.abs() < EXACT_MAX && value.trunc() == value && !is_negative_zero {
        return (value as isize).into();
    }
    value.into()
}

fn wrong(left: &Val, right: &Val, what: &str) -> Error<Val> {
    Error::str(format!("{} and {} {what}", kind(left), kind(right)))
}

/// Pays for a list that is changed in place, or copied where others hold it too.
pub(super) fn own_list(list: &Rc<Vec<Val>>) {
    meter::steps(1);
    if Rc::strong_count(list) > 1 {
        meter::bytes(16 * list.len());
    }
}

/// Pays for an object that is changed in place, or copied where others hold it too.
pub(super) fn own_object(object: &Rc<Map>) {
    meter::steps(1);
    if Rc::strong_count(object) > 1 {
        meter::bytes(64 * object.len());
    }
}

pub(super) fn plus(left: Val, right: Val) -> ValR<Val> {
    match (&left, &right) {
        (Val::Null, _) => return Ok(right),
        (_, Val::Null) => return Ok(left),
        (Val::Num(left), Val::Num(right)) => {
            meter::steps(1);
            return Ok(plain(Num::Float(double(left) + double(right))));
        }
        (Val::TStr(left), Val::TStr(right)) => {
            meter::steps(1);
            meter::bytes(right.len() + if left.is_unique() { 0 } else { left.len() });
        }
        (Val::Arr(left), Val::Arr(right)) => {
            own_list(left);
            meter::bytes(16 * right.len());
        }
        (Val::Obj(left), Val::Obj(right)) => {
            own_object(left);
            meter::bytes(64 * right.len());
        }
        _ => return Err(wrong(&left, &right, "cannot be added")),
    }
    left + right
}

pub(super) fn minus(left: Val, right: Val) -> ValR<Val> {
    match (&left, &right) {
        (Val::Num(left), Val::Num(right)) => {
            meter::steps(1);
            return Ok(plain(Num::Float(double(left) - double(right))));
        }
        (Val::Arr(list), Val::Arr(_)) => {
            own_list(list);
            meter::walk(&left);
            meter::walk(&right);
        }
        _ => return Err(wrong(&left, &right, "cannot be subtracted")),
    }
    left - right
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn multiply(left: Val, right: Val) -> ValR<Val> {
    match (&left, &right) {
        (Val::Num(left), Val::Num(right)) => {
            meter::steps(1);
            Ok(plain(Num::Float(double(left) * double(right))))
        }
        (Val::TStr(text), Val::Num(count)) | (Val::Num(count), Val::TStr(text)) => {
            // The first of them is there already: a half is one, nothing is null.
            let more = (double(count) - 1.0).trunc();
            if more.is_nan() || double(count) <= 0.0 {
                return Ok(Val::Null);
            }
            let count = (more.max(0.0) as usize).saturating_add(1);
            meter::bytes(text.len().saturating_mul(count).saturating_add(1));
            Ok(Val::utf8_str(text.repeat(count)))
        }
        (Val::Obj(object), Val::Obj(_)) => {
            own_object(object);
            // What is merged below is copied there.
            meter::walk(&left);
            meter::walk(&right);
            left * right
        }
        _ => Err(wrong(&left, &right, "cannot be multiplied")),
    }
}

pub(super) fn divide(left: Val, right: Val) -> ValR<Val> {
    match (&left, &right) {
        (Val::Num(one), Val::Num(other)) => {
            meter::steps(1);
            let divisor = double(other);
            if divisor == 0.0 {
                let what = "cannot be divided because the divisor is zero";
                return Err(wrong(&left, &right, what));
            }
            Ok(plain(Num::Float(double(one) / divisor)))
        }
        (Val::TStr(_), Val::TStr(_)) => split(left, right),
        _ => Err(wrong(&left, &right, "cannot be divided")),
    }
}

/// The parts of a text between separators.
pub(super) fn split(text: Val, separator: Val) -> ValR<Val> {
    match (&text, &separator) {
        (Val::TStr(whole), Val::TStr(part)) => {
            meter::steps(1);
            meter::elements(2 * whole.len() / part.len().max(1));
            text / separator
        }
        _ => Err(Error::str("split input and separator must be strings")),
    }
}

/// As C's integers, which have one value for all that they cannot hold; the sign is the left one's.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
pub(super) fn remainder(left: Val, right: Val) -> ValR<Val> {
    let (Val::Num(one), Val::Num(other)) = (&left, &right) else {
        return Err(wrong(&left, &right, "cannot be divided (remainder)"));
    };
    meter::steps(1);
    let integer = |number: f64| {
        if number.abs() < 9.223_372_036_854_775e18 { number as i64 } else { i64::MIN }
    };
    let (one, other) = (integer(double(one)), integer(double(other)).unsigned_abs());
    if other == 0 {
        let what = "cannot be divided (remainder) because the divisor is zero";
        return Err(wrong(&left, &right, what));
    }
    Ok(plain(Num::Float((i128::from(one) % i128::from(other)) as f64)))
}

/// Where a part, which is not empty, stands first in a text, from a place on.
pub(super) fn find(text: &[u8], part: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let place = rest.windows(part.len()).position(|window| window == part);
    let end = place.map_or(rest.len(), |place| place + 1);
    meter::steps(1 + (end as u64).saturating_mul(part.len() as u64) / 256);
    Some(from + place?)
}
