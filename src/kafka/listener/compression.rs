//! Decompresses batches, never to more than a limit: a few kilobytes can claim to be gigabytes.

use std::io::Read;

use bytes::{Buf, Bytes};

use super::batch::BatchError;

/// The codecs, by the number in a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Start of the block format that Java clients write around snappy.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// The magic and two version numbers.
const XERIAL_HEADER_BYTES: usize = 16;

impl Codec {
    /// The codec of this number.
    pub(super) fn of(number: i16) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The bytes decompressed, at most `limit` of them.
    pub(super) fn decompress(self, bytes: &Bytes, limit: usize) -> Result<Bytes, BatchError> {
        match self {
            Self::None if bytes.len() > limit => Err(BatchError::TooLarge { limit }),
            Self::None => Ok(bytes.clone()),
            Self::Gzip => read_all(flate2::read::MultiGzDecoder::new(&bytes[..]), bytes.len(), limit),
            Self::Snappy => snappy(bytes.clone(), limit),
            Self::Lz4 => read_all(lz4::Decoder::new(&bytes[..]).map_err(corrupt)?, bytes.len(), limit),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&bytes[..]).map_err(corrupt)?;
                // Encoders that don't know the size take up to 8 MiB below the "ultra" levels.
                decoder.window_log_max(limit.next_power_of_two().ilog2().clamp(23, 27)).map_err(corrupt)?;
                read_all(decoder, bytes.len(), limit)
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn corrupt(error: impl ToString) -> BatchError {
    BatchError::Corrupt(error.to_string())
}

fn read_all(reader: impl Read, compressed: usize, limit: usize) -> Result<Bytes, BatchError> {
    let mut output = Vec::with_capacity((compressed * 3).min(limit));
    reader.take(limit as u64 + 1).read_to_end(&mut output).map_err(corrupt)?;
    if output.len() > limit { Err(BatchError::TooLarge { limit }) } else { Ok(output.into()) }
}

/// Raw snappy, or blocks of it behind the header that Java clients write.
fn snappy(mut bytes: Bytes, limit: usize) -> Result<Bytes, BatchError> {
    let mut output = Vec::new();
    if !bytes.starts_with(XERIAL_MAGIC) {
        snappy_block(&bytes, limit, &mut output)?;
        return Ok(output.into());
    }
    let missing = || BatchError::Corrupt("the snappy blocks end too early".to_owned());
    if bytes.len() < XERIAL_HEADER_BYTES {
        return Err(missing());
    }
    bytes.advance(XERIAL_HEADER_BYTES);
    while !bytes.is_empty() {
        let length = bytes.try_get_u32().map_err(|_| missing())? as usize;
        if length > bytes.len() {
            return Err(missing());
        }
        snappy_block(&bytes.split_to(length), limit, &mut output)?;
    }
    Ok(output.into())
}

fn snappy_block(block: &[u8], limit: usize, output: &mut Vec<u8>) -> Result<(), BatchError> {
    let length = snap::raw::decompress_len(block).map_err(corrupt)?;
    let start = output.len();
    if length > limit - start {
        return Err(BatchError::TooLarge { limit });
    }
    output.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut output[start..]).map_err(corrupt)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;

    use super::*;

    fn compress(codec: Codec, data: &[u8]) -> Bytes {
        match codec {
            Codec::None => data.to_vec(),
            Codec::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(data).unwrap(),
            Codec::Lz4 => {
                let mut encoder = lz4::EncoderBuilder::new().build(Vec::new()).unwrap();
                encoder.write_all(data).unwrap();
                encoder.finish().0
            }
            Codec::Zstd => zstd::encode_all(data, 3).unwrap(),
        }
        .into()
    }

    #[test]
    fn every_codec_comes_back_and_stops_at_the_limit() {
        let data: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 1000).to_le_bytes()).collect();
        for number in 0..5 {
            let codec = Codec::of(number).unwrap();
            let compressed = compress(codec, &data);
            assert_eq!(codec.decompress(&compressed, data.len()).unwrap(), data, "{codec:?}");
            let over = codec.decompress(&compressed, data.len() - 1);
            assert_eq!(over, Err(BatchError::TooLarge { limit: data.len() - 1 }), "{codec:?}");
        }
        assert_eq!(Codec::of(5), None);
    }

    #[test]
    fn snappy_blocks_of_java_clients() {
        let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for part in [&b"hello "[..], b"world"] {
            let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
            framed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
            framed.extend(block);
        }
        let framed = Bytes::from(framed);
        assert_eq!(Codec::Snappy.decompress(&framed, 100).unwrap(), "hello world");
        assert_eq!(Codec::Snappy.decompress(&framed, 10), Err(BatchError::TooLarge { limit: 10 }));
        let cut = framed.slice(..framed.len() - 1);
        assert!(matches!(Codec::Snappy.decompress(&cut, 100), Err(BatchError::Corrupt(_))));
    }

    #[test]
    fn garbage_is_refused_by_every_codec() {
        let garbage = Bytes::from_static(&[0x9e; 64]);
        for number in 1..5 {
            assert!(Codec::of(number).unwrap().decompress(&garbage, 1 << 20).is_err());
        }
    }
}
