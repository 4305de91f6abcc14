//! Sample records: page views and orders as shops have them, now and then a broken one.

use chrono::{DateTime, Days, Utc};

use crate::record::UnixMillis;

/// One in so many records is broken.
const BROKEN_EVERY: u64 = 2_500;

const EVENTS: [&str; 5] = ["page_view", "page_view", "click", "add_to_cart", "search"];
const COUNTRIES: [&str; 7] = ["US", "DE", "GB", "FR", "IN", "BR", "JP"];
const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];
const SHELVES: [&str; 5] = ["books", "toys", "garden", "kitchen", "sports"];
const PEOPLE: [&str; 6] =
    ["Zoë Müller", "Jakub Nowak", "Inés Silva", "Ravi Rao", "Ada King", "Bo Li"];

/// An endless row of records, the same at every run but for the time.
#[derive(Debug)]
pub(super) struct Samples {
    random: u64,
    made: u64,
    now_ms: i64,
}

impl Samples {
    pub(super) fn new(now: UnixMillis) -> Self {
        Self { random: 0x1A4E_405E, made: 0, now_ms: now.0 }
    }

    pub(super) fn next(&mut self, stream: &str) -> String {
        self.made += 1;
        self.now_ms += self.below(20).cast_signed();
        let record = if stream == "orders" { self.order() } else { self.click() };
        if self.made % BROKEN_EVERY == BROKEN_EVERY / 2 { self.broken(&record) } else { record }
    }

    fn click(&mut self) -> String {
        let (event, country) = (self.pick(&EVENTS), self.pick(&COUNTRIES));
        let (shelf, from, device) = (self.pick(&SHELVES), self.pick(&SHELVES), self.pick(&DEVICES));
        let referrer = match self.below(3) {
            0 => "null".to_owned(),
            _ => format!("\"https://www.example.com/{from}\""),
        };
        format!(
            "{{\"event_id\":\"{}\",\"user_id\":\"u-{:06}\",\"event_time\":\"{}\",\
             \"event_type\":\"{event}\",\"page_url\":\"https://shop.example.com/{shelf}/{}\",\
             \"referrer\":{referrer},\"country\":\"{country}\",\"device\":\"{device}\",\
             \"duration_s\":{}.{:03},\"scroll_pct\":{},\"is_logged_in\":{}}}",
            self.id(),
            self.below(20_000),
            self.time(),
            self.below(5_000),
            self.below(300),
            self.below(1_000),
            self.below(101),
            self.below(2) == 0,
        )
    }

    fn order(&mut self) -> String {
        let mut items = Vec::new();
        let mut total_cents = 0;
        for _ in 0..=self.below(4) {
            let (qty, cents) = (1 + self.below(4), 100 + self.below(20_000));
            total_cents += qty * cents;
            let shelf = self.pick(&SHELVES);
            items.push(format!(
                "{{\"sku\":\"SKU-{:05}\",\"title\":\"{shelf} item\",\"qty\":{qty},\
                 \"unit_price\":{}.{:02}}}",
                self.below(50_000),
                cents / 100,
                cents % 100,
            ));
        }
        let (person, country, shelf) =
            (self.pick(&PEOPLE), self.pick(&COUNTRIES), self.pick(&SHELVES));
        let (customer, created_at) = (self.below(9_000), self.now_ms);
        let ship_by = self.date().checked_add_days(Days::new(3)).unwrap_or_default();
        format!(
            "{{\"order_id\":\"{}\",\"created_at\":{},\"customer\":{{\"id\":{customer},\
             \"name\":\"{person}\",\"email\":\"c{customer}@example.com\"}},\"items\":[{}],\
             \"attributes\":{{\"country\":\"{country}\",\"campaign\":\"{shelf}\"}},\
             \"total\":{}.{:02},\"currency\":\"EUR\",\"paid\":{},\"ship_by\":\"{}\"}}",
            self.id(),
            created_at,
            items.join(","),
            total_cents / 100,
            total_cents % 100,
            self.below(5) > 0,
            ship_by.format("%Y-%m-%d"),
        )
    }

    /// What goes wrong in real life: cut off, a word for a number, not JSON at all.
    fn broken(&mut self, record: &str) -> String {
        match self.made / BROKEN_EVERY % 3 {
            0 => record.chars().take(60).collect(),
            1 => record
                .replacen("\"scroll_pct\":", "\"scroll_pct\":\"about \",\"was\":", 1)
                .replacen("\"total\":", "\"total\":\"free\",\"was\":", 1),
            _ => "<html>502 Bad Gateway</html>".to_owned(),
        }
    }

    fn id(&mut self) -> String {
        format!("{:016x}{:016x}", self.random(), self.random())
    }

    fn time(&self) -> String {
        self.date().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    fn date(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.now_ms).unwrap_or_default()
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len() as u64) as usize]
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random() % bound
    }

    /// xorshift64*: enough for samples.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
