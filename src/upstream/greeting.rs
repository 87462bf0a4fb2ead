//! The first frame of an HTTP/2 server, its SETTINGS (RFC 9113 section 3.4): how many streams it takes,
//! whether it knows extended CONNECT, and whether it speaks HTTP/2 at all.
//!
//! The HTTP library tells neither before a request was sent, so the frame is read as it passes by. What
//! later SETTINGS change is the library's to keep: it queues what the upstream does not take.

use tokio::sync::watch;

/// Type, flags, stream and length of a frame.
const FRAME_HEAD: usize = 9;
/// The largest first frame that is read: more settings than have ever been defined.
const MAX_PAYLOAD: usize = 64 * SETTING;
/// An identifier and a value.
const SETTING: usize = 6;
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// What a server has said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Nothing yet.
    Awaited,
    /// Its SETTINGS.
    Settings {
        /// Streams at a time; `u32::MAX` where it names no limit.
        max_streams: u32,
        /// RFC 8441.
        extended_connect: bool,
    },
    /// Something else, or nothing at all.
    Foreign,
}

/// Hears the first frame pass by.
#[derive(Debug)]
pub(super) struct Listener {
    heard: Vec<u8>,
    tell: watch::Sender<Greeting>,
}

impl Listener {
    pub(super) fn new() -> (Self, watch::Receiver<Greeting>) {
        let (tell, told) = watch::channel(Greeting::Awaited);
        (Self { heard: Vec::new(), tell }, told)
    }

    /// Whether enough was heard.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> bool {
        let room = (FRAME_HEAD + MAX_PAYLOAD).saturating_sub(self.heard.len());
        self.heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let greeting = understood(&self.heard);
        if greeting != Greeting::Awaited {
            self.tell.send_replace(greeting);
        }
        greeting != Greeting::Awaited
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tell.send_if_modified(|greeting| {
            let unheard = *greeting == Greeting::Awaited;
            if unheard {
                *greeting = Greeting::Foreign;
            }
            unheard
        });
    }
}

fn understood(heard: &[u8]) -> Greeting {
    let Some((head, payload)) = heard.split_at_checked(FRAME_HEAD) else {
        return if b"HTTP/1.".iter().zip(heard).all(|(a, b)| a == b) && heard.len() >= 7 {
            Greeting::Foreign
        } else {
            Greeting::Awaited
        };
    };
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let is_settings = head[3..] == [SETTINGS, 0, 0, 0, 0, 0] && length % SETTING == 0 && length <= MAX_PAYLOAD;
    if !is_settings {
        return Greeting::Foreign;
    }
    let Some(payload) = payload.get(..length) else { return Greeting::Awaited };
    let (mut max_streams, mut extended_connect) = (u32::MAX, false);
    for setting in payload.chunks_exact(SETTING) {
        let id = u16::from_be_bytes([setting[0], setting[1]]);
        let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
        match id {
            MAX_CONCURRENT_STREAMS => max_streams = value,
            ENABLE_CONNECT_PROTOCOL => extended_connect = value == 1,
            _ => {}
        }
    }
    Greeting::Settings { max_streams, extended_connect }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(parts: &[&[u8]]) -> Greeting {
        let (mut listener, told) = Listener::new();
        for part in parts {
            if listener.hear(part) {
                break;
            }
        }
        *told.borrow()
    }

    #[test]
    fn reads_settings_however_they_arrive_and_nothing_else() {
        let none = Greeting::Settings { max_streams: u32::MAX, extended_connect: false };
        let frame = [0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 7, 0, 8, 0, 0, 0, 1];
        let both = Greeting::Settings { max_streams: 7, extended_connect: true };
        assert_eq!(heard(&[&frame]), both);
        assert_eq!(heard(&frame.chunks(1).collect::<Vec<_>>()), both);
        assert_eq!(heard(&[&frame[..20]]), Greeting::Awaited);
        assert_eq!(heard(&[&[0, 0, 0, 4, 0, 0, 0, 0, 0], b"whatever follows"]), none);
        for foreign in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"HTTP/1.",
            &[0, 0, 0, 4, 1, 0, 0, 0, 0],
            &[0, 0, 5, 4, 0, 0, 0, 0, 0],
            &[0, 0, 4, 3, 0, 0, 0, 0, 1],
            &[255, 255, 252, 4, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(heard(&[foreign]), Greeting::Foreign, "{foreign:?}");
        }
    }

    #[test]
    fn a_server_that_says_nothing_speaks_something_else() {
        let (listener, told) = Listener::new();
        drop(listener);
        assert_eq!(*told.borrow(), Greeting::Foreign);
    }
}
