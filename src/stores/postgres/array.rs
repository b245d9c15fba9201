//! A column of a batch as the server takes it: an array in the binary form of the protocol, written as its values come.

use std::marker::PhantomData;

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Utc};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use super::sql::{escape, not_json, write_array_literal};
use crate::stores::documents::StoreError;

/// Microseconds from the Unix epoch to that of PostgreSQL, 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Length of an element that is null.
const NULL: i32 = -1;
const LENGTH_BYTES: usize = size_of::<i32>();
/// Length in bytes, dimensions, whether there are nulls, type of the elements; length and lower bound of the one dimension.
const HEADER_BYTES: usize = 6 * size_of::<i32>();

/// What an array holds and how an element is written.
pub(super) trait Element {
    /// A value, borrowed.
    type Value: ?Sized;
    /// Type of the array.
    const ARRAY: Type;
    /// Appends the value's binary form.
    fn write(value: &Self::Value, out: &mut Vec<u8>);
}

/// Declares element types: name, borrowed value, type of the array, how a value is written.
macro_rules! elements {
    ($($(#[$doc:meta])* $element:ident $value:ty = $array:ident, |$name:ident, $out:ident| $write:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(super) enum $element {}

            impl Element for $element {
                type Value = $value;
                const ARRAY: Type = Type::$array;

                fn write($name: &$value, $out: &mut Vec<u8>) {
                    $write;
                }
            }
        )*
    };
}

elements! {
    /// Any text, escaped as it is written.
    Text str = TEXT_ARRAY, |text, out| out.extend_from_slice(escape(text).as_bytes());
    /// Text that is escaped already, or can't need it.
    Verbatim str = TEXT_ARRAY, |text, out| out.extend_from_slice(text.as_bytes());
    /// Bytes.
    Binary [u8] = BYTEA_ARRAY, |bytes, out| out.extend_from_slice(bytes);
    /// Names, each row's as a literal of an array of its own.
    Names [String] = TEXT_ARRAY, |names, out| write_array_literal(names, out);
    /// `smallint`
    Int2 i16 = INT2_ARRAY, |number, out| out.extend_from_slice(&number.to_be_bytes());
    /// `integer`
    Int4 i32 = INT4_ARRAY, |number, out| out.extend_from_slice(&number.to_be_bytes());
    /// `bigint`
    Int8 i64 = INT8_ARRAY, |number, out| out.extend_from_slice(&number.to_be_bytes());
    /// `real`
    Float4 f32 = FLOAT4_ARRAY, |number, out| out.extend_from_slice(&number.to_be_bytes());
    /// A time, cut to whole microseconds.
    Time DateTime<Utc> = TIMESTAMPTZ_ARRAY, |time, out| {
        out.extend_from_slice(&time.timestamp_micros().saturating_sub(EPOCH_MICROS).to_be_bytes());
    };
}

/// Values of one column, in the order of the batch's rows.
pub(super) struct Array<E> {
    /// Lengths and values, each value behind its length.
    elements: Vec<u8>,
    count: i32,
    has_nulls: bool,
    /// Rows that are expected.
    rows: usize,
    /// Bytes of the arrays behind it in the same statement.
    behind: usize,
    element: PhantomData<E>,
}

impl<E: Element> Array<E> {
    /// An array that will hold about so many values.
    pub(super) const fn with_rows(rows: usize) -> Self {
        Self { elements: Vec::new(), count: 0, has_nulls: false, rows, behind: 0, element: PhantomData }
    }

    /// Appends a value.
    pub(super) fn push(&mut self, value: &E::Value) {
        let start = self.begin();
        E::write(value, &mut self.elements);
        self.end(start);
    }

    /// Appends a value that may be absent.
    pub(super) fn push_option(&mut self, value: Option<&E::Value>) {
        if let Some(value) = value {
            return self.push(value);
        }
        self.has_nulls = true;
        self.elements.extend_from_slice(&NULL.to_be_bytes());
        self.counted();
    }

    /// Leaves room for the length of an element and returns where that is.
    fn begin(&mut self) -> usize {
        let start = self.elements.len();
        self.elements.extend_from_slice(&[0; LENGTH_BYTES]);
        start
    }

    /// Writes the length of the element that began there.
    fn end(&mut self, start: usize) {
        let behind = start + LENGTH_BYTES;
        let length = i32::try_from(self.elements.len() - behind).unwrap_or(i32::MAX);
        self.elements[start..behind].copy_from_slice(&length.to_be_bytes());
        self.counted();
    }

    fn counted(&mut self) {
        self.count += 1;
        if self.count == 1 {
            // the values of a column are about as long as each other
            let length = self.elements.len();
            self.elements.reserve((self.rows * length).saturating_sub(length) * 9 / 8);
        }
    }

    /// Whether there is no value.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Makes room for the arrays behind it as well, so that the statement need not move as it grows.
    pub(super) const fn precede(&mut self, bytes: usize) {
        self.behind = bytes;
    }

    /// Bytes that it takes in a statement.
    pub(super) const fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.elements.len()
    }
}

impl Array<Verbatim> {
    /// Appends a value as JSON, which has U+0000 in its escaped form.
    pub(super) fn push_json(&mut self, value: &impl serde::Serialize) -> Result<(), StoreError> {
        let start = self.begin();
        if let Err(error) = serde_json::to_writer(&mut self.elements, value) {
            self.elements.truncate(start);
            return Err(not_json(&error));
        }
        self.end(start);
        Ok(())
    }
}

impl<E> Default for Array<E>
where
    E: Element,
{
    fn default() -> Self {
        Self::with_rows(0)
    }
}

impl<E> std::fmt::Debug for Array<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} values in {} bytes", self.count, self.elements.len())
    }
}

impl<E: Element + Sync> ToSql for Array<E> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Kind::Array(element) = kind.kind() else {
            return Err(format!("{kind} is no type of arrays").into());
        };
        out.reserve(self.wire_bytes() + self.behind);
        out.put_i32(1);
        out.put_i32(i32::from(self.has_nulls));
        out.put_u32(element.oid());
        out.put_i32(self.count);
        out.put_i32(1);
        out.put_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == E::ARRAY
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn written(value: &dyn ToSql, kind: &Type) -> BytesMut {
        let mut out = BytesMut::new();
        value.to_sql_checked(kind, &mut out).unwrap();
        out
    }

    fn array<'v, E: Element<Value: 'v>>(values: impl IntoIterator<Item = Option<&'v E::Value>>) -> Array<E> {
        let mut array = Array::with_rows(2);
        values.into_iter().for_each(|value| array.push_option(value));
        array
    }

    #[test]
    fn arrays_are_written_as_the_driver_writes_vectors() {
        let texts = [Some("a"), None, Some(""), Some("ünïcode \u{1F680}")];
        assert_eq!(written(&array::<Text>(texts), &Type::TEXT_ARRAY), written(&texts.to_vec(), &Type::TEXT_ARRAY));
        assert_eq!(written(&array::<Verbatim>([Some("x")]), &Type::TEXT_ARRAY), written(&vec!["x"], &Type::TEXT_ARRAY));
        let bytes = [Some(&[0_u8, 255][..]), None];
        assert_eq!(written(&array::<Binary>(bytes), &Type::BYTEA_ARRAY), written(&bytes.to_vec(), &Type::BYTEA_ARRAY));
        let numbers = [1_i64, -1, i64::MAX];
        assert_eq!(
            written(&array::<Int8>(numbers.iter().map(Some)), &Type::INT8_ARRAY),
            written(&numbers.to_vec(), &Type::INT8_ARRAY)
        );
        let reals = [None, Some(0.25_f32)];
        assert_eq!(
            written(&array::<Float4>(reals.iter().map(Option::as_ref)), &Type::FLOAT4_ARRAY),
            written(&reals.to_vec(), &Type::FLOAT4_ARRAY)
        );
        let times = [DateTime::UNIX_EPOCH, DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap()];
        assert_eq!(
            written(&array::<Time>(times.iter().map(Some)), &Type::TIMESTAMPTZ_ARRAY),
            written(&times.to_vec(), &Type::TIMESTAMPTZ_ARRAY)
        );
        let none: Vec<i32> = Vec::new();
        assert_eq!(written(&array::<Int4>([]), &Type::INT4_ARRAY), written(&none, &Type::INT4_ARRAY));
    }

    #[test]
    fn json_is_an_element_and_what_json_does_not_have_is_none() {
        let mut array = Array::<Verbatim>::with_rows(2);
        array.push_json(&["a\0b"]).unwrap();
        let odd = std::collections::HashMap::from([((), 1)]);
        assert!(array.push_json(&odd).is_err());
        array.push_json(&1).unwrap();
        assert_eq!(written(&array, &Type::TEXT_ARRAY), written(&vec![r#"["a\u0000b"]"#, "1"], &Type::TEXT_ARRAY));
    }

    #[test]
    fn text_is_escaped_once() {
        assert_eq!(written(&array::<Text>([Some("a\0b")]), &Type::TEXT_ARRAY), {
            written(&vec![escape("a\0b")], &Type::TEXT_ARRAY)
        });
    }

    #[test]
    fn other_types_are_refused() {
        let mut out = BytesMut::new();
        assert!(array::<Int8>([]).to_sql_checked(&Type::INT4_ARRAY, &mut out).is_err());
    }
}
