//! Messages between two processes of this machine, with descriptors beside them (`SCM_RIGHTS`): what one holds open, the
//! other goes on with.
//!
//! A message is its length in four bytes, big-endian, and JSON; its descriptors come with its first byte, in their order.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The longest message.
const LONGEST: usize = 4 << 20;
/// The descriptors of one message; the kernel takes 253.
pub const MOST: usize = 64;
/// What is read at a time.
const PIECE: usize = 64 * 1024;

/// The end that sends.
#[derive(Clone)]
pub struct Sending(Arc<UnixStream>);

/// The end that receives.
pub struct Receiving {
    stream: Arc<UnixStream>,
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

/// Both ends of a connection.
pub fn ends(stream: UnixStream) -> (Sending, Receiving) {
    let stream = Arc::new(stream);
    (Sending(Arc::clone(&stream)), Receiving { stream, bytes: Vec::new(), descriptors: VecDeque::new() })
}

impl Sending {
    /// Sends one message with at most [`MOST`] descriptors, which stay open here. One at a time: not cancel safe.
    pub async fn send<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length as usize <= LONGEST);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let bytes = [&length.to_be_bytes()[..], &text].concat();
        let mut sent = 0;
        while sent < bytes.len() {
            let descriptors = if sent == 0 { descriptors } else { &[] };
            sent += self.0.async_io(Interest::WRITABLE, || put(&self.0, &bytes[sent..], descriptors)).await?;
        }
        Ok(())
    }
}

fn put(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

impl Receiving {
    /// The next message; `None` when the other end has closed between two. Cancel safe.
    pub async fn receive<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(Some(serde_json::from_slice(&message)?));
            }
            let stream = Arc::clone(&self.stream);
            let taken = stream.async_io(Interest::READABLE, || self.take_in()).await?;
            match (taken, self.bytes.is_empty()) {
                (0, true) => return Ok(None),
                (0, false) => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    /// The next `count` descriptors of the messages that were received.
    pub fn descriptors(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if count > self.descriptors.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "descriptors are missing; is the limit on open files reached?",
            ));
        }
        Ok(self.descriptors.drain(..count).collect())
    }

    fn whole(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(length) = self.bytes.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize) else {
            return Ok(None);
        };
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        Ok(Some(self.bytes.drain(..4 + length).skip(4).collect()))
    }

    fn take_in(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut piece = vec![0; PIECE];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let taken = recvmsg(&*self.stream, &mut [IoSliceMut::new(&mut piece)], &mut beside, flags)?.bytes;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.bytes.extend_from_slice(&piece[..taken]);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[tokio::test]
    async fn descriptors_come_with_their_messages_however_much_is_sent_at_once() {
        let (near, far) = UnixStream::pair().expect("a pair");
        let ((sending, other_way), (_, mut receiving)) = (ends(near), ends(far));
        let (one, mut other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let long = "x".repeat(3 << 20);
        let sent = tokio::spawn(async move {
            sending.send(&"first", &[]).await.expect("sent");
            sending.send(&"second", &[one.as_fd(), one.as_fd()]).await.expect("sent");
            sending.send(&long, &[]).await.expect("sent");
            sending.send(&"last", &[one.as_fd()]).await.expect("sent");
            assert!(sending.send(&"x".repeat(LONGEST), &[]).await.is_err(), "too long");
        });
        assert_eq!(receiving.receive::<String>().await.expect("received").as_deref(), Some("first"));
        assert_eq!(receiving.receive::<String>().await.expect("received").as_deref(), Some("second"));
        let mut files = receiving.descriptors(2).expect("both").into_iter().map(std::os::unix::net::UnixStream::from);
        files.next().expect("there").write_all(b"here").expect("the same socket");
        let mut buffer = [0; 4];
        other.read_exact(&mut buffer).expect("it came");
        assert_eq!(&buffer, b"here");
        assert_eq!(receiving.receive::<String>().await.expect("received").map(|long| long.len()), Some(3 << 20));
        assert_eq!(receiving.receive::<String>().await.expect("received").as_deref(), Some("last"));
        assert_eq!(receiving.descriptors(1).expect("one").len(), 1);
        assert!(receiving.descriptors(1).is_err(), "there are no more");
        sent.await.expect("all was sent");
        drop(other_way);
        assert_eq!(receiving.receive::<String>().await.expect("an end in order"), None);
    }
}
