//! The values of `schedules.yaml` that people write in more ways than one, each with words for what is wrong with it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::file::{Control, ControlDatabase};

/// A part of the file that is read alone, so that its problems do not hide those of others.
#[derive(Debug)]
pub struct Part<T> {
    /// What was typed.
    pub value: Value,
    part: PhantomData<T>,
}

impl<'de, T> Deserialize<'de> for Part<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self { value, part: PhantomData })
    }
}

/// Things by name, in the order of the file.
#[derive(Debug)]
pub struct Names<T>(pub Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Names<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for NamesVisitor<T> {
            type Value = Names<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names, each with its keys below it")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names<T>, A::Error> {
                let mut names = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    names.push(entry);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_map(NamesVisitor(PhantomData))
    }
}

/// A whole number that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;

        impl Visitor<'_> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
                u32::try_from(number).map(Count).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_u64(CountVisitor)
    }
}

/// Where a secret is found, or the secret itself; nothing of it is ever quoted.
#[derive(Clone, PartialEq, Eq)]
pub struct Reference(pub String);

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::REDACTED)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReferenceVisitor;

        impl Visitor<'_> for ReferenceVisitor {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text: `env:NAME`, `file:PATH` or the value itself, in quotes if it looks like a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reference, E> {
                Ok(Reference(text.to_owned()))
            }
        }

        deserializer.deserialize_any(ReferenceVisitor)
    }
}

/// Declares lists that may also be written as one value; a number counts as its text.
macro_rules! one_or_many {
    ($($(#[$doc:meta])* $name:ident($expecting:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub Vec<String>);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextsVisitor($expecting)).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "anyOf": [
                        { "type": ["string", "integer"] },
                        { "type": "array", "items": { "type": ["string", "integer"] }, "minItems": 1 },
                    ],
                })
            }
        }
    )*};
}

one_or_many! {
    /// Times of day.
    Times("a time of day such as \"02:00\", or a list of them");
    /// Weekdays.
    Days("a weekday such as sunday, or a list of them");
    /// Days of the month.
    Dates("a day such as 1, last or first saturday, or a list of them");
    /// Names of targets.
    TargetList("the name of a target, or a list of them");
}

struct TextsVisitor(&'static str);

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vec<String>, E> {
        Ok(vec![number.to_string()])
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<String>, E> {
        Ok(vec![number.to_string()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        let mut texts = Vec::new();
        while let Some(OneText(text)) = seq.next_element_seed(OneTextSeed(self.0))? {
            texts.push(text);
        }
        if texts.is_empty() {
            Err(de::Error::invalid_value(de::Unexpected::Other("an empty list"), &self.0))
        } else {
            Ok(texts)
        }
    }
}

struct OneText(String);

struct OneTextSeed(&'static str);

impl<'de> de::DeserializeSeed<'de> for OneTextSeed {
    type Value = OneText;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<OneText, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for OneTextSeed {
    type Value = OneText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneText, E> {
        Ok(OneText(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<OneText, E> {
        Ok(OneText(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<OneText, E> {
        Ok(OneText(number.to_string()))
    }
}

impl<'de> Deserialize<'de> for Control {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ControlVisitor;

        impl<'de> Visitor<'de> for ControlVisitor {
            type Value = Control;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a target, or { url: \"env:CONTROL_URL\" }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Control, E> {
                Ok(Control::Target(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Control, A::Error> {
                ControlDatabase::deserialize(MapAccessDeserializer::new(map)).map(Control::Database)
            }
        }

        deserializer.deserialize_any(ControlVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_as_good_as_a_list_of_one_and_a_number_as_its_text() {
        let check = |value: Value, expected: Result<&[&str], &str>| {
            let read = serde_json::from_value::<Dates>(value.clone()).map(|dates| dates.0);
            let expected = expected.map(|texts| texts.iter().map(ToString::to_string).collect());
            assert_eq!(read.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{value}");
        };
        let expecting = "expected a day such as 1, last or first saturday, or a list of them";
        check("last".into(), Ok(&["last"]));
        check(1.into(), Ok(&["1"]));
        check(serde_json::json!([1, "last"]), Ok(&["1", "last"]));
        check(serde_json::json!([]), Err(&format!("invalid value: an empty list, {expecting}")));
        check(serde_json::json!([1.5]), Err(&format!("invalid type: floating point `1.5`, {expecting}")));
        check(false.into(), Err(&format!("invalid type: boolean `false`, {expecting}")));
    }

    #[test]
    fn a_reference_is_not_in_its_own_debug_text() {
        assert_eq!(format!("{:?}", Reference("hunter2".to_owned())), "***");
    }
}
