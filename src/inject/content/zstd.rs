//! Zstandard (RFC 8878), piece by piece: `ruzstd` decodes; what is written back stands in blocks
//! that are not compressed.
//!
//! Both are Rust, so that what they held is wiped like everything else. KNOWN GAP: a content that was
//! changed goes out as long as it is uncoded.

use std::io::{self, Write};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::inject::Plaintext;

/// The largest window that a content may ask for (RFC 9659 section 3).
const MAX_WINDOW: u64 = 8 * 1024 * 1024;
/// The longest block.
const MAX_BLOCK: usize = 128 * 1024;
/// The magic number, one segment without a size or checksum, and a window of 128 KiB.
const FRAME: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];

/// Writes on what is decoded.
pub(super) struct ZstdDecoder<W> {
    output: W,
    frame: FrameDecoder,
    place: Place,
    /// A checksum follows the last block of this frame.
    has_checksum: bool,
    /// What came and is not decoded.
    pending: Vec<u8>,
}

enum Place {
    /// Before a frame.
    Between,
    Within,
    /// Within so many bytes that say nothing.
    Skipping(u64),
}

impl<W: Write> ZstdDecoder<W> {
    pub(super) fn new(output: W) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(MAX_WINDOW);
        Self { output, frame, place: Place::Between, has_checksum: false, pending: Vec::new() }
    }

    pub(super) fn get_mut(&mut self) -> &mut W {
        &mut self.output
    }

    /// That the content has come to its end.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        while self.advance(true)? {}
        match self.place {
            Place::Between if self.pending.is_empty() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// One step, if what came is enough; whether another may follow.
    fn advance(&mut self, is_last: bool) -> io::Result<bool> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        match self.place {
            Place::Between if !has_header(&self.pending) && !is_last => Ok(false),
            Place::Between => self.header().map(|()| true),
            Place::Within => self.block(),
            Place::Skipping(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.pending.len());
                self.pending.drain(..count);
                let left = left - count as u64;
                self.place = if left == 0 { Place::Between } else { Place::Skipping(left) };
                Ok(true)
            }
        }
    }

    fn header(&mut self) -> io::Result<()> {
        self.has_checksum = self.pending.get(4).is_some_and(|descriptor| descriptor & 4 != 0);
        let mut source = self.pending.as_slice();
        let begun = self.frame.reset(&mut source);
        let left = source.len();
        self.pending.drain(..self.pending.len() - left);
        self.place = match begun {
            Ok(()) => Place::Within,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                Place::Skipping(u64::from(length))
            }
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(())
    }

    fn block(&mut self) -> io::Result<bool> {
        let [a, b, c, ..] = self.pending[..] else { return Ok(false) };
        let header = u32::from(a) | u32::from(b) << 8 | u32::from(c) << 16;
        let size = usize::try_from(header >> 3).unwrap_or(usize::MAX);
        // One that is repeated takes one byte; a checksum may follow the last one.
        let length = if header >> 1 & 3 == 1 { 1 } else { size };
        let checksum = if header & 1 == 1 && self.has_checksum { 4 } else { 0 };
        if size > MAX_BLOCK {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.pending.len() < 3 + length + checksum {
            return Ok(false);
        }
        let mut source = self.pending.as_slice();
        self.frame.decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1)).map_err(|_| io::ErrorKind::InvalidData)?;
        let left = source.len();
        self.pending.drain(..self.pending.len() - left);
        self.frame.collect_to_writer(&mut self.output)?;
        if self.frame.is_finished() {
            let wanted = self.frame.get_checksum_from_data();
            if wanted.is_some() && wanted != self.frame.get_calculated_checksum() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.place = Place::Between;
        }
        Ok(true)
    }
}

/// Whether the header of a frame is whole (RFC 8878 section 3.1.1.1), or of one that is skipped.
fn has_header(bytes: &[u8]) -> bool {
    let [magic, b, c, d, descriptor, ..] = bytes else { return false };
    if magic & 0xf0 == 0x50 && [*b, *c, *d] == [0x2a, 0x4d, 0x18] {
        return bytes.len() >= 8;
    }
    let is_single = descriptor & 0x20 != 0;
    let window = usize::from(!is_single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = [usize::from(is_single), 2, 4, 8][usize::from(descriptor >> 6)];
    bytes.len() >= 5 + window + dictionary + size
}

impl<W: Write> Write for ZstdDecoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        while self.advance(false)? {}
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a frame of blocks that are as they are.
#[derive(Default)]
pub(super) struct ZstdEncoder {
    has_begun: bool,
}

impl ZstdEncoder {
    pub(super) fn push(&mut self, bytes: &[u8], output: &mut Plaintext) {
        self.begin(output);
        for block in bytes.chunks(MAX_BLOCK) {
            self.block(block, false, output);
        }
    }

    pub(super) fn finish(&mut self, output: &mut Plaintext) {
        self.begin(output);
        self.block(b"", true, output);
    }

    fn begin(&mut self, output: &mut Plaintext) {
        if !self.has_begun {
            output.extend_from_slice(&FRAME);
            self.has_begun = true;
        }
    }

    fn block(&self, block: &[u8], is_last: bool, output: &mut Plaintext) {
        debug_assert!(self.has_begun && block.len() <= MAX_BLOCK, "the caller sees to both");
        let header = (block.len() << 3) | usize::from(is_last);
        output.extend_from_slice(&header.to_le_bytes()[..3]);
        output.extend_from_slice(block);
    }
}
