//! Divides a body into documents or bars without copying them: every item is a slice of the body.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{ApiError, ApiResult};
use super::media::BodyKind;
use crate::messages::code::ErrorCode;

/// The records of a body, in order, each as sent.
pub(crate) struct Items {
    pub(crate) items: Vec<Bytes>,
    /// Whether the body was one object rather than a list.
    pub(crate) single: bool,
}

/// Divides the body; at most `max` items. `plural` is what they are, for errors.
pub(crate) fn split(body: &Bytes, kind: BodyKind, max: usize, plural: &str) -> ApiResult<Items> {
    let trimmed = body.trim_ascii();
    if trimmed.is_empty() {
        return Err(ApiError::new(ErrorCode::InvalidJson, "the body is empty"));
    }
    let is_array = trimmed.first() == Some(&b'[');
    match kind {
        BodyKind::Lines => lines(body, max, plural),
        BodyKind::Json | BodyKind::Unsaid if is_array => array(body, max, plural),
        BodyKind::Unsaid if serde_json::from_slice::<&RawValue>(trimmed).is_err() && trimmed.contains(&b'\n') => {
            lines(body, max, plural)
        }
        BodyKind::Json | BodyKind::Unsaid => Ok(Items { items: vec![body.slice_ref(trimmed)], single: true }),
    }
}

fn lines(body: &Bytes, max: usize, plural: &str) -> ApiResult<Items> {
    let mut items = Vec::new();
    for line in body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        if items.len() == max {
            return Err(too_many(max, plural));
        }
        items.push(body.slice_ref(line));
    }
    Ok(Items { items, single: false })
}

fn array(body: &Bytes, max: usize, plural: &str) -> ApiResult<Items> {
    let text = std::str::from_utf8(body).map_err(|error| {
        ApiError::new(ErrorCode::InvalidUtf8, format!("invalid UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let slices = reader.deserialize_seq(Slices { max }).and_then(|slices| reader.end().map(|()| slices));
    let slices = slices.map_err(|error| ApiError::new(ErrorCode::InvalidJson, error.to_string()))?;
    if slices.len() > max {
        return Err(too_many(max, plural));
    }
    Ok(Items { items: slices.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect(), single: false })
}

fn too_many(max: usize, plural: &str) -> ApiError {
    ApiError::new(ErrorCode::TooManyItems, format!("more than {max} {plural} in one request (http.max_batch)"))
}

/// Keeps up to `max + 1` items: one more tells that there are too many, and the rest costs no memory.
struct Slices {
    max: usize,
}

impl<'de> Visitor<'de> for Slices {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element::<&'de RawValue>()? {
            if items.len() <= self.max {
                items.push(item);
            }
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn texts(body: &'static str, kind: BodyKind) -> Result<Vec<String>, ErrorCode> {
        let split = split(&Bytes::from_static(body.as_bytes()), kind, 3, "documents")
            .map_err(|error| error.rejection().code)?;
        Ok(split.items.iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect())
    }

    #[test]
    fn an_array_is_divided_into_its_own_bytes() {
        let items = texts(" [ {\"a\": 1},\n {\"b\" : [2]} ] ", BodyKind::Json).unwrap();
        assert_eq!(items, ["{\"a\": 1}", "{\"b\" : [2]}"]);
    }

    #[test]
    fn lines_may_be_blank_and_one_bad_line_stays_alone() {
        assert_eq!(texts("{\"a\":1}\r\n\n{oops\n", BodyKind::Lines).unwrap(), ["{\"a\":1}", "{oops"]);
    }

    #[test]
    fn lines_are_recognised_without_a_content_type() {
        assert_eq!(texts("{\"a\":1}\n{\"b\":2}", BodyKind::Unsaid).unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(texts("{\n\"a\":1}", BodyKind::Unsaid).unwrap(), ["{\n\"a\":1}"]);
    }

    #[test]
    fn too_many_items_and_broken_arrays_are_refused() {
        assert_eq!(texts("[1,2,3,4]", BodyKind::Json), Err(ErrorCode::TooManyItems));
        assert_eq!(texts("1\n2\n3\n4", BodyKind::Lines), Err(ErrorCode::TooManyItems));
        assert_eq!(texts("[1,2", BodyKind::Json), Err(ErrorCode::InvalidJson));
        assert_eq!(texts("[1] 2", BodyKind::Json), Err(ErrorCode::InvalidJson));
        assert_eq!(texts("  ", BodyKind::Json), Err(ErrorCode::InvalidJson));
    }

    #[test]
    fn an_array_nested_without_end_is_divided_without_recursion() {
        let deep: &'static str = format!("[{}{}]", "[".repeat(200_000), "]".repeat(200_000)).leak();
        assert_eq!(texts(deep, BodyKind::Json).unwrap().len(), 1);
    }
}
