//! Records of the shapes that producers send, the same on every run: clicks, small readings and orders,
//! each also with its keys in random order.
//!
//! Owns the shapes, their tables and the generator. Does not own what is measured with them. The bytes
//! never change: figures of other programs were taken with them, and `tests/corpora.rs` holds them.

mod draw;
mod shapes;

use self::draw::Draw;
use self::shapes::{Keys, Shape};

/// Records of one shape and the table that they fit.
pub(crate) struct Corpus {
    pub(crate) name: &'static str,
    /// Names and Hive types.
    pub(crate) columns: &'static [(&'static str, &'static str)],
    shape: Shape,
    is_shuffled: bool,
}

/// All of them. A shuffled one has the values of the one before it.
pub(crate) const CORPORA: [Corpus; 6] = [
    Corpus { name: "clickstream", ..CLICKSTREAM },
    Corpus { name: "clickstream-shuffled", is_shuffled: true, ..CLICKSTREAM },
    Corpus { name: "small", ..SMALL },
    Corpus { name: "small-shuffled", is_shuffled: true, ..SMALL },
    Corpus { name: "nested", ..NESTED },
    Corpus { name: "nested-shuffled", is_shuffled: true, ..NESTED },
];

const CLICKSTREAM: Corpus = Corpus {
    name: "",
    columns: &[
        ("event_id", "string"),
        ("user_id", "string"),
        ("session_id", "string"),
        ("event_time", "timestamp"),
        ("ingest_ms", "bigint"),
        ("event_type", "string"),
        ("page_url", "string"),
        ("referrer", "string"),
        ("country", "string"),
        ("device", "string"),
        ("duration_s", "double"),
        ("scroll_pct", "int"),
        ("is_logged_in", "boolean"),
        ("price", "double"),
    ],
    shape: Shape { seed: SEED ^ 11, write: shapes::click },
    is_shuffled: false,
};

const SMALL: Corpus = Corpus {
    name: "",
    columns: &[
        ("uuid", "string"),
        ("event", "string"),
        ("deviceTimestamp", "bigint"),
        ("second", "int"),
        ("raceId", "bigint"),
        ("name", "string"),
        ("racerId", "int"),
        ("classId", "int"),
        ("cadence", "int"),
        ("resistance", "int"),
    ],
    shape: Shape { seed: SEED ^ 5, write: shapes::reading },
    is_shuffled: false,
};

const NESTED: Corpus = Corpus {
    name: "",
    columns: &[
        ("order_id", "string"),
        ("created_at", "timestamp"),
        (
            "customer",
            "struct<id:bigint,name:string,email:string,\
             address:struct<street:string,city:string,zip:string,country:string>>",
        ),
        (
            "items",
            "array<struct<sku:string,title:string,qty:int,\
             unit_price:decimal(10,2),discount:double>>",
        ),
        ("attributes", "map<string,string>"),
        ("total", "decimal(12,2)"),
        ("tax", "decimal(12,4)"),
        ("currency", "string"),
        ("status", "string"),
        ("paid", "boolean"),
        ("warehouse_id", "int"),
    ],
    shape: Shape { seed: SEED ^ 6, write: shapes::order },
    is_shuffled: false,
};

const SEED: u64 = 0x1a4e_0053_e000;
/// 2026-03-01.
const FIRST_MS: u64 = 1_772_323_200_000;

impl Corpus {
    /// The records without end, each with a line feed behind it; each is appended to what it is given.
    pub(crate) fn records(&self) -> impl FnMut(&mut String) + use<> {
        let Shape { seed, write } = self.shape;
        let mut draw = Draw::from_seed(seed);
        let mut keys = Keys::new(self.is_shuffled.then(|| Draw::from_seed(!seed)));
        let (mut now_ms, mut number) = (FIRST_MS, 0);
        move |out| {
            now_ms += draw.below(12);
            out.push_str(&write(&mut draw, &mut keys, now_ms, number));
            out.push('\n');
            number += 1;
        }
    }
}
