//! The sentiment model's file: a JSON header, own layers as 8-bit differences from the encoder's, the head, the linear
//! model, a checksum. Little-endian throughout.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::CLASSES;
use super::calibrate::Calibration;
use super::evaluate::Quality;
use super::features::{BUCKETS, PLACES};
use super::lexical::Lexical;
use super::network::{Network, part_shapes};

/// First bytes of a file: what it is and in which version.
const MAGIC: &[u8; 8] = b"TMSENT1\n";

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Name and version in results.
    pub name: String,
    /// Own layers; the encoder's others are shared.
    pub layers: usize,
    /// From both parts' scores to probabilities.
    pub calibration: Calibration,
    /// From the linear part's scores alone.
    pub lexical_calibration: Calibration,
    /// Cross-validated quality.
    pub quality: Quality,
}

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// What the file says of itself.
    pub header: Header,
    /// The neural part.
    pub network: Network,
    /// The linear part.
    pub lexical: Lexical,
}

/// What is in a file before the encoder's layers are known.
#[derive(Debug)]
pub struct Packed<'a> {
    /// What the file says of itself.
    pub header: Header,
    body: &'a [u8],
}

/// A row as 8-bit steps and the size of a step.
fn quantise_row(row: &[f32]) -> (f32, Vec<i8>) {
    let step = row.iter().fold(0.0f32, |top, x| top.max(x.abs())) / 127.0;
    #[expect(clippy::cast_possible_truncation, reason = "from -127 to 127")]
    let code = |x: &f32| if step > 0.0 { (x / step).round() as i8 } else { 0 };
    (step, row.iter().map(code).collect())
}

/// The network as it is after a way through a file: its layers' matrices differ from the base in 8-bit steps a row.
pub fn quantised(base: &Network, network: &Network) -> Network {
    let mut out = network.clone();
    for (layer, base) in out.layers.iter_mut().zip(&base.layers) {
        for ((part, base), (rows, columns)) in layer.parts_mut().into_iter().zip(base.parts()).zip(part_shapes()) {
            if rows > 1 {
                for (row, base) in part.chunks_exact_mut(columns).zip(base.chunks_exact(columns)) {
                    let (step, codes) = quantise_row(&difference(row, base));
                    row.iter_mut().zip(base).zip(codes).for_each(|((x, b), code)| *x = b + step * f32::from(code));
                }
            }
        }
    }
    out
}

fn difference(values: &[f32], base: &[f32]) -> Vec<f32> {
    values.iter().zip(base).map(|(x, b)| x - b).collect()
}

fn put(out: &mut Vec<u8>, values: &[f32]) {
    for x in values {
        out.extend(x.to_le_bytes());
    }
}

/// The linear model's largest weight.
fn largest(lexical: &Lexical) -> f32 {
    lexical.weights.iter().flatten().fold(0.0f32, |top, x| top.max(x.abs()))
}

impl Weights {
    /// The bytes of a file, given the encoder's layers the network started from.
    ///
    /// # Errors
    /// If the header can't be written as JSON.
    pub fn to_bytes(&self, base: &Network) -> Result<Vec<u8>, serde_json::Error> {
        let header = serde_json::to_vec(&self.header)?;
        let mut out = MAGIC.to_vec();
        out.extend(u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(header);
        for (layer, base) in self.network.layers.iter().zip(&base.layers) {
            for ((part, base), (rows, columns)) in layer.parts().into_iter().zip(base.parts()).zip(part_shapes()) {
                if rows == 1 {
                    put(&mut out, part);
                    continue;
                }
                for (row, base) in part.chunks_exact(columns).zip(base.chunks_exact(columns)) {
                    let (step, codes) = quantise_row(&difference(row, base));
                    put(&mut out, &[step]);
                    out.extend(codes.iter().map(|code| code.cast_unsigned()));
                }
            }
        }
        put(&mut out, &self.network.head.weight);
        put(&mut out, &self.network.head.bias);
        let step = largest(&self.lexical) / 32_000.0;
        put(&mut out, &[step]);
        put(&mut out, &self.lexical.bias);
        for weight in self.lexical.weights[..BUCKETS].iter().flatten() {
            #[expect(clippy::cast_possible_truncation, reason = "from -32000 to 32000")]
            let code = if step > 0.0 { (weight / step).round() as i16 } else { 0 };
            out.extend(code.to_le_bytes());
        }
        self.lexical.weights[BUCKETS..].iter().for_each(|weights| put(&mut out, weights));
        let checksum = xxh3_64(&out);
        out.extend(checksum.to_le_bytes());
        Ok(out)
    }
}

/// Takes values off the front of a body.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(head)
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, String> {
        let (values, _) = self.bytes(4 * count)?.as_chunks::<4>();
        Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

impl<'a> Packed<'a> {
    /// Checks a file's bytes and reads its header.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let (content, checksum) = bytes.split_last_chunk::<8>().ok_or("it is too short")?;
        let rest = content.strip_prefix(MAGIC).ok_or("it isn't a sentiment model of this version")?;
        if xxh3_64(content) != u64::from_le_bytes(*checksum) {
            return Err("its checksum is wrong".to_owned());
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or("it ends too early")?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|error| error.to_string())?;
        let (header, body) = rest.split_at_checked(length).ok_or("it ends too early")?;
        let header = serde_json::from_slice(header).map_err(|error| format!("its header: {error}"))?;
        Ok(Self { header, body })
    }

    /// The model, given the encoder's layers it differs from; without them only its linear part.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn unpack(&self, base: Option<&Network>) -> Result<(Option<Network>, Lexical), String> {
        let mut cursor = Cursor { rest: self.body };
        let network = if let Some(base) = base {
            Some(unpack_network(&mut cursor, base, self.header.layers)?)
        } else {
            let layer: usize = part_shapes().map(|(rows, columns)| part_bytes(rows, columns)).iter().sum();
            let head = 4 * (CLASSES * 2 * crate::models::minilm::weights::WIDTH + CLASSES);
            cursor.bytes(self.header.layers * layer + head)?;
            None
        };
        let step = cursor.floats(1)?[0];
        let bias = cursor.floats(CLASSES)?;
        let (codes, _) = cursor.bytes(2 * BUCKETS * CLASSES)?.as_chunks::<2>();
        let mut values: Vec<f32> = codes.iter().map(|code| step * f32::from(i16::from_le_bytes(*code))).collect();
        values.extend(cursor.floats((PLACES - BUCKETS) * CLASSES)?);
        if !cursor.rest.is_empty() {
            return Err("it has bytes too many".to_owned());
        }
        let (weights, _) = values.as_chunks::<CLASSES>();
        let bias = bias.first_chunk().copied().unwrap_or_default();
        Ok((network, Lexical { weights: weights.to_vec(), bias }))
    }
}

/// Bytes a part of a layer takes.
fn part_bytes(rows: usize, columns: usize) -> usize {
    if rows == 1 { 4 * columns } else { rows * (4 + columns) }
}

fn unpack_network(cursor: &mut Cursor<'_>, base: &Network, layers: usize) -> Result<Network, String> {
    if base.layers.len() != layers {
        return Err(format!("it has {layers} layers of its own instead of {}", base.layers.len()));
    }
    let mut network = base.clone();
    for layer in &mut network.layers {
        for (part, (rows, columns)) in layer.parts_mut().into_iter().zip(part_shapes()) {
            if rows == 1 {
                *part = cursor.floats(columns)?;
                continue;
            }
            for row in part.chunks_exact_mut(columns) {
                let step = cursor.floats(1)?[0];
                let codes = cursor.bytes(columns)?;
                row.iter_mut().zip(codes).for_each(|(x, code)| *x += step * f32::from(code.cast_signed()));
            }
        }
    }
    network.head.weight = cursor.floats(network.head.weight.len())?;
    network.head.bias = cursor.floats(network.head.bias.len())?;
    Ok(network)
}
