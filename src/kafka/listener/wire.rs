//! Reads the protocol's primitive types from a request.
//!
//! Requests come from anybody, so lengths are believed only as far as bytes are there: nothing is allocated by a count
//! the sender made up.

use bytes::{Buf, Bytes};

/// What a request got wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// It ends too early.
    #[error("the request ends too early")]
    Truncated,
    /// A length is negative where it must not be, or a number has too many bytes.
    #[error("the request has an invalid length")]
    Length,
    /// Text is not UTF-8.
    #[error("the request has text that is not utf-8")]
    Utf8,
}

type Read<T> = Result<T, WireError>;

/// A cursor over a request. Slices share the request's memory.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Read<Bytes> {
        if count > self.bytes.len() {
            return Err(WireError::Truncated);
        }
        Ok(self.bytes.split_to(count))
    }

    pub(super) fn i8(&mut self) -> Read<i8> {
        self.bytes.try_get_i8().map_err(|_| WireError::Truncated)
    }

    pub(super) fn i16(&mut self) -> Read<i16> {
        self.bytes.try_get_i16().map_err(|_| WireError::Truncated)
    }

    pub(super) fn i32(&mut self) -> Read<i32> {
        self.bytes.try_get_i32().map_err(|_| WireError::Truncated)
    }

    pub(super) fn u32(&mut self) -> Read<u32> {
        self.bytes.try_get_u32().map_err(|_| WireError::Truncated)
    }

    pub(super) fn i64(&mut self) -> Read<i64> {
        self.bytes.try_get_i64().map_err(|_| WireError::Truncated)
    }

    /// Seven bits a byte, lowest first.
    fn unsigned_varlong(&mut self) -> Read<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes.try_get_u8().map_err(|_| WireError::Truncated)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Length)
    }

    fn unsigned_varint(&mut self) -> Read<usize> {
        let value = self.unsigned_varlong()?;
        u32::try_from(value).map(|value| value as usize).map_err(|_| WireError::Length)
    }

    /// Zigzag: 0, -1, 1, -2, 2.
    pub(super) fn varlong(&mut self) -> Read<i64> {
        let value = self.unsigned_varlong()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn varint(&mut self) -> Read<i32> {
        i32::try_from(self.varlong()?).map_err(|_| WireError::Length)
    }

    /// A length before bytes or items: classic (2 or 4 bytes) or compact. `None` for null.
    fn length(&mut self, form: Form, classic_bytes: usize) -> Read<Option<usize>> {
        match form {
            Form::Compact => Ok(self.unsigned_varint()?.checked_sub(1)),
            Form::Classic => {
                let length = if classic_bytes == 2 { i32::from(self.i16()?) } else { self.i32()? };
                match length {
                    -1 => Ok(None),
                    length => usize::try_from(length).map(Some).map_err(|_| WireError::Length),
                }
            }
        }
    }

    /// A string that may be null.
    pub(super) fn nullable_string(&mut self, form: Form) -> Read<Option<String>> {
        let Some(length) = self.length(form, 2)? else { return Ok(None) };
        let bytes = self.take(length)?;
        std::str::from_utf8(&bytes).map(|text| Some(text.to_owned())).map_err(|_| WireError::Utf8)
    }

    pub(super) fn string(&mut self, form: Form) -> Read<String> {
        self.nullable_string(form)?.ok_or(WireError::Length)
    }

    /// Bytes that may be null.
    pub(super) fn nullable_bytes(&mut self, form: Form) -> Read<Option<Bytes>> {
        match self.length(form, 4)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// An array that may be null. Every item takes at least a byte, so no array is longer than what is left.
    pub(super) fn nullable_array<T>(
        &mut self,
        form: Form,
        mut item: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Option<Vec<T>>> {
        let Some(count) = self.length(form, 4)? else { return Ok(None) };
        if count > self.remaining() {
            return Err(WireError::Truncated);
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(Some(items))
    }

    /// An array.
    pub(super) fn array<T>(&mut self, form: Form, item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        self.nullable_array(form, item)?.ok_or(WireError::Length)
    }

    /// Skips the optional fields at the end of every structure of the compact form.
    pub(super) fn skip_tags(&mut self, form: Form) -> Read<()> {
        if form == Form::Compact {
            for _ in 0..self.unsigned_varint()? {
                self.unsigned_varint()?;
                let length = self.unsigned_varint()?;
                self.take(length)?;
            }
        }
        Ok(())
    }
}

/// How a version of a request writes lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In 2 or 4 bytes.
    Classic,
    /// As variable-length numbers, with optional fields at the end of structures.
    Compact,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn reader(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes))
    }

    #[test]
    fn numbers_of_variable_length() {
        assert_eq!(reader(&[0]).varlong(), Ok(0));
        assert_eq!(reader(&[1]).varlong(), Ok(-1));
        assert_eq!(reader(&[0xac, 0x02]).varlong(), Ok(150));
        assert_eq!(reader(&[0xfe, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MAX));
        assert_eq!(reader(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0x0f]).varint(), Err(WireError::Length));
        assert_eq!(reader(&[0xff; 11]).varlong(), Err(WireError::Length));
        assert_eq!(reader(&[0x80]).varlong(), Err(WireError::Truncated));
    }

    #[test]
    fn a_made_up_count_allocates_nothing() {
        let huge = reader(&[0x7f, 0xff, 0xff, 0xff, 1, 2]).array(Form::Classic, Reader::i8);
        assert_eq!(huge, Err(WireError::Truncated));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xfe]).array(Form::Classic, Reader::i8), Err(WireError::Length));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff]).nullable_array(Form::Classic, Reader::i8), Ok(None));
        assert_eq!(reader(&[3, 7, 8]).array(Form::Compact, Reader::i8), Ok(vec![7, 8]));
    }

    #[test]
    fn strings_in_both_forms() {
        assert_eq!(reader(&[0, 2, b'h', b'i']).string(Form::Classic).unwrap(), "hi");
        assert_eq!(reader(&[3, b'h', b'i']).string(Form::Compact).unwrap(), "hi");
        assert_eq!(reader(&[0]).nullable_string(Form::Compact), Ok(None));
        assert_eq!(reader(&[2, 0xff]).string(Form::Compact), Err(WireError::Utf8));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(bytes.into());
            let _ = reader.array(Form::Compact, |reader| {
                reader.nullable_bytes(Form::Classic)?;
                reader.skip_tags(Form::Compact)?;
                reader.varint()
            });
        }
    }
}
