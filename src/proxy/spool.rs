//! Contents that are too long to be held, in files that nobody else can open.
//!
//! What lies there is what the runner sent, never a value. A file has no name, so that it is gone with
//! the process, however that ends; how much lies on disk is bounded for all, and for each tenant.

use std::io::{self, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeekExt, AsyncWriteExt, ReadBuf};

use super::budget::Room;
use crate::inject::{Code, Refusal};

/// So much is written and read at a time, in bytes.
const PIECE: usize = 256 * 1024;
/// Room is taken in steps of this size, in bytes.
const STEP: u64 = 4 * 1024 * 1024;

/// A content on disk.
pub(super) struct Spool {
    file: File,
    length: u64,
    room: Room,
    reserved: u64,
    /// What is read into next.
    buffer: BytesMut,
}

impl Spool {
    /// An empty file in `directory`, which is made if it is not there.
    pub(super) async fn create(directory: &Path, room: Room) -> Result<Self, Refusal> {
        let directory = directory.to_owned();
        let made = tokio::task::spawn_blocking(move || {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            tempfile::tempfile_in(&directory)
        });
        let file = made.await.unwrap_or_else(|fault| Err(io::Error::other(fault))).map_err(|fault| no_disk(&fault))?;
        let mut file = File::from_std(file);
        file.set_max_buf_size(PIECE);
        Ok(Self { file, length: 0, room, reserved: 0, buffer: BytesMut::new() })
    }

    /// Writes more of the content.
    pub(super) async fn append(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let length = self.length + bytes.len() as u64;
        if length > self.reserved {
            let step = (length - self.reserved).max(STEP);
            self.room.grow(step)?;
            self.reserved += step;
        }
        self.length = length;
        self.file.write_all(bytes).await.map_err(|fault| no_disk(&fault))
    }

    /// How long the content is.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Goes to the beginning, to read it.
    pub(super) async fn rewind(&mut self) -> Result<(), Refusal> {
        // Writing errors may come as late as this.
        self.file.flush().await.map_err(|fault| no_disk(&fault))?;
        self.file.seek(SeekFrom::Start(0)).await.map_err(|fault| no_disk(&fault)).map(drop)
    }

    /// The next piece; empty at the end.
    pub(super) async fn read(&mut self) -> Result<Bytes, Refusal> {
        std::future::poll_fn(|cx| self.poll_read(cx)).await.map_err(|fault| no_disk(&fault))
    }

    /// The next piece; empty at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.buffer.resize(PIECE, 0);
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut self.file).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        Poll::Ready(Ok(self.buffer.split_to(count).freeze()))
    }
}

fn no_disk(fault: &io::Error) -> Refusal {
    tracing::warn!(%fault, "a content could not be spooled");
    let detail = "The content is over injection.buffer, and there is no room for it on the proxy's disk. Free some in data_dir, or set injection.oversize to \"stream\" or \"refuse\".";
    Refusal::new(Code::Overloaded, detail)
}
