//! How a record lies in its row.

use bytes::{BufMut, Bytes, BytesMut};

use crate::messages::record::Header;

/// Bits of a position that are the offset; the partition's id stands above them.
const OFFSET_BITS: u32 = 40;
/// Largest offset of a partition: 10^12 records.
pub(super) const MAX_OFFSET: i64 = (1 << OFFSET_BITS) - 1;

/// Partition id and offset in one number, ordered by partition, then offset.
pub(super) fn position(partition_id: i64, offset: i64) -> i64 {
    (partition_id << OFFSET_BITS) | offset
}

/// The offset in a position.
pub(super) fn offset(position: i64) -> i64 {
    position & MAX_OFFSET
}

/// Headers as `length, name, length, value` each, lengths in 4 bytes little-endian. `None` if there are none.
pub(super) fn encode_headers(headers: &[Header]) -> Option<BytesMut> {
    if headers.is_empty() {
        return None;
    }
    let mut buffer = BytesMut::with_capacity(headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum());
    for (name, value) in headers {
        for part in [name.as_bytes(), value] {
            // A record is limited to 256 MiB, so its parts fit.
            buffer.put_u32_le(u32::try_from(part.len()).unwrap_or(u32::MAX));
            buffer.put_slice(part);
        }
    }
    Some(buffer)
}

/// The headers, or `None` if these are not bytes that [`encode_headers`] wrote.
pub(super) fn decode_headers(mut bytes: Bytes) -> Option<Vec<Header>> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let name = String::from_utf8(take_part(&mut bytes)?.to_vec()).ok()?;
        headers.push((name, take_part(&mut bytes)?));
    }
    Some(headers)
}

fn take_part(bytes: &mut Bytes) -> Option<Bytes> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    let rest = bytes.slice(4..);
    if rest.len() < length {
        return None;
    }
    *bytes = rest.slice(length..);
    Some(rest.slice(..length))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn headers_come_back_in_order_with_repeated_names() {
        let headers: Vec<Header> = vec![
            ("a".to_owned(), Bytes::from_static(b"1")),
            ("a".to_owned(), Bytes::new()),
            (String::new(), Bytes::from_static(&[0, 255])),
        ];
        let encoded = encode_headers(&headers).unwrap().freeze();
        assert_eq!(decode_headers(encoded.clone()), Some(headers));
        assert_eq!(decode_headers(encoded.slice(..encoded.len() - 1)), None);
        assert_eq!(encode_headers(&[]), None);
    }

    #[test]
    fn positions_order_by_partition_then_offset() {
        assert!(position(1, MAX_OFFSET) < position(2, 0));
        assert!(position(2, 0) < position(2, 1));
        assert_eq!(offset(position(7, 12_345)), 12_345);
    }
}
