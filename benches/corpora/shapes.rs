//! What a record of each shape holds. The order of the draws is part of the bytes.

use std::fmt::Display;

use super::draw::Draw;

/// How the records of a corpus come about.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) seed: u64,
    /// By the draws, the time in milliseconds since 1970, and the record's number from 0.
    pub(super) write: fn(&mut Draw, &mut Keys, u64, u64) -> String,
}

/// The order of the keys in an object.
pub(super) struct Keys {
    shuffle: Option<Draw>,
}

impl Keys {
    /// As they are written here, or drawn for each object anew.
    pub(super) fn new(shuffle: Option<Draw>) -> Self {
        Self { shuffle }
    }

    fn object(&mut self, mut members: Vec<String>) -> String {
        if let Some(draw) = &mut self.shuffle {
            for last in (1..members.len()).rev() {
                members.swap(last, draw.below(last as u64 + 1) as usize);
            }
        }
        format!("{{{}}}", members.join(","))
    }
}

/// A member whose value is a string; what has to be escaped is escaped already.
fn text(key: &str, value: impl Display) -> String {
    format!(r#""{key}":"{value}""#)
}

/// A member whose value is something else.
fn bare(key: &str, value: impl Display) -> String {
    format!(r#""{key}":{value}"#)
}

const EVENTS: &[&str] =
    &["page_view", "page_view", "page_view", "click", "click", "add_to_cart", "checkout", "search"];
const COUNTRIES: &[&str] =
    &["US", "US", "US", "DE", "GB", "FR", "IN", "IN", "BR", "JP", "CA", "AU"];
const DEVICES: &[&str] = &["mobile", "mobile", "desktop", "tablet"];
const CATEGORIES: &[&str] =
    &["electronics", "books", "home-garden", "toys", "clothing", "sports", "grocery", "beauty"];
const FIRST_NAMES: &[&str] = &[
    "Alice", "Robert", "Carla", "David", "Elena", "Frank", "Grace", "Hiro", "Ines", "Jakub",
    "Karen", "Luis", "Zoë", "Søren",
];
const LAST_NAMES: &[&str] = &[
    "Smith", "Johnson", "Garcia", "Müller", "Kowalski", "Tanaka", "Nguyen", "Silva", "Brown",
    "Rossi", "O'Neil",
];
const CITIES: &[&str] = &[
    "Springfield",
    "Berlin",
    "Lyon",
    "São Paulo",
    "Osaka",
    "Leeds",
    "Toronto",
    "Perth",
    "Pune",
    "Austin",
];
const SOURCES: &[&str] = &["google", "newsletter", "facebook", "direct", "affiliate"];
const CURRENCIES: &[&str] = &["USD", "EUR", "GBP", "JPY"];
const STATES: &[&str] = &["paid", "pending", "shipped", "cancelled"];

/// A click in a shop: long strings, half of them new in each record; some members may be missing.
pub(super) fn click(draw: &mut Draw, keys: &mut Keys, now_ms: u64, _number: u64) -> String {
    let mut members = vec![
        text("event_id", draw.uuid()),
        text("user_id", format_args!("u-{:08}", draw.skewed(2_000_000))),
        text("session_id", format_args!("{:016x}", draw.next())),
    ];
    let (event, category, product) =
        (draw.pick(EVENTS), draw.pick(CATEGORIES), draw.skewed(50_000));
    let event_ms = now_ms - draw.below(5000);
    let source = draw.pick(SOURCES);
    members.extend([
        text("event_time", iso_time(event_ms)),
        bare("ingest_ms", now_ms),
        text("event_type", event),
        text(
            "page_url",
            format_args!("https://shop.example.com/{category}/{product}?ref={source}"),
        ),
    ]);
    members.push(if draw.is_one_in(3) {
        bare("referrer", "null")
    } else {
        let (category, page) = (draw.pick(CATEGORIES), draw.skewed(5000));
        text("referrer", format_args!("https://www.example.com/{category}/{page}"))
    });
    members.extend([
        text("country", draw.pick(COUNTRIES)),
        text("device", draw.pick(DEVICES)),
        bare("duration_s", format_args!("{}.{:03}", draw.below(300), draw.below(1000))),
        bare("scroll_pct", draw.below(101)),
        bare("is_logged_in", draw.is_one_in(2)),
    ]);
    if draw.is_one_in(4) {
        members.push(bare("price", format_args!("{}.{:02}", draw.below(500), draw.below(100))));
    } else if draw.is_one_in(2) {
        members.push(bare("price", "null"));
    }
    keys.object(members)
}

/// A reading of a racer's bicycle: mostly small numbers, and all members always there.
pub(super) fn reading(draw: &mut Draw, keys: &mut Keys, now_ms: u64, number: u64) -> String {
    let racer = draw.below(500);
    let first_name = FIRST_NAMES[racer as usize % FIRST_NAMES.len()];
    let last_name = LAST_NAMES[racer as usize / FIRST_NAMES.len() % LAST_NAMES.len()];
    let members = vec![
        text("uuid", draw.uuid()),
        text("event", "update"),
        bare("deviceTimestamp", now_ms),
        bare("second", number / 500 % 3600),
        bare("raceId", 5000 + number / 1_800_000),
        text("name", format_args!("{first_name} {last_name}")),
        bare("racerId", racer),
        bare("classId", racer % 8),
        bare("cadence", 40 + draw.below(80)),
        bare("resistance", draw.below(101)),
    ];
    keys.object(members)
}

/// An order: structs, an array of structs, a map, decimals, and strings with escapes.
pub(super) fn order(draw: &mut Draw, keys: &mut Keys, now_ms: u64, _number: u64) -> String {
    let (first_name, last_name) = (draw.pick(FIRST_NAMES), draw.pick(LAST_NAMES));
    let (customer, city) = (draw.skewed(500_000), draw.pick(CITIES));
    let mut members = vec![text("order_id", draw.uuid()), text("created_at", iso_time(now_ms))];
    let email = format!("user{customer}@mail{}.example.com", draw.below(20));
    let address = vec![
        text("street", format_args!("{} Main Street", draw.below(9999))),
        text("city", city),
        text("zip", format_args!("{:05}", draw.below(99_999))),
        text("country", draw.pick(COUNTRIES)),
    ];
    let customer = vec![
        bare("id", customer),
        text("name", format_args!("{first_name} {last_name}")),
        text("email", email),
        bare("address", keys.object(address)),
    ];
    members.push(bare("customer", keys.object(customer)));
    let items: Vec<String> = (0..=draw.below(6)).map(|_| item(draw, keys)).collect();
    members.push(bare("items", format_args!("[{}]", items.join(","))));
    let mut attributes = vec![
        text("utm_source", draw.pick(SOURCES)),
        text("utm_campaign", format_args!("spring-{}", draw.below(40))),
        text("channel", draw.pick(DEVICES)),
        text("ab_bucket", draw.below(16)),
    ];
    if draw.is_one_in(2) {
        attributes.push(text("coupon", format_args!("SAVE{}", draw.below(100))));
    }
    if draw.is_one_in(2) {
        let name = draw.pick(FIRST_NAMES);
        attributes.push(text("gift_note", format_args!(r"Happy birthday\n{name}!")));
    }
    members.extend([
        bare("attributes", keys.object(attributes)),
        bare("total", format_args!("{}.{:02}", draw.below(4000), draw.below(100))),
        bare("tax", format_args!("{}.{:04}", draw.below(300), draw.below(10_000))),
        text("currency", draw.pick(CURRENCIES)),
        text("status", draw.pick(STATES)),
        bare("paid", !draw.is_one_in(5)),
        bare("warehouse_id", draw.below(64)),
    ]);
    keys.object(members)
}

fn item(draw: &mut Draw, keys: &mut Keys) -> String {
    let number = draw.skewed(50_000);
    let members = vec![
        text("sku", format_args!("SKU-{number:06}")),
        text("title", format_args!(r#"{} item \"{}\""#, draw.pick(CATEGORIES), number % 977)),
        bare("qty", 1 + draw.below(5)),
        bare("unit_price", format_args!("{}.{:02}", draw.below(400), draw.below(100))),
        match draw.is_one_in(3) {
            true => bare("discount", format_args!("0.{:02}", draw.below(50))),
            false => bare("discount", "null"),
        },
    ];
    keys.object(members)
}

fn iso_time(unix_ms: u64) -> impl Display {
    let time = chrono::DateTime::from_timestamp_millis(unix_ms as i64).expect("a time of our days");
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ")
}
