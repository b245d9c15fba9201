//! The fields of a document as they stand in a record: parsed without a map in between for those we know.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A field we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Source,
    Url,
    Title,
    Text,
    Author,
    PublishedAt,
    Symbols,
    Lang,
    Metadata,
}

impl Field {
    const ALL: [Self; 10] = [
        Self::Id,
        Self::Source,
        Self::Url,
        Self::Title,
        Self::Text,
        Self::Author,
        Self::PublishedAt,
        Self::Symbols,
        Self::Lang,
        Self::Metadata,
    ];

    /// Its name in JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Source => "source",
            Self::Url => "url",
            Self::Title => "title",
            Self::Text => "text",
            Self::Author => "author",
            Self::PublishedAt => "published_at",
            Self::Symbols => "symbols",
            Self::Lang => "lang",
            Self::Metadata => "metadata",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// An object's values by field; of a name that comes twice the last.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// `null` where it was left out, which means the same.
    known: [Value; Field::ALL.len()],
    /// By names we don't know.
    pub(super) others: Map<String, Value>,
}

impl Fields {
    /// Takes a field out.
    pub(super) fn take(&mut self, field: Field) -> Value {
        self.known[field as usize].take()
    }
}

impl FromIterator<(String, Value)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
        let mut fields = Self::default();
        for (name, value) in entries {
            match Field::of(&name) {
                Some(field) => fields.known[field as usize] = value,
                None => drop(fields.others.insert(name, value)),
            }
        }
        fields
    }
}

/// A JSON text.
pub(super) enum Parsed {
    Object(Box<Fields>),
    /// Something else: what it is, with its article.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

/// A name, looked up before it is kept.
struct Name(Result<Field, String>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Named)
    }
}

struct Named;

impl Visitor<'_> for Named {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name(Field::of(name).ok_or_else(|| name.to_owned())))
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Parsed;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any valid JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut fields = Box::<Fields>::default();
        while let Some(Name(name)) = map.next_key()? {
            match name {
                Ok(field) => fields.known[field as usize] = map.next_value()?,
                Err(name) => drop(fields.others.insert(name, map.next_value()?)),
            }
        }
        Ok(Parsed::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Parsed, A::Error> {
        while items.next_element::<Value>()?.is_some() {}
        Ok(Parsed::Other("an array"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Parsed, E> {
        Ok(Parsed::Other("a string"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parsed, E> {
        Ok(Parsed::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parsed, E> {
        Ok(Parsed::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parsed, E> {
        Ok(Parsed::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parsed, E> {
        Ok(Parsed::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Other("null"))
    }
}
