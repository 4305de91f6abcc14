//! Records of the shapes that producers send, the same on every run: clicks, orders and small readings.
//!
//! Owns the shapes, their tables and the generator. Does not own what is measured with them.

use std::fmt::Write as _;

/// Records of one shape and the table that they fit.
pub(crate) struct Corpus {
    pub(crate) name: &'static str,
    /// Names and Hive types.
    pub(crate) columns: &'static [(&'static str, &'static str)],
    write_record: fn(&mut Draw, &mut String),
}

const CLICKSTREAM: Corpus = Corpus {
    name: "clickstream",
    columns: &[
        ("event_id", "string"),
        ("visitor", "string"),
        ("session", "string"),
        ("seen_at", "timestamp"),
        ("received_ms", "bigint"),
        ("action", "string"),
        ("url", "string"),
        ("came_from", "string"),
        ("country", "string"),
        ("screen", "string"),
        ("seconds_on_page", "double"),
        ("scrolled_percent", "int"),
        ("signed_in", "boolean"),
        ("price", "double"),
    ],
    write_record: write_click,
};

const SHUFFLED: Corpus = Corpus {
    name: "clickstream, keys shuffled",
    columns: CLICKSTREAM.columns,
    write_record: write_shuffled_click,
};

const NESTED: Corpus = Corpus {
    name: "nested",
    columns: &[
        ("order_id", "string"),
        ("ordered_at", "timestamp"),
        (
            "buyer",
            "struct<id:bigint,name:string,email:string,\
             address:struct<street:string,city:string,zip:string,country:string>>",
        ),
        (
            "lines",
            "array<struct<sku:string,title:string,count:int,\
             price:decimal(10,2),rebate:double>>",
        ),
        ("tags", "map<string,string>"),
        ("total", "decimal(12,2)"),
        ("tax", "decimal(12,4)"),
        ("currency", "string"),
        ("state", "string"),
        ("is_paid", "boolean"),
        ("depot", "int"),
    ],
    write_record: write_order,
};

const SMALL: Corpus = Corpus {
    name: "small",
    columns: &[
        ("uuid", "string"),
        ("event", "string"),
        ("devicetime", "bigint"),
        ("second", "int"),
        ("race", "bigint"),
        ("name", "string"),
        ("rider", "int"),
        ("class", "int"),
        ("cadence", "int"),
        ("resistance", "int"),
    ],
    write_record: write_ride,
};

/// All of them.
pub(crate) const CORPORA: [Corpus; 4] = [CLICKSTREAM, SHUFFLED, NESTED, SMALL];

impl Corpus {
    /// The records without end; each is appended to what it is given.
    pub(crate) fn records(&self) -> impl FnMut(&mut String) + use<> {
        let mut draw = Draw { state: 0x51ee_d5ee_d000_0001, now_ms: 1_793_491_200_000 };
        let write_record = self.write_record;
        move |out| {
            draw.now_ms += draw.below(12);
            write_record(&mut draw, out);
        }
    }
}

const ACTIONS: &[&str] = &["view", "view", "view", "view", "click", "search", "basket", "buy"];
const COUNTRIES: &[&str] = &["US", "US", "US", "DE", "GB", "FR", "IN", "BR", "JP", "PL"];
const SCREENS: &[&str] = &["phone", "phone", "desktop", "tablet"];
const SECTIONS: &[&str] = &["books", "garden", "music", "office", "outdoor", "pets", "shoes"];
const CHANNELS: &[&str] = &["mail", "direct", "search", "partner", "social"];
const FIRST_NAMES: &[&str] = &["Ada", "Björn", "Chloé", "Dmitri", "Emeka", "Fatima", "Grace"];
const LAST_NAMES: &[&str] = &["Adams", "Fernández", "Ivanov", "Kim", "Okafor", "Schäfer"];
const CITIES: &[&str] = &["Bergen", "Bologna", "Cork", "Kraków", "Málaga", "Nagoya", "Utrecht"];

fn write_click(draw: &mut Draw, out: &mut String) {
    write_members(&click_members(draw), out);
}

fn write_shuffled_click(draw: &mut Draw, out: &mut String) {
    let mut members = click_members(draw);
    for last in (1..members.len()).rev() {
        members.swap(last, draw.below(last as u64 + 1) as usize);
    }
    write_members(&members, out);
}

fn write_members(members: &[String], out: &mut String) {
    out.push('{');
    out.push_str(&members.join(","));
    out.push_str("}\n");
}

fn click_members(draw: &mut Draw) -> Vec<String> {
    let now_ms = draw.now_ms;
    let mut members = vec![
        format!(r#""event_id":"{}""#, draw.uuid()),
        format!(r#""visitor":"v-{:08}""#, draw.skewed(2_000_000)),
        format!(r#""session":"{:016x}""#, draw.next()),
        format!(r#""seen_at":"{}""#, iso_time(now_ms - draw.below(5000))),
        format!(r#""received_ms":{now_ms}"#),
        format!(r#""action":"{}""#, draw.pick(ACTIONS)),
        format!(
            r#""url":"https://shop.example.com/{}/{}?via={}""#,
            draw.pick(SECTIONS),
            draw.skewed(50_000),
            draw.pick(CHANNELS)
        ),
    ];
    members.push(match draw.below(3) {
        0 => r#""came_from":null"#.to_owned(),
        _ => {
            let (section, page) = (draw.pick(SECTIONS), draw.skewed(5000));
            format!(r#""came_from":"https://www.example.com/{section}/{page}""#)
        }
    });
    members.push(format!(r#""country":"{}""#, draw.pick(COUNTRIES)));
    members.push(format!(r#""screen":"{}""#, draw.pick(SCREENS)));
    members.push(format!(r#""seconds_on_page":{}.{:03}"#, draw.below(300), draw.below(1000)));
    members.push(format!(r#""scrolled_percent":{}"#, draw.below(101)));
    members.push(format!(r#""signed_in":{}"#, draw.below(2) == 0));
    match draw.below(8) {
        0 | 1 => members.push(format!(r#""price":{}.{:02}"#, draw.below(500), draw.below(100))),
        2..5 => members.push(r#""price":null"#.to_owned()),
        _ => {}
    }
    members
}

fn write_order(draw: &mut Draw, out: &mut String) {
    let buyer = draw.skewed(500_000);
    write_all(
        out,
        format_args!(
            r#"{{"order_id":"{}","ordered_at":"{}","buyer":{{"id":{buyer},"name":"{} {}","email":"buyer{buyer}@mail{}.example.com","address":{{"street":"{} Long Road","city":"{}","zip":"{:05}","country":"{}"}}}},"lines":["#,
            draw.uuid(),
            iso_time(draw.now_ms),
            draw.pick(FIRST_NAMES),
            draw.pick(LAST_NAMES),
            draw.below(20),
            draw.below(9999),
            draw.pick(CITIES),
            draw.below(99_999),
            draw.pick(COUNTRIES),
        ),
    );
    for line in 0..=draw.below(6) {
        let comma = if line > 0 { "," } else { "" };
        let sku = draw.skewed(50_000);
        let rebate = match draw.below(3) {
            0 => format!("0.{:02}", draw.below(50)),
            _ => "null".to_owned(),
        };
        write_all(
            out,
            format_args!(
                r#"{comma}{{"sku":"P-{sku:06}","title":"{} \"{}\"","count":{},"price":{}.{:02},"rebate":{rebate}}}"#,
                draw.pick(SECTIONS),
                sku % 977,
                1 + draw.below(5),
                draw.below(400),
                draw.below(100),
            ),
        );
    }
    write_all(
        out,
        format_args!(
            r#"],"tags":{{"source":"{}","campaign":"autumn-{}","screen":"{}","bucket":"{}""#,
            draw.pick(CHANNELS),
            draw.below(40),
            draw.pick(SCREENS),
            draw.below(16),
        ),
    );
    if draw.below(2) == 0 {
        write_all(out, format_args!(r#","voucher":"LESS{}""#, draw.below(100)));
    }
    if draw.below(2) == 0 {
        write_all(out, format_args!(r#","greeting":"All the best\n{}!""#, draw.pick(FIRST_NAMES)));
    }
    write_all(
        out,
        format_args!(
            r#"}},"total":{}.{:02},"tax":{}.{:04},"currency":"{}","state":"{}","is_paid":{},"depot":{}}}"#,
            draw.below(4000),
            draw.below(100),
            draw.below(300),
            draw.below(10_000),
            draw.pick(&["EUR", "USD", "GBP"]),
            draw.pick(&["new", "paid", "sent", "closed"]),
            draw.below(5) > 0,
            draw.below(64),
        ),
    );
    out.push('\n');
}

fn write_ride(draw: &mut Draw, out: &mut String) {
    let (rider, now_ms) = (draw.below(500), draw.now_ms);
    let name = (rider as usize % FIRST_NAMES.len(), rider as usize / 7 % LAST_NAMES.len());
    write_all(
        out,
        format_args!(
            r#"{{"uuid":"{}","event":"update","deviceTime":{},"second":{},"race":{},"name":"{} {}","rider":{rider},"class":{},"cadence":{},"resistance":{}}}"#,
            draw.uuid(),
            now_ms,
            now_ms / 1000 % 3600,
            5000 + now_ms % 7,
            FIRST_NAMES[name.0],
            LAST_NAMES[name.1],
            rider % 8,
            40 + draw.below(80),
            draw.below(101),
        ),
    );
    out.push('\n');
}

fn write_all(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes any text");
}

fn iso_time(unix_ms: u64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(unix_ms as i64).expect("a time of our days");
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Numbers that look random and are the same on every run (splitmix64).
struct Draw {
    state: u64,
    now_ms: u64,
}

impl Draw {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Below `end`, small ones far more often, as with popular things.
    fn skewed(&mut self, end: u64) -> u64 {
        let share = self.below(1 << 20) as f64 / (1 << 20) as f64;
        (end as f64).powf(share) as u64 % end
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len() as u64) as usize]
    }

    fn uuid(&mut self) -> uuid::Uuid {
        let (high, low) = (self.next(), self.next());
        uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
            .into_uuid()
    }
}
