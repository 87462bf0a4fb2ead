//! Content codings put on again, piece by piece. Everything here holds values: what is let go is
//! wiped, by `Zeroizing` or by the allocator.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::coding::ContentCoding;
use super::zstd::ZstdEncoder;
use crate::inject::Plaintext;

/// Little work for most of the gain.
const LEVEL: Compression = Compression::new(3);
const BROTLI_LEVEL: u32 = 3;
/// A window of 256 KiB.
const BROTLI_WINDOW: u32 = 18;
const BUFFER: usize = 4096;
/// So much is encoded at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// Puts every coding on, the one that was applied first first.
pub(in crate::inject) struct Encoding {
    stages: Vec<Encoder>,
    /// What was not handed to them yet. They get everything in pieces of one size, so that the same bytes
    /// come out however it came.
    pending: Plaintext,
}

enum Encoder {
    Gzip(GzEncoder<Plain>),
    Zlib(ZlibEncoder<Plain>),
    RawDeflate(DeflateEncoder<Plain>),
    Brotli(Box<brotli::CompressorWriter<Plain>>),
    Zstd(ZstdEncoder),
}

/// Where an encoder writes to.
#[derive(Default)]
struct Plain(Plaintext);

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is done with the bytes that an encoder has taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Wait,
    /// All of them can be read by whoever decodes.
    Flush,
    Finish,
}

impl Encoding {
    /// In the forms that were decoded.
    pub(in crate::inject) fn of(forms: &[(ContentCoding, bool)]) -> Self {
        let stages = forms.iter().map(|(coding, is_raw)| Encoder::of(*coding, *is_raw)).collect();
        Self { stages, pending: Plaintext::new(Vec::with_capacity(PIECE)) }
    }

    /// What is to be sent for some more bytes; it may come later.
    pub(in crate::inject) fn push(&mut self, bytes: &[u8]) -> Plaintext {
        let (mut rest, mut written) = (bytes, Plaintext::default());
        while self.pending.len() + rest.len() >= PIECE {
            let (more, after) = rest.split_at(PIECE - self.pending.len());
            rest = after;
            self.pending.extend_from_slice(more);
            written.extend_from_slice(&self.run(Then::Wait));
        }
        self.pending.extend_from_slice(rest);
        written
    }

    /// What is to be sent so that everything can be decoded that was taken.
    pub(in crate::inject) fn flush(&mut self) -> Plaintext {
        self.run(Then::Flush)
    }

    /// The end.
    pub(in crate::inject) fn finish(&mut self) -> Plaintext {
        self.run(Then::Finish)
    }

    fn run(&mut self, then: Then) -> Plaintext {
        let mut bytes = std::mem::replace(&mut self.pending, Plaintext::new(Vec::with_capacity(PIECE)));
        for stage in &mut self.stages {
            bytes = stage.run(&bytes, then);
        }
        bytes
    }
}

impl Encoder {
    fn of(coding: ContentCoding, is_raw: bool) -> Self {
        let plain = Plain::default();
        match coding {
            ContentCoding::Gzip => Self::Gzip(GzEncoder::new(plain, LEVEL)),
            ContentCoding::Deflate if is_raw => Self::RawDeflate(DeflateEncoder::new(plain, LEVEL)),
            ContentCoding::Deflate => Self::Zlib(ZlibEncoder::new(plain, LEVEL)),
            ContentCoding::Brotli => {
                Self::Brotli(Box::new(brotli::CompressorWriter::new(plain, BUFFER, BROTLI_LEVEL, BROTLI_WINDOW)))
            }
            ContentCoding::Zstd => Self::Zstd(ZstdEncoder::default()),
        }
    }

    fn run(&mut self, bytes: &[u8], then: Then) -> Plaintext {
        if let Self::Zstd(encoder) = self {
            let mut written = Plaintext::default();
            encoder.push(bytes, &mut written);
            if then == Then::Finish {
                encoder.finish(&mut written);
            }
            return written;
        }
        // Writing to memory does not fail.
        let _ = self.write(bytes, then);
        self.written()
    }

    fn write(&mut self, bytes: &[u8], then: Then) -> io::Result<()> {
        let encoder: &mut dyn Write = match self {
            Self::Gzip(encoder) => encoder,
            Self::Zlib(encoder) => encoder,
            Self::RawDeflate(encoder) => encoder,
            Self::Brotli(encoder) => encoder.as_mut(),
            Self::Zstd(_) => return Ok(()),
        };
        encoder.write_all(bytes)?;
        match then {
            Then::Wait => Ok(()),
            Then::Flush => encoder.flush(),
            Then::Finish => self.finish(),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.try_finish(),
            Self::Zlib(encoder) => encoder.try_finish(),
            Self::RawDeflate(encoder) => encoder.try_finish(),
            Self::Brotli(encoder) => {
                // It writes its end when it is let go, and hands what it wrote over in no other way.
                let ended = std::mem::replace(
                    encoder.as_mut(),
                    brotli::CompressorWriter::new(Plain::default(), BUFFER, BROTLI_LEVEL, BROTLI_WINDOW),
                );
                *encoder.get_mut() = ended.into_inner();
                Ok(())
            }
            Self::Zstd(_) => Ok(()),
        }
    }

    fn written(&mut self) -> Plaintext {
        let plain = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zlib(encoder) => encoder.get_mut(),
            Self::RawDeflate(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(_) => return Plaintext::default(),
        };
        std::mem::take(&mut plain.0)
    }
}
