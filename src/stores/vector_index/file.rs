//! The index file: a snapshot for a quick start. The store of documents stays the truth, so a file that is lost, torn,
//! of another make or older than the last change costs a rebuild and no data.
//!
//! Layout: header of [`HEADER_BYTES`] (magic, version, dimension, slots, vectors, lengths and checksum of the two sections,
//! a byte that says whether the index changed since), the vectors, the graph. All numbers are little-endian.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::graph::Graph;
use super::slots::{Meta, Slots};
use crate::config::store::VectorsConfig;

const MAGIC: &[u8; 8] = b"TMVECTOR";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 72;
/// Where the byte stands that is 1 when the index changed after the file was written.
const CHANGED_AT: usize = 64;

/// What was read.
pub(super) struct Loaded {
    pub(super) slots: Slots,
    pub(super) graph: Option<Graph>,
    /// Whether the index changed after this was written: then it is a start for a rebuild.
    pub(super) changed: bool,
}

/// Writes a snapshot beside the file and puts it in its place.
pub(super) fn save(path: &Path, dimension: usize, slots: &Slots, graph: Option<&[u8]>) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    let draft = path.with_extension("tmp");
    let file = File::create(&draft)?;
    let mut out = Hashed { out: io::BufWriter::with_capacity(1 << 20, file), hash: Xxh3::new(), written: 0 };
    out.out.write_all(&[0; HEADER_BYTES])?;
    write_slots(&mut out, slots)?;
    let vectors_bytes = out.written;
    out.write_all(graph.unwrap_or_default())?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&u32_of(dimension)?.to_le_bytes());
    for number in
        [slots.slot_count() as u64, slots.len() as u64, vectors_bytes, out.written - vectors_bytes, out.hash.digest()]
    {
        header.extend_from_slice(&number.to_le_bytes());
    }
    header.extend_from_slice(&xxh3_64(&header).to_le_bytes());
    header.resize(HEADER_BYTES, 0);
    let mut file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(parent)?.sync_all()
}

/// Notes in the file that the index is about to change.
pub(super) fn mark_changed(path: &Path) -> io::Result<()> {
    let mut file = match File::options().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() <= CHANGED_AT as u64 {
        return Ok(());
    }
    file.seek(SeekFrom::Start(CHANGED_AT as u64))?;
    file.write_all(&[1])?;
    file.sync_data()
}

/// Reads a snapshot; the error says in words why it can't be used.
pub(super) fn load(path: &Path, dimension: usize, config: &VectorsConfig) -> Result<Loaded, String> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no index file yet".to_owned(),
        _ => format!("can't read it: {error}"),
    })?;
    let torn = || "it is torn".to_owned();
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(torn)?;
    let mut fields = Fields { bytes: header };
    if fields.take(8).ok_or_else(torn)? != MAGIC {
        return Err("it is no vector index".to_owned());
    }
    let version = fields.u32().ok_or_else(torn)?;
    if version != VERSION {
        return Err(format!("it has version {version}, this program writes {VERSION}"));
    }
    let found_dimension = fields.u32().ok_or_else(torn)? as usize;
    let mut number = || fields.u64().ok_or_else(torn);
    let (slot_count, count, vectors_bytes, graph_bytes, checksum) =
        (number()?, number()?, number()?, number()?, number()?);
    let header_checksum = number()?;
    if xxh3_64(&header[..56]) != header_checksum {
        return Err("its header is damaged".to_owned());
    }
    if found_dimension != dimension {
        return Err(format!("it has vectors of {found_dimension} values, the encoder makes {dimension}"));
    }
    if vectors_bytes.checked_add(graph_bytes) != Some(body.len() as u64) || xxh3_64(body) != checksum {
        return Err("its content is damaged".to_owned());
    }
    let (vectors, graph) =
        body.split_at_checked(usize::try_from(vectors_bytes).map_err(|_| torn())?).ok_or_else(torn)?;
    let graph = if graph.is_empty() { None } else { Graph::load(graph, dimension, config).ok() };
    let slots = read_slots(vectors, slot_count, dimension, graph.is_some()).ok_or("its content makes no sense")?;
    if slots.len() as u64 != count {
        return Err(format!("it has {} vectors, its header says {count}", slots.len()));
    }
    Ok(Loaded { slots, graph, changed: bytes.get(CHANGED_AT).is_none_or(|&changed| changed != 0) })
}

/// Hashes what it passes on.
struct Hashed<W> {
    out: W,
    hash: Xxh3,
    written: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write_slots(out: &mut impl Write, slots: &Slots) -> io::Result<()> {
    let mut row = Vec::new();
    for slot in 0..u32_of(slots.slot_count())? {
        row.clear();
        row.extend_from_slice(&slots.generation(slot).to_le_bytes());
        row.push(u8::from(slots.meta(slot).is_some()));
        if let Some(meta) = slots.meta(slot) {
            row.push(u8::from(meta.in_graph));
            row.extend_from_slice(&meta.timestamp_ms.to_le_bytes());
            put_text(&mut row, &meta.id)?;
            put_text(&mut row, &meta.source)?;
            row.extend_from_slice(&u32_of(meta.symbols.len())?.to_le_bytes());
            for symbol in meta.symbols.iter() {
                put_text(&mut row, symbol)?;
            }
            row.extend(slots.values(slot).iter().flat_map(|value| value.to_le_bytes()));
        }
        out.write_all(&row)?;
    }
    Ok(())
}

fn put_text(row: &mut Vec<u8>, text: &str) -> io::Result<()> {
    row.extend_from_slice(&u32_of(text.len())?.to_le_bytes());
    row.extend_from_slice(text.as_bytes());
    Ok(())
}

fn u32_of(number: usize) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| io::Error::other("over four billion"))
}

fn read_slots(bytes: &[u8], count: u64, dimension: usize, has_graph: bool) -> Option<Slots> {
    let mut fields = Fields { bytes };
    let mut slots = Slots::new(dimension);
    for _ in 0..count {
        let generation = fields.u32()?;
        let content = if fields.u8()? == 0 { None } else { Some(read_vector(&mut fields, dimension, has_graph)?) };
        slots.restore(generation, content);
    }
    fields.bytes.is_empty().then_some(slots)
}

fn read_vector(fields: &mut Fields<'_>, dimension: usize, has_graph: bool) -> Option<(Meta, Vec<f32>)> {
    let in_graph = fields.u8()? != 0 && has_graph;
    let timestamp_ms = fields.u64()?.cast_signed();
    let (id, source): (Arc<str>, Arc<str>) = (fields.text()?.into(), fields.text()?.into());
    let symbols = (0..fields.u32()?).map(|_| Some(fields.text()?.to_owned())).collect::<Option<Vec<_>>>()?;
    let values = fields.take(dimension.checked_mul(4)?)?;
    let values = values.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    Some((Meta { id, timestamp_ms, source, symbols: symbols.into(), epoch: 0, in_graph }, values))
}

/// Bytes still to be read.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut array = [0; N];
        self.take(N)?.read_exact(&mut array).ok()?;
        Some(array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.take(length)?).ok()
    }
}
