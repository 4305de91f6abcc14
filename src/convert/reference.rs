//! The rules of types once more, as plainly as they can be written: a tree of JSON, and texts that
//! say what a column should hold. Slow, and shares nothing with the decoder but what reads a
//! timestamp's many forms.
//!
//! Owns the comparison that tests and the fuzzer make. Does not know the words of rejections; the
//! tests beside it hold those.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{Datelike as _, NaiveDate};

use super::format::{BinaryText, ParquetOptions, TimestampForm};
use super::{RejectCode, Rejection};
use crate::table::{Column, HiveType};

/// Panics unless `decoded`, the rows of `record` by the default way of reading or its rejection, is
/// what the rules say.
pub(crate) fn check(
    columns: &[Column],
    options: &ParquetOptions,
    record: &[u8],
    decoded: Result<&RecordBatch, &Rejection>,
) {
    let wanted = rows(columns, options, record);
    let found = match decoded {
        Ok(batch) => Ok(shown_rows(batch)),
        Err(rejection) => Err(rejection.code),
    };
    assert_eq!(found, wanted, "{:?}", String::from_utf8_lossy(record));
}

/// The rows of a batch, each as `value|value`.
pub(crate) fn shown_rows(batch: &RecordBatch) -> Vec<String> {
    let row = |at| {
        let values = batch.columns().iter().map(|column| show(column, at));
        values.collect::<Vec<_>>().join("|")
    };
    (0..batch.num_rows()).map(row).collect()
}

/// A value as short text: dates and timestamps as stored, texts in quotes.
pub(crate) fn show(array: &dyn Array, at: usize) -> String {
    if array.is_null(at) {
        return "null".to_owned();
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(at).to_string(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(at).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(at).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(at).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).to_string(),
        DataType::Float32 => format!("{:?}", array.as_primitive::<Float32Type>().value(at)),
        DataType::Float64 => format!("{:?}", array.as_primitive::<Float64Type>().value(at)),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(at),
        DataType::Utf8 => format!("{:?}", array.as_string::<i32>().value(at)),
        DataType::Binary => hex(array.as_binary::<i32>().value(at)),
        DataType::FixedSizeBinary(_) => {
            // INT96, as the microseconds that it stands for.
            let (nanos, day) = array.as_fixed_size_binary().value(at).split_at(8);
            let nanos = i64::from_le_bytes(nanos.try_into().expect("eight bytes"));
            let day = i32::from_le_bytes(day.try_into().expect("four bytes"));
            ((i64::from(day) - 2_440_588) * 86_400_000_000 + nanos / 1000).to_string()
        }
        DataType::Date32 => array.as_primitive::<Date32Type>().value(at).to_string(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().value(at).to_string()
        }
        DataType::Timestamp(..) => {
            array.as_primitive::<TimestampMicrosecondType>().value(at).to_string()
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(at);
            let items = (0..items.len()).map(|item| show(&items, item));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(at);
            let pairs = (0..entries.len()).map(|entry| {
                let key = show(entries.column(0), entry);
                format!("{key}={}", show(entries.column(1), entry))
            });
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter().map(|field| show(field, at));
            format!("({})", fields.collect::<Vec<_>>().join(","))
        }
        other => panic!("no column has the type {other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// What the rules make of a record.
fn rows(
    columns: &[Column],
    options: &ParquetOptions,
    record: &[u8],
) -> Result<Vec<String>, RejectCode> {
    let text = str::from_utf8(record).map_err(|_| RejectCode::ParseError)?;
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0 };
    let documents = parser.documents().ok_or(RejectCode::ParseError)?;
    if documents.is_empty() {
        return Err(RejectCode::ParseError);
    }
    let fields = columns.iter().map(|column| (column.name.as_str(), &column.hive_type));
    let row = |value: &Value| match &value.json {
        Json::Object(pairs) => fit_fields(fields.clone(), options, pairs),
        _ => None,
    };
    let rows = documents.iter().map(|document| Some(row(document)?.join("|")));
    rows.collect::<Option<_>>().ok_or(RejectCode::MalformedData)
}

/// A value and its text.
#[derive(Clone, Debug)]
struct Value {
    json: Json,
    source: String,
}

#[derive(Clone, Debug)]
enum Json {
    Null,
    Boolean,
    Number,
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

/// What a column of a type shows for a value that fits it.
fn fit(hive_type: &HiveType, options: &ParquetOptions, value: &Value) -> Option<String> {
    // The text of what may stand in quotes.
    let text = match &value.json {
        Json::Null => return Some("null".to_owned()),
        Json::Text(text) => Some(text.as_str()),
        Json::Number | Json::Boolean => Some(value.source.as_str()),
        Json::Array(_) | Json::Object(_) => None,
    };
    let is_text = matches!(value.json, Json::Text(_));
    match (hive_type, &value.json) {
        (HiveType::Boolean, Json::Text(_) | Json::Boolean) => {
            let word = text?.to_ascii_lowercase();
            ["true", "false"].contains(&word.as_str()).then_some(word)
        }
        (HiveType::TinyInt, _) => integer(text?, i8::MIN.into(), i8::MAX.into()),
        (HiveType::SmallInt, _) => integer(text?, i16::MIN.into(), i16::MAX.into()),
        (HiveType::Int, _) => integer(text?, i32::MIN.into(), i32::MAX.into()),
        (HiveType::BigInt, _) => integer(text?, i64::MIN.into(), i64::MAX.into()),
        (HiveType::Float, _) => {
            Exact::parse(text?)?;
            let value: f32 = text?.parse().ok()?;
            value.is_finite().then(|| format!("{value:?}"))
        }
        (HiveType::Double, _) => {
            Exact::parse(text?)?;
            let value: f64 = text?.parse().ok()?;
            value.is_finite().then(|| format!("{value:?}"))
        }
        (HiveType::Decimal { precision, scale }, _) => {
            let unscaled = Exact::parse(text?)?.rounded(i64::from(*scale))?;
            let digits = format!("{:0>width$}", unscaled.1, width = usize::from(*scale) + 1);
            if digits.trim_start_matches('0').len() > usize::from(*precision) {
                return None;
            }
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(*scale));
            let is_zero = digits.bytes().all(|digit| digit == b'0');
            let sign = if unscaled.0 && !is_zero { "-" } else { "" };
            let point = if *scale > 0 { "." } else { "" };
            Some(format!("{sign}{whole}{point}{fraction}"))
        }
        (HiveType::String, json) => Some(format!("{:?}", characters(json, &value.source))),
        (HiveType::Char(max) | HiveType::VarChar(max), json) => {
            let text = characters(json, &value.source);
            (text.chars().count() <= *max as usize).then(|| format!("{text:?}"))
        }
        (HiveType::Binary, Json::Text(text)) => match options.binary {
            BinaryText::Base64 => Some(hex(&STANDARD.decode(text).ok()?)),
            BinaryText::Raw => Some(hex(text.as_bytes())),
        },
        (HiveType::Date, Json::Text(text)) => days(text).map(|days| days.to_string()),
        (HiveType::Timestamp, Json::Text(_) | Json::Number) => {
            let micros = match crate::time::micros_of_calendar(text?) {
                Some(micros) if is_text => crate::time::in_range(micros).ok()?,
                _ => crate::time::micros_of_number(text?).ok()?,
            };
            Some(match options.timestamps {
                TimestampForm::Micros => micros.to_string(),
                TimestampForm::Millis => micros.div_euclid(1000).to_string(),
                TimestampForm::Int96 => micros.to_string(),
            })
        }
        (HiveType::Array(item), Json::Array(items)) => {
            let items = items.iter().map(|value| fit(item, options, value));
            Some(format!("[{}]", items.collect::<Option<Vec<_>>>()?.join(",")))
        }
        (HiveType::Map(key_type, value_type), Json::Object(pairs)) => {
            let mut entries: Vec<(String, String)> = vec![];
            for (key, value) in pairs {
                let text = Value { json: Json::Text(key.clone()), source: String::new() };
                let key = fit(key_type, options, &text)?;
                let value = fit(value_type, options, value)?;
                entries.retain(|(other, _)| *other != key);
                entries.push((key, value));
            }
            let entries = entries.iter().map(|(key, value)| format!("{key}={value}"));
            Some(format!("{{{}}}", entries.collect::<Vec<_>>().join(",")))
        }
        (HiveType::Struct(fields), Json::Object(pairs)) => {
            let fields = fields.iter().map(|(name, field)| (name.as_str(), field));
            Some(format!("({})", fit_fields(fields, options, pairs)?.join(",")))
        }
        _ => None,
    }
}

fn fit_fields<'a>(
    fields: impl Iterator<Item = (&'a str, &'a HiveType)>,
    options: &ParquetOptions,
    pairs: &[(String, Value)],
) -> Option<Vec<String>> {
    let field = |(name, hive_type): (&str, &HiveType)| {
        let mut last = "null".to_owned();
        for (key, value) in pairs {
            if key.to_lowercase() == name.to_lowercase() {
                last = fit(hive_type, options, value)?;
            }
        }
        Some(last)
    };
    fields.map(field).collect()
}

fn characters<'a>(json: &'a Json, source: &'a str) -> &'a str {
    match json {
        Json::Text(text) => text,
        _ => source,
    }
}

fn integer(text: &str, min: i128, max: i128) -> Option<String> {
    let exact = Exact::parse(text)?;
    let (negative, digits) = exact.rounded(0)?;
    if !exact.is_whole() || digits.trim_start_matches('0').len() > 30 {
        return None;
    }
    let magnitude: i128 = digits.parse().ok()?;
    let value = if negative { -magnitude } else { magnitude };
    (min..=max).contains(&value).then(|| value.to_string())
}

fn days(text: &str) -> Option<i32> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return None;
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let short = |text: &str| (1..=2).contains(&text.len());
    if !parts.iter().all(|part| is_number(part)) || year.len() != 4 || !short(month) || !short(day)
    {
        return None;
    }
    let year: i32 = year.parse().ok().filter(|year| *year > 0)?;
    let date = NaiveDate::from_ymd_opt(year, month.parse().ok()?, day.parse().ok()?)?;
    Some(date.num_days_from_ce() - 719_163)
}

/// A number as its digits, `0.digits` times a power of ten.
struct Exact {
    negative: bool,
    digits: String,
    point: i64,
}

impl Exact {
    /// Reads what may stand in quotes: as JSON's numbers, but with `+` or zeros in front.
    fn parse(text: &str) -> Option<Self> {
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let are_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || fraction.is_some_and(|fraction| !are_digits(fraction)) {
            return None;
        }
        let exponent = match exponent {
            None => 0,
            Some(text) => {
                let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
                if !are_digits(digits) {
                    return None;
                }
                let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
                if text.starts_with('-') { -magnitude } else { magnitude }
            }
        };
        let all = format!("{whole}{}", fraction.unwrap_or_default());
        let digits = all.trim_start_matches('0').to_owned();
        let point = whole.len() as i64 - (all.len() - digits.len()) as i64 + exponent;
        Some(Self { negative, digits, point })
    }

    fn is_whole(&self) -> bool {
        let behind = self.digits.bytes().enumerate();
        behind.filter(|(at, _)| *at as i64 >= self.point).all(|(_, digit)| digit == b'0')
    }

    /// The sign and the digits of the number times `10^scale`, halves rounded away from zero; none
    /// where there are more than a hundred.
    fn rounded(&self, scale: i64) -> Option<(bool, String)> {
        if self.digits.is_empty() {
            return Some((self.negative, "0".to_owned()));
        }
        let kept = self.point.saturating_add(scale);
        if kept > 100 {
            return None;
        }
        let mut digits: Vec<u8> = vec![0];
        for at in 0..kept {
            digits.push(self.digits.as_bytes().get(at as usize).map_or(0, |digit| digit - b'0'));
        }
        let next = usize::try_from(kept).ok().and_then(|at| self.digits.as_bytes().get(at));
        if next.is_some_and(|digit| *digit >= b'5') {
            for digit in digits.iter_mut().rev() {
                *digit = (*digit + 1) % 10;
                if *digit != 0 {
                    break;
                }
            }
        }
        let text: String = digits.iter().map(|digit| char::from(digit + b'0')).collect();
        let text = text.trim_start_matches('0');
        Some((self.negative, if text.is_empty() { "0" } else { text }.to_owned()))
    }
}

/// JSON character by character.
struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn documents(&mut self) -> Option<Vec<Value>> {
        let mut documents = vec![];
        self.skip_whitespace();
        while self.at < self.chars.len() {
            documents.push(self.value()?);
            self.skip_whitespace();
        }
        Some(documents)
    }

    fn value(&mut self) -> Option<Value> {
        self.skip_whitespace();
        let start = self.at;
        let json = match self.peek()? {
            'n' => self.word("null").map(|()| Json::Null)?,
            't' => self.word("true").map(|()| Json::Boolean)?,
            'f' => self.word("false").map(|()| Json::Boolean)?,
            '"' => Json::Text(self.string()?),
            '[' => Json::Array(self.list(']', Self::value)?),
            '{' => Json::Object(self.list('}', Self::pair)?),
            _ => self.number().map(|()| Json::Number)?,
        };
        Some(Value { json, source: self.chars[start..self.at].iter().collect() })
    }

    fn list<T>(&mut self, end: char, item: fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        self.depth += 1;
        if self.depth > 64 {
            return None;
        }
        let mut items = vec![];
        self.skip_whitespace();
        if !self.take(end) {
            loop {
                items.push(item(self)?);
                self.skip_whitespace();
                if self.take(end) {
                    break;
                }
                self.take(',').then_some(())?;
            }
        }
        self.depth -= 1;
        Some(items)
    }

    fn pair(&mut self) -> Option<(String, Value)> {
        self.skip_whitespace();
        let key = (self.peek() == Some('"')).then(|| self.string())??;
        self.skip_whitespace();
        self.take(':').then_some(())?;
        Some((key, self.value()?))
    }

    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        self.at += 1;
        loop {
            let character = self.next()?;
            text.push(match character {
                '"' => return Some(text),
                '\\' => match self.next()? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => self.escaped()?,
                    other => ['"', '\\', '/'].contains(&other).then_some(other)?,
                },
                control if control < ' ' => return None,
                other => other,
            });
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let first = self.unit()?;
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) {
            (self.take('\\') && self.take('u')).then_some(())?;
            units.push(self.unit()?);
        }
        char::decode_utf16(units).next()?.ok()
    }

    fn unit(&mut self) -> Option<u16> {
        let digits: Vec<u32> = (0..4).map(|_| self.next()?.to_digit(16)).collect::<Option<_>>()?;
        u16::try_from(digits.iter().fold(0, |unit, digit| unit * 16 + digit)).ok()
    }

    fn number(&mut self) -> Option<()> {
        self.take('-');
        if !self.take('0') {
            self.digits()?;
        }
        if self.take('.') {
            self.digits()?;
        }
        if self.take('e') || self.take('E') {
            _ = self.take('+') || self.take('-');
            self.digits()?;
        }
        // No digit stands behind a leading zero.
        (!self.peek().is_some_and(|next| next.is_ascii_digit())).then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|next| next.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        word.chars().all(|character| self.take(character)).then_some(())
    }

    fn skip_whitespace(&mut self) {
        while self.peek().is_some_and(|next| [' ', '\t', '\n', '\r'].contains(&next)) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }
}
