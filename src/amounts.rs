//! Amounts as people write them: sizes in bytes, and shares in percent.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The units of a size, the largest first.
const UNITS: &[(&str, u64)] = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads an amount from its text; a bare number, which has no unit, is refused with its form.
struct Written<T> {
    form: &'static str,
    amount: PhantomData<T>,
}

impl<T: FromStr<Err = String>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.form)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// A size such as `10MiB`.
///
/// Its units are powers of 1024, as PostgreSQL counts; `MB` is refused, because people mean either by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// The bytes, as PostgreSQL's `bigint` has them.
    pub fn bytes(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text:.60}` is not a size such as 10MiB or 1GiB: {why}");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim());
        let number: u64 = number.parse().map_err(|_| wrong("write a whole number and a unit"))?;
        let known = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let factor = known.ok_or_else(|| wrong("the units are B, KiB, MiB, GiB and TiB"))?;
        let bytes = number.checked_mul(factor).filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes.map(Self).ok_or_else(|| wrong("it is larger than anything in PostgreSQL"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        f.pad(&format!("{}{unit}", self.0 / factor))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written { form: "a size such as 10MiB or 1GiB", amount: PhantomData })
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+ ?([KMGT]i)?B$",
            "description": "A size in bytes; the units are powers of 1024.",
            "examples": ["10MiB", "1GiB"],
        })
    }
}

/// A size for people, to a tenth of its unit.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn rough_size(bytes: i64) -> String {
    let size = bytes.unsigned_abs();
    match UNITS.iter().find(|(_, factor)| size >= *factor) {
        Some((unit, factor)) if *factor > 1 => format!("{:.1} {unit}", bytes as f64 / *factor as f64),
        _ => format!("{bytes} B"),
    }
}

/// A share such as `30%`, above nothing and below all.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String")]
pub struct Percent(f64);

impl Percent {
    /// The share as a fraction: `30%` is 0.3.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
        match number {
            Some(percent) if percent > 0.0 && percent < 100.0 => Ok(Self(percent)),
            _ => Err(format!("`{text:.60}` is not a share such as 30%: write a number between 0 and 100 and a %")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.0))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written { form: "a share such as 30%", amount: PhantomData })
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        percent.to_string()
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(\\.[0-9]+)? ?%$",
            "description": "A share in percent.",
            "examples": ["30%"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_and_printed_in_powers_of_1024() {
        let check = |text: &str, expected: Result<(u64, &str), &str>| match (text.parse::<ByteSize>(), expected) {
            (Ok(size), Ok((bytes, printed))) => {
                assert_eq!((size.0, size.to_string().as_str()), (bytes, printed), "{text:?}");
                assert_eq!(printed.parse(), Ok(size), "{text:?}");
            }
            (Err(error), Err(why)) => assert!(error.contains(why), "{text:?}: {error}"),
            (read, _) => panic!("{text:?}: {read:?}"),
        };
        check("10MiB", Ok((10_485_760, "10MiB")));
        check(" 1 GiB ", Ok((1_073_741_824, "1GiB")));
        check("1536KiB", Ok((1_572_864, "1536KiB")));
        check("2048KiB", Ok((2_097_152, "2MiB")));
        check("0B", Ok((0, "0B")));
        check("8192B", Ok((8192, "8KiB")));
        check("10MB", Err("the units are B, KiB, MiB, GiB and TiB"));
        check("10", Err("the units are"));
        check("ten MiB", Err("write a whole number"));
        check("1.5GiB", Err("the units are"));
        check("9999999999TiB", Err("larger than anything"));
    }

    #[test]
    fn a_size_is_told_to_a_tenth_of_its_unit() {
        let check = |bytes, expected: &str| assert_eq!(rough_size(bytes), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(16_384, "16.0 KiB");
        check(56_700_000, "54.1 MiB");
    }

    #[test]
    fn a_share_has_its_sign() {
        let check = |text: &str, expected: Option<f64>| {
            let read = text.parse::<Percent>();
            assert_eq!(read.clone().ok().map(Percent::fraction), expected, "{text:?}");
            match read {
                Ok(percent) => assert_eq!(percent.to_string().parse(), Ok(percent)),
                Err(error) => assert!(error.contains("such as 30%"), "{error}"),
            }
        };
        check("30%", Some(0.3));
        check("12.5 %", Some(0.125));
        check("0%", None);
        check("100%", None);
        check("0.3", None);
        check("30", None);
        check("NaN%", None);
        check("lots", None);
    }
}
