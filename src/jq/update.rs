//! Updates: values at paths changed, made and deleted.
//!
//! Owns what an assignment does at each path that its left side gives, as jq 1.6 does it: one path
//! after the other, and what is not there yet is made.

use jaq_core::{Cv, Error, Exn, ValR, ValX, ValXs};
use jaq_json::{Num, Rc, Val};

use super::operators::{double, kind, own_list, own_object};
use super::{Data, meter};

/// `__modify(paths; new)`: the input with what `new` makes of each value first; where it makes nothing,
/// the value is deleted.
pub(super) fn modify<'a>(mut cv: Cv<'a, Data>) -> ValXs<'a, Val> {
    let (new, new_context) = cv.0.pop_fun();
    let (paths, paths_context) = cv.0.pop_fun();
    let input = cv.1;
    let modified = || -> ValX<'a, Val> {
        let mut places = Vec::new();
        for found in paths.paths((paths_context, (input.clone(), Default::default()))) {
            let (_, path) = found?;
            let mut parts: Vec<Val> = path.iter().cloned().collect();
            parts.reverse();
            meter::elements(2 + parts.len());
            meter::tick();
            places.push(parts);
        }
        let mut value = input;
        for path in places {
            let made = at(value, &path, &mut |old| {
                new.run((new_context.clone(), old)).next().transpose()
            })?;
            value = made.unwrap_or_default();
        }
        Ok(value)
    };
    Box::new(std::iter::once(modified()))
}

/// A value with the one at a path changed; none where it is deleted.
fn at<'a>(
    value: Val,
    path: &[Val],
    change: &mut dyn FnMut(Val) -> Result<Option<Val>, Exn<'a, Val>>,
) -> Result<Option<Val>, Exn<'a, Val>> {
    meter::tick();
    let Some((key, rest)) = path.split_first() else {
        let changed = change(value)?;
        if let Some(changed) = &changed {
            meter::walk(changed);
        }
        return Ok(changed);
    };
    Ok(Some(match (value, key) {
        (Val::Null, Val::TStr(_)) => {
            let mut object = jaq_json::Map::default();
            if let Some(new) = at(Val::Null, rest, change)? {
                object.insert(key.clone(), new);
            }
            if object.is_empty() { Val::Null } else { Val::obj(object) }
        }
        (Val::Obj(mut object), Val::TStr(_)) => {
            own_object(&object);
            let entries = Rc::make_mut(&mut object);
            let old = entries.get_mut(key).map(std::mem::take);
            let is_old = old.is_some();
            match at(old.unwrap_or_default(), rest, change)? {
                Some(new) => {
                    meter::bytes(if is_old { 0 } else { 64 });
                    entries.insert(key.clone(), new);
                }
                None if is_old => {
                    meter::bytes(64 * entries.len());
                    entries.shift_remove(key);
                }
                None => {}
            }
            Val::Obj(object)
        }
        (value @ (Val::Null | Val::Arr(_)), Val::Num(index)) => {
            in_list(value, double(index), rest, change)?
        }
        (value @ (Val::Null | Val::Arr(_)), Val::Obj(_)) => in_slice(value, key, rest, change)?,
        (value, key) => {
            let what = format!("Cannot index {} with {}", kind(&value), kind(key));
            return Err(Error::str(what).into());
        }
    }))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn in_list<'a>(
    value: Val,
    index: f64,
    rest: &[Val],
    change: &mut dyn FnMut(Val) -> Result<Option<Val>, Exn<'a, Val>>,
) -> ValX<'a, Val> {
    let is_null = matches!(value, Val::Null);
    let mut list = match value {
        Val::Arr(list) => list,
        _ => Rc::default(),
    };
    let index = if index < 0.0 { index.floor() + list.len() as f64 } else { index.floor() };
    if index.is_nan() || index < 0.0 {
        return Err(Error::str("Out of bounds negative array index").into());
    }
    let index = index as usize;
    own_list(&list);
    let old = Rc::make_mut(&mut list).get_mut(index).map(std::mem::take);
    let is_old = old.is_some();
    match at(old.unwrap_or_default(), rest, change)? {
        Some(new) => {
            if !is_old {
                meter::bytes((index - list.len()).saturating_add(1).saturating_mul(16));
                Rc::make_mut(&mut list).resize(index + 1, Val::Null);
            }
            Rc::make_mut(&mut list)[index] = new;
        }
        None if is_old => {
            meter::bytes(16 * list.len());
            Rc::make_mut(&mut list).remove(index);
        }
        None if is_null => return Ok(Val::Null),
        None => {}
    }
    Ok(Val::Arr(list))
}

/// Where a slice begins and ends in a list of so many elements.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn slice_of(key: &Val, length: usize) -> (usize, usize) {
    let bound = |name: &str, otherwise: usize| {
        let found = match key {
            Val::Obj(object) => object.get(&Val::utf8_str(name.to_owned())),
            _ => None,
        };
        let Some(Val::Num(number)) = found else { return otherwise };
        let number = double(number);
        let number = if number < 0.0 { number + length as f64 } else { number };
        (number.max(0.0) as usize).min(length)
    };
    let (from, to) = (bound("start", 0), bound("end", length));
    (from, to.max(from))
}

fn in_slice<'a>(
    value: Val,
    key: &Val,
    rest: &[Val],
    change: &mut dyn FnMut(Val) -> Result<Option<Val>, Exn<'a, Val>>,
) -> ValX<'a, Val> {
    let (is_null, mut list) = match value {
        Val::Arr(list) => (false, list),
        _ => (true, Rc::default()),
    };
    let (from, to) = slice_of(key, list.len());
    meter::bytes(32 * list.len());
    let old = if is_null { Val::Null } else { list[from..to].iter().cloned().collect() };
    let new = match at(old, rest, change)? {
        Some(Val::Arr(new)) => new,
        None => Rc::default(),
        Some(_) => {
            return Err(Error::str("A slice of an array can only be assigned another array").into());
        }
    };
    meter::bytes(16 * new.len());
    Rc::make_mut(&mut list).splice(from..to, new.iter().cloned());
    Ok(Val::Arr(list))
}

/// The input without what stands at the paths, the last one first.
pub(super) fn delete(input: Val, paths: Val) -> ValR<Val> {
    let Val::Arr(paths) = paths else {
        return Err(Error::str("Paths must be specified as an array"));
    };
    for path in paths.iter() {
        meter::walk(path);
    }
    let mut paths: Vec<&Val> = paths.iter().collect();
    paths.sort();
    let mut value = input;
    for path in paths.into_iter().rev() {
        let Val::Arr(path) = path else {
            return Err(Error::str("Path must be specified as an array"));
        };
        if is_there(&value, path) {
            let made = at(value, path, &mut |_| Ok(None));
            let made = made.map_err(|fault| match fault.get_err() {
                Ok(error) => error,
                Err(_) => Error::str("the path cannot be deleted"),
            });
            value = made?.unwrap_or_default();
        }
    }
    Ok(value)
}

/// Whether there is anything at a path. What is of another kind is told when it is deleted.
fn is_there(value: &Val, path: &[Val]) -> bool {
    let Some((key, rest)) = path.split_first() else { return true };
    match (value, key) {
        (Val::Null, _) => false,
        (Val::Obj(object), Val::TStr(_)) => {
            object.get(key).is_some_and(|value| is_there(value, rest))
        }
        (Val::Arr(list), Val::Num(index)) => {
            let mut index = double(index).floor();
            #[allow(clippy::cast_precision_loss)]
            if index < 0.0 {
                index += list.len() as f64;
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let found = if index < 0.0 { None } else { list.get(index as usize) };
            found.is_some_and(|value| is_there(value, rest))
        }
        _ => true,
    }
}

/// What `.[from:to]` is as an index: whole numbers, and null where there is no bound.
pub(super) fn slice(from: &Val, to: &Val) -> Val {
    let bound = |value: &Val, round: fn(f64) -> f64| match value {
        Val::Num(number) => super::operators::plain(Num::Float(round(double(number)))),
        other => other.clone(),
    };
    let entry = |name: &str, value| (Val::utf8_str(name.to_owned()), value);
    let entries = [entry("start", bound(from, f64::floor)), entry("end", bound(to, f64::ceil))];
    Val::obj(entries.into_iter().collect())
}
