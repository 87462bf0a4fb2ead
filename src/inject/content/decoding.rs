//! Content codings taken off, piece by piece, within bounds.
//!
//! What comes out may be [`RATIO`] times what went in and [`SLACK`] bytes more; beyond that the
//! content is a bomb and refused, unless nothing of what comes out is held. One that does not decode is refused too: nobody can tell what is in it.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::coding::ContentCoding;
use super::window::Sink;
use super::zstd::ZstdDecoder;
use crate::inject::{Code, Refusal};

/// How many times larger a content may become. Text seldom reaches 20.
const RATIO: u64 = 100;
/// And so many bytes more, so that short contents may be any.
const SLACK: u64 = 1024 * 1024;
/// So much is decoded at a time, in bytes: what comes out of it is held.
const PIECE: usize = 4 * 1024;
/// And so much may come out of that: twice the largest window.
const BURST: usize = 16 * 1024 * 1024;

/// Where decoded bytes go; the last time with `true`.
pub(in crate::inject) type Decoded<'s> = &'s mut dyn FnMut(&[u8], bool) -> Result<(), Refusal>;

/// Takes every coding off.
pub(in crate::inject) struct Decoding {
    /// The one that was applied last comes first.
    stages: Vec<Stage>,
    received: u64,
    /// Whether it matters how much comes out altogether.
    is_bounded: bool,
}

struct Stage {
    decoder: Decoder,
    decoded: u64,
}

/// Where decoded bytes go, and how many more there may be.
pub(super) struct Bounded {
    bytes: Vec<u8>,
    left: usize,
    is_full: bool,
}

impl Bounded {
    fn new() -> Self {
        Self { bytes: Vec::new(), left: 0, is_full: false }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.left -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    Gzip(MultiGzDecoder<Bounded>),
    /// The first bytes tell which form of deflate it is.
    Deflate(Vec<u8>),
    Zlib(ZlibDecoder<Bounded>),
    RawDeflate(DeflateDecoder<Bounded>),
    Brotli(Box<brotli::DecompressorWriter<Bounded>>),
    Zstd(Box<ZstdDecoder<Bounded>>),
}

impl Decoding {
    pub(in crate::inject) fn of(codings: &[ContentCoding]) -> Self {
        let stage = |coding: &ContentCoding| Stage { decoder: Decoder::of(*coding), decoded: 0 };
        Self { stages: codings.iter().rev().map(stage).collect(), received: 0, is_bounded: true }
    }

    /// Nothing of what comes out is held: only what comes out at once is bounded.
    pub(in crate::inject) fn streams(&mut self) {
        self.is_bounded = false;
    }

    /// Hands on what a piece decodes to; the last time with `true`.
    pub(in crate::inject) fn push(&mut self, piece: &[u8], is_last: bool, sink: Decoded<'_>) -> Result<(), Refusal> {
        for piece in piece.chunks(PIECE) {
            self.received += piece.len() as u64;
            let counted = self.counted();
            feed(&mut self.stages, counted, piece, &mut |bytes| sink(bytes, false))?;
        }
        if !is_last {
            return Ok(());
        }
        let counted = self.counted();
        for at in 0..self.stages.len() {
            // Nothing at all is nothing in any coding.
            let rest = if self.received == 0 { Vec::new() } else { self.stages[at].finish(counted)? };
            feed(&mut self.stages[at + 1..], counted, &rest, &mut |bytes| sink(bytes, false))?;
        }
        sink(b"", true)
    }

    fn counted(&self) -> u64 {
        if self.is_bounded { self.received } else { u64::MAX }
    }

    /// Whether anything came at all.
    pub(in crate::inject) fn has_begun(&self) -> bool {
        self.received > 0
    }

    /// The codings in the order they were applied, as they turned out to be written; and whether
    /// deflate stood without zlib's format.
    pub(in crate::inject) fn forms(&self) -> Vec<(ContentCoding, bool)> {
        let form = |stage: &Stage| match stage.decoder {
            Decoder::Gzip(_) => (ContentCoding::Gzip, false),
            Decoder::Deflate(_) | Decoder::Zlib(_) => (ContentCoding::Deflate, false),
            Decoder::RawDeflate(_) => (ContentCoding::Deflate, true),
            Decoder::Brotli(_) => (ContentCoding::Brotli, false),
            Decoder::Zstd(_) => (ContentCoding::Zstd, false),
        };
        self.stages.iter().rev().map(form).collect()
    }
}

/// Runs bytes through stages.
fn feed(stages: &mut [Stage], received: u64, bytes: &[u8], sink: Sink<'_>) -> Result<(), Refusal> {
    let Some((first, rest)) = stages.split_first_mut() else { return if bytes.is_empty() { Ok(()) } else { sink(bytes) } };
    for piece in bytes.chunks(PIECE) {
        let decoded = first.push(received, piece)?;
        feed(rest, received, &decoded, sink)?;
    }
    Ok(())
}

impl Stage {
    fn push(&mut self, received: u64, piece: &[u8]) -> Result<Vec<u8>, Refusal> {
        if let Decoder::Deflate(start) = &mut self.decoder {
            start.extend_from_slice(piece);
            if start.len() < 2 {
                return Ok(Vec::new());
            }
            let start = std::mem::take(start);
            self.decoder = Decoder::deflate(&start);
            return self.push(received, &start);
        }
        self.run(received, |decoder| decoder.write(piece))
    }

    fn finish(&mut self, received: u64) -> Result<Vec<u8>, Refusal> {
        self.run(received, Decoder::finish)
    }

    fn run(&mut self, received: u64, work: impl FnOnce(&mut Decoder) -> io::Result<()>) -> Result<Vec<u8>, Refusal> {
        let left = received.saturating_mul(RATIO).saturating_add(SLACK).saturating_sub(self.decoded);
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(BURST);
        if let Some(output) = self.decoder.output() {
            output.left = left;
        }
        let done = work(&mut self.decoder);
        let decoded = self.decoder.output().map(|output| (std::mem::take(&mut output.bytes), output.is_full));
        let (decoded, is_full) = decoded.unwrap_or_default();
        if is_full {
            return Err(bomb());
        }
        done.map_err(|_| broken())?;
        self.decoded += decoded.len() as u64;
        Ok(decoded)
    }
}

fn bomb() -> Refusal {
    let detail = format!(
        "The content may hold secret references, and with its coding taken off it is over {RATIO} times as long as without and {SLACK} bytes more. Send it uncoded, or send `Subrosa-Surfaces: path, query, header` to have it passed on unsearched."
    );
    Refusal::new(Code::BodyTooLarge, detail)
}

fn broken() -> Refusal {
    Refusal::malformed(
        "The content is not in the coding that Content-Encoding names, so it cannot be searched for secret references. Correct one of them, or send `Subrosa-Surfaces: path, query, header` to have it passed on unsearched.",
    )
}

impl Decoder {
    fn of(coding: ContentCoding) -> Self {
        match coding {
            ContentCoding::Gzip => Self::Gzip(MultiGzDecoder::new(Bounded::new())),
            ContentCoding::Deflate => Self::Deflate(Vec::new()),
            ContentCoding::Brotli => Self::Brotli(Box::new(brotli::DecompressorWriter::new(Bounded::new(), PIECE))),
            ContentCoding::Zstd => Self::Zstd(Box::new(ZstdDecoder::new(Bounded::new()))),
        }
    }

    /// Whether it begins with the two bytes of zlib's format (RFC 1950 section 2.2) decides.
    fn deflate(start: &[u8]) -> Self {
        let is_zlib = start[0] & 0x0f == 8 && (u16::from(start[0]) << 8 | u16::from(start[1])).is_multiple_of(31);
        if is_zlib { Self::Zlib(ZlibDecoder::new(Bounded::new())) } else { Self::RawDeflate(DeflateDecoder::new(Bounded::new())) }
    }

    fn output(&mut self) -> Option<&mut Bounded> {
        match self {
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Deflate(_) => None,
            Self::Zlib(decoder) => Some(decoder.get_mut()),
            Self::RawDeflate(decoder) => Some(decoder.get_mut()),
            Self::Brotli(decoder) => Some(decoder.get_mut()),
            Self::Zstd(decoder) => Some(decoder.get_mut()),
        }
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let decoder: &mut dyn Write = match self {
            Self::Gzip(decoder) => decoder,
            Self::Deflate(_) => return Ok(()),
            Self::Zlib(decoder) => decoder,
            Self::RawDeflate(decoder) => decoder,
            Self::Brotli(decoder) => decoder,
            Self::Zstd(decoder) => decoder,
        };
        decoder.write_all(piece)?;
        decoder.flush()
    }

    /// That the content has come to its end.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::RawDeflate(decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => decoder.close(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}
