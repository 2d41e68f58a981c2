//! A limit that can be turned off.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A limit, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    /// There is none.
    Off,
    /// There is this one.
    At(T),
}

impl<T: Copy> Limit<T> {
    /// The limit, where there is one.
    pub const fn get(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::At(limit) => Some(limit),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            // Older readers of YAML take `off` for a truth value.
            Value::Bool(false) => Ok(Self::Off),
            Value::String(text) if text == "off" => Ok(Self::Off),
            value => T::deserialize(value)
                .map(Self::At)
                .map_err(|error| D::Error::custom(format!("{error}; `off` turns it off"))),
        }
    }
}

impl<T: Serialize> Serialize for Limit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::At(limit) => limit.serialize(serializer),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.pad("off"),
            Self::At(limit) => limit.fmt(f),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Limit<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), { "const": "off" }] })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::amounts::ByteSize;

    #[test]
    fn a_limit_is_a_value_or_off() {
        let check = |value: Value, expected: Result<&str, &str>| {
            let read = serde_json::from_value::<Limit<ByteSize>>(value.clone());
            match (read, expected) {
                (Ok(limit), Ok(printed)) => {
                    assert_eq!(limit.to_string(), printed);
                    assert_eq!(serde_json::to_value(limit).expect("a value"), json!(printed));
                }
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{value}: {error}"),
                (read, _) => panic!("{value}: {read:?}"),
            }
        };
        check(json!("off"), Ok("off"));
        check(json!(false), Ok("off"));
        check(json!("2GiB"), Ok("2GiB"));
        check(json!("plenty"), Err("`off` turns it off"));
        check(json!(true), Err("`off` turns it off"));
    }
}
