//! Tables of every supported type, with rows of every sort of value, made up by proptest.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sqlx::{AssertSqlSafe, PgConnection};

/// A value as it is given to the server.
#[derive(Debug, Clone)]
pub enum Cell {
    /// An expression; it is cast to the column's type.
    Sql(String),
    /// A double by its bits: SQL has no words for the payload of a NaN.
    Double(u64),
    /// The same of a `real`.
    Real(u32),
}

/// How the values of a column follow each other.
#[derive(Debug, Clone, Copy)]
enum Course {
    /// Each by itself.
    Free,
    /// The same one in every row.
    Same,
    /// Growing by a step, where the type is a number or a time; free otherwise.
    Steady,
}

/// A type, and what its values can be.
pub struct Kind {
    pub sql_type: &'static str,
    values: fn() -> BoxedStrategy<Cell>,
    /// The nth of a steady course.
    steady: Option<fn(i64) -> String>,
}

fn sql(text: impl Into<String>) -> Cell {
    Cell::Sql(text.into())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<Cell> {
    prop::sample::select(texts).prop_map(|text| sql(quoted(text))).boxed()
}

fn whole(least: i64, greatest: i64) -> BoxedStrategy<Cell> {
    // In parentheses, because the cast would bind closer than the sign.
    let edges = prop::sample::select(vec![least, greatest, 0, 1, -1]);
    prop_oneof![1 => edges, 2 => least..=greatest, 2 => -200..200_i64]
        .prop_map(|value| sql(format!("('{value}')")))
        .boxed()
}

fn text(most: usize) -> BoxedStrategy<Cell> {
    let of = move |text: String| sql(quoted(&text.replace('\0', "").chars().take(most).collect::<String>()));
    prop_oneof![
        1 => Just(String::new()),
        2 => any::<String>(),
        2 => "[a-c]{0,4}",
        1 => prop::sample::select(vec!["NULL", "null", "\\N", "{}", "\"", "'", " a ", "é\u{301}", "\u{10ffff}"]).prop_map(str::to_owned),
        1 => any::<[u8; 4]>().prop_map(|seed| seed.iter().map(|byte| format!("{byte:x}äß\\\"{}", byte % 7)).collect::<Vec<_>>().concat().repeat(400)),
    ]
    .prop_map(of)
    .boxed()
}

const DOUBLES: &[u64] = &[
    0,
    1 << 63,               // -0.0
    1,                     // the least denormal
    0x000f_ffff_ffff_ffff, // the greatest one
    0x7fef_ffff_ffff_ffff, // DBL_MAX
    0xffef_ffff_ffff_ffff, // -DBL_MAX
    0x7ff0_0000_0000_0000, // infinity
    0xfff0_0000_0000_0000, // -infinity
    0x7ff8_0000_0000_0000, // NaN
    0xfff8_0000_0000_0001, // NaN with a sign and a payload
    0x7ff8_dead_beef_0001, // NaN with another payload
    0x7ff0_0000_0000_0001, // a signalling NaN
    0x3fb9_9999_9999_999a, // 0.1
    0x3ff0_0000_0000_0000, // 1
];

fn doubles() -> BoxedStrategy<Cell> {
    let decimal =
        (-1_000_000..1_000_000_i32, 0..6_i32).prop_map(|(n, scale)| (f64::from(n) / 10_f64.powi(scale)).to_bits());
    let single = any::<f32>().prop_map(|value| f64::from(value).to_bits());
    prop_oneof![2 => prop::sample::select(DOUBLES), 2 => any::<u64>(), 3 => decimal, 1 => single]
        .prop_map(Cell::Double)
        .boxed()
}

fn reals() -> BoxedStrategy<Cell> {
    let edges = vec![0, 1 << 31, 1, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0bad, 0x7f80_0001];
    prop_oneof![prop::sample::select(edges), any::<u32>()].prop_map(Cell::Real).boxed()
}

fn numerics() -> BoxedStrategy<Cell> {
    let digits = ("-?[0-9]{1,40}", "[0-9]{0,30}").prop_map(|(whole, rest)| format!("{whole}.{rest}0"));
    let edges = &["NaN", "Infinity", "-Infinity", "0", "0.00", "1e-1000", "-9.99e300", "100", "1.500"];
    prop_oneof![prop::sample::select(edges.as_slice()).prop_map(str::to_owned), digits]
        .prop_map(|text| sql(quoted(&text)))
        .boxed()
}

fn bytes() -> BoxedStrategy<Cell> {
    let hex = |bytes: Vec<u8>| {
        sql(format!("'\\x{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()))
    };
    prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(0..3_u8, 3000)]
        .prop_map(hex)
        .boxed()
}

fn uuids() -> BoxedStrategy<Cell> {
    any::<u128>().prop_map(|value| sql(format!("'{}'", uuid::Uuid::from_u128(value)))).boxed()
}

fn bits() -> BoxedStrategy<Cell> {
    "[01]{7}".prop_map(|bits| sql(format!("B'{bits}'"))).boxed()
}

fn bit_strings() -> BoxedStrategy<Cell> {
    "[01]{0,70}".prop_map(|bits| sql(format!("B'{bits}'"))).boxed()
}

fn int_arrays() -> BoxedStrategy<Cell> {
    let plain = prop::collection::vec(prop::option::of(any::<i32>()), 0..6).prop_map(|values| {
        let values: Vec<String> =
            values.iter().map(|value| value.map_or("NULL".to_owned(), |value| value.to_string())).collect();
        sql(format!("'{{{}}}'", values.join(",")))
    });
    prop_oneof![plain, one_of(&["{{1,2},{3,NULL}}", "[2:3]={1,2}", "[-1:0][5:5]={{1},{2}}", "{}", "{{{1}},{{2}}}"])]
        .boxed()
}

macro_rules! kinds {
    ($($sql_type:literal => $values:expr $(, steady $steady:expr)?;)*) => {
        &[$(Kind { sql_type: $sql_type, values: || $values, steady: kinds!(@ $($steady)?) }),*]
    };
    (@) => { None };
    (@ $steady:expr) => { Some($steady) };
}

/// Every supported type. Those of the user are made by [`TYPES`].
pub const KINDS: &[Kind] = kinds! {
    "smallint" => whole(i16::MIN.into(), i16::MAX.into()), steady |n| format!("('{}')", n * 3 - 100);
    "integer" => whole(i32::MIN.into(), i32::MAX.into()), steady |n| format!("('{}')", n * 1000);
    "bigint" => whole(i64::MIN, i64::MAX), steady |n| format!("('{}')", n * 60_000 + 1_700_000_000_000);
    "double precision" => doubles(), steady |n| format!("{}::float8 / 1000", n * 7);
    "real" => reals(), steady |n| format!("{n}");
    "numeric" => numerics(), steady |n| format!("{n}.50");
    "numeric(20,4)" => (any::<i64>(), 0..5_u32).prop_map(|(n, scale)| sql(format!("'{}e-{scale}'", n / 1000))).boxed();
    "text" => text(9000);
    "varchar(8000)" => text(8000);
    "char(5)" => text(5);
    "\"char\"" => one_of(&["a", "", "\\", "Z"]);
    "name" => one_of(&["", "pg_catalog", "a name"]);
    "text collate \"C\"" => text(30);
    "boolean" => any::<bool>().prop_map(|value| sql(value.to_string())).boxed();
    "json" => one_of(&[r#"{"a": 1, "a": 2,  "b":null}"#, "[1,  2]", "null", "\"x\"", "  {}", r#"{"z":1,"a":{"b":[]}}"#]);
    "jsonb" => one_of(&[r#"{"a": 1, "b": [1.50, null]}"#, "null", "1e10", "\"\"", "[]"]);
    "bytea" => bytes();
    "uuid" => uuids();
    "inet" => one_of(&["10.0.0.1/8", "::1", "192.168.0.0/24", "2001:db8::ff00/64"]);
    "cidr" => one_of(&["10.0.0.0/8", "::/0"]);
    "macaddr" => one_of(&["08:00:2b:01:02:03"]);
    "bit(7)" => bits();
    "bit varying" => bit_strings();
    "interval" => one_of(&["1 mon -3 days 04:05:06.789", "-00:00:00.000001", "30 days", "1 mon", "24:00:00", "178000000 years"]);
    "date" => one_of(&["infinity", "-infinity", "2000-01-01", "4713-01-01 BC", "5874897-12-31", "1969-07-20"]),
        steady |n| format!("date '2020-01-01' + {n}");
    "time" => one_of(&["24:00:00", "00:00", "23:59:59.999999", "12:34:56.5"]), steady |n| format!("time '00:00' + {n} * interval '7 s'");
    "timetz" => one_of(&["24:00:00+15:59", "00:00-12", "23:59:59.999999+05:30"]);
    "timestamp" => one_of(&["infinity", "-infinity", "4713-01-01 BC", "294276-12-31 23:59:59.999999", "1999-12-31 23:59:59.999999"]),
        steady |n| format!("timestamp '2020-01-01' + {n} * interval '1.000001 s'");
    "timestamptz" => one_of(&["infinity", "-infinity", "4713-01-02 BC", "294276-12-30", "2024-03-31 01:30+01", "1883-11-18 12:00-05"]),
        steady |n| format!("timestamptz '2020-01-01' + {n} * interval '1 hour'");
    "oid" => one_of(&["0", "4294967295"]);
    "pg_lsn" => one_of(&["0/0", "FFFFFFFF/FFFFFFFF"]);
    "money" => one_of(&["-92233720368547758.08", "0.01"]);
    "point" => one_of(&["(0,-0)", "(NaN,Infinity)", "(1e-300,0.1)"]);
    "tsvector" => one_of(&["a:1A fat:2B,4 cat:5", ""]);
    "int4range" => one_of(&["empty", "[1,5)", "(,)", "[7,]"]);
    "tstzrange" => one_of(&["empty", "[2020-01-01,infinity)", "(,)"]);
    "numrange" => one_of(&["[1.50,2.0)", "(-Infinity,NaN]"]);
    "int8multirange" => one_of(&["{}", "{[1,3),[5,9)}"]);
    "integer[]" => int_arrays(), steady |n| format!("'{{{n},{n}}}'");
    "text[]" => one_of(&["{}", "{NULL,\"NULL\",\"\"}", "{{a,b},{\"c,d\",\"\\\"\"}}", "[0:0]={x}"]);
    "double precision[]" => one_of(&["{NaN,-0,1e-320,Infinity}", "{0.1,1.7976931348623157e308}"]);
    "numeric(6,2)[]" => one_of(&["{1.50,NULL,NaN}"]);
    "jsonb[]" => one_of(&[r#"{"{\"a\": 1}",NULL}"#]);
    "bytea[]" => one_of(&["{\"\\\\x00ff\",\"\"}"]);
    "timestamptz[]" => one_of(&["{infinity,2020-01-01}"]);
    "tsquery" => one_of(&["", "a & b", "!c"]);
    "regclass" => one_of(&["0", "-", "pg_class", "123456789"]);
    "regclass[]" => one_of(&["{0,pg_class,NULL,123456789}"]);
    "regtype" => one_of(&["-", "integer", "4294967295"]);
    "mood" => one_of(&["sad", "ok, \"then\"", "happy"]);
    "mood[]" => one_of(&["{sad,NULL}", "{{happy},{sad}}"]);
    "pair" => one_of(&["(1,a)", "(,)", "(-5,\"x, \"\"y\"\"\")"]);
    "pair[]" => one_of(&["{\"(1,a)\",NULL}"]);
    "small_text" => text(20);
    "small_int" => whole(1, 100);
    "measure" => doubles();
    "mood_domain" => one_of(&["sad", "happy"]);
    "int_list" => int_arrays();
    "mood_range" => one_of(&["[sad,happy]", "empty"]);
};

/// The types of the user that [`KINDS`] has.
pub const TYPES: &str = r#"
    create type mood as enum ('sad', 'ok, "then"', 'happy');
    create type pair as (n int, "the text" text);
    create domain small_text as varchar(20) check (length(value) <= 20);
    create domain small_int as smallint check (value > 0);
    create domain measure as double precision;
    create domain mood_domain as mood;
    create domain int_list as int[];
    create type mood_range as range (subtype = mood);
"#;

/// A table with its rows; each row begins with how many days ago it is.
#[derive(Debug)]
pub struct Made {
    pub columns: Vec<&'static str>,
    rows: Vec<(u32, Vec<Option<Cell>>)>,
}

/// How many days ago the youngest row is that is to move.
pub const OLD: u32 = 90;

#[expect(clippy::needless_pass_by_value, reason = "strategies are made at the call")]
fn pick(runner: &mut TestRunner, strategy: BoxedStrategy<usize>) -> usize {
    strategy.new_tree(runner).unwrap().current()
}

/// Makes up a table: some of the types, or all of them.
pub fn make(runner: &mut TestRunner, all: bool) -> Made {
    let columns: Vec<&Kind> = if all {
        KINDS.iter().collect()
    } else {
        let count = pick(runner, (1..9_usize).boxed());
        (0..count).map(|_| &KINDS[pick(runner, (0..KINDS.len()).boxed())]).collect()
    };
    let count = pick(runner, prop_oneof![1 => 1..4_usize, 4 => 4..80_usize].boxed());
    let mut table: Vec<(u32, Vec<Option<Cell>>)> =
        (0..count).map(|_| (u32::try_from(pick(runner, (0..400_usize).boxed())).unwrap(), Vec::new())).collect();
    for kind in &columns {
        let course = [Course::Free, Course::Free, Course::Same, Course::Steady][pick(runner, (0..4_usize).boxed())];
        let nulls = [0, 0, 20, 100][pick(runner, (0..4_usize).boxed())];
        let values = (kind.values)();
        let same = values.new_tree(runner).unwrap().current();
        for (nth, (_, row)) in table.iter_mut().enumerate() {
            let is_null = (0..100_usize).new_tree(runner).unwrap().current() < nulls;
            let nth = i64::try_from(nth).unwrap();
            let cell = match (course, kind.steady) {
                (Course::Same, _) => same.clone(),
                (Course::Steady, Some(steady)) => sql(steady(nth)),
                (Course::Free, _) | (Course::Steady, None) => values.new_tree(runner).unwrap().current(),
            };
            row.push((!is_null).then_some(cell));
        }
    }
    // Rows that are there twice, in every byte: without a key nothing tells them apart.
    let twice = pick(runner, (0..count).boxed());
    table.push(table[twice].clone());
    Made { columns: columns.iter().map(|kind| kind.sql_type).collect(), rows: table }
}

impl Made {
    /// The statement that makes the table.
    pub fn create(&self, table: &str, more: &str) -> String {
        let columns =
            self.columns.iter().enumerate().map(|(nth, of)| format!(", c{nth} {of}")).collect::<Vec<_>>().concat();
        format!("create table {table} (at timestamptz not null{columns}{more})")
    }

    /// Writes the rows.
    pub async fn fill(&self, session: &mut PgConnection, table: &str) {
        let (mut doubles, mut reals): (Vec<f64>, Vec<f32>) = (Vec::new(), Vec::new());
        let mut rows = Vec::new();
        for (days, row) in &self.rows {
            let mut cells = vec![format!("clock_timestamp() - interval '{days} days 1 hour'")];
            for (cell, of) in row.iter().zip(&self.columns) {
                let of = of.strip_suffix(" collate \"C\"").unwrap_or(of);
                cells.push(match cell {
                    None => format!("null::{of}"),
                    Some(Cell::Sql(sql)) => format!("({sql})::{of}"),
                    Some(Cell::Double(bits)) => {
                        doubles.push(f64::from_bits(*bits));
                        format!("($1::float8[])[{}]::{of}", doubles.len())
                    }
                    Some(Cell::Real(bits)) => {
                        reals.push(f32::from_bits(*bits));
                        format!("($2::float4[])[{}]::{of}", reals.len())
                    }
                });
            }
            rows.push(format!("({})", cells.join(", ")));
        }
        let names = (0..self.columns.len()).map(|nth| format!(", c{nth}")).collect::<Vec<_>>().concat();
        // The parameters are named once more, so that the server knows their types where no column uses them.
        let statement = format!(
            "with given as (select $1::float8[], $2::float4[]) insert into {table} (at{names}) values {}",
            rows.join(",\n")
        );
        let insert = sqlx::query(AssertSqlSafe(statement.clone())).bind(&doubles).bind(&reals).execute(session).await;
        insert.unwrap_or_else(|error| panic!("{statement:.2000}: {error}"));
    }
}
