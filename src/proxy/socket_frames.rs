//! WebSocket frames (RFC 6455 section 5): where one ends and the next begins, masks off and on, and
//! the frames that we write ourselves.

/// The longest payload of a control frame.
const MAX_CONTROL: u64 = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    /// Close, ping and pong.
    Control,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    /// How long the head is, and the payload after it, in bytes.
    pub(super) length: usize,
    pub(super) payload: u64,
    pub(super) mask: Option<[u8; 4]>,
}

/// A frame that no reader would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

impl Head {
    /// The head at the beginning of `bytes`; `None` if it is not whole.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Broken> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Broken("a reserved bit is set, and no extension was agreed on"));
        }
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8..=10 => Opcode::Control,
            _ => return Err(Broken("its opcode is unknown")),
        };
        let (payload, taken) = match (second & 0x7f, rest) {
            (126, [high, low, ..]) => (u64::from(u16::from_be_bytes([*high, *low])), 2),
            (127, rest) if rest.len() >= 8 => (rest[..8].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)), 8),
            (126 | 127, _) => return Ok(None),
            (length, _) => (u64::from(length), 0),
        };
        let is_final = first & 0x80 != 0;
        if opcode == Opcode::Control && (!is_final || payload > MAX_CONTROL) {
            return Err(Broken("a control frame is in pieces or too long"));
        }
        if payload > i64::MAX as u64 {
            return Err(Broken("its length is absurd"));
        }
        let is_masked = second & 0x80 != 0;
        let mask = match rest.get(taken..taken + 4) {
            _ if !is_masked => None,
            Some(&[a, b, c, d]) => Some([a, b, c, d]),
            _ => return Ok(None),
        };
        let length = 2 + taken + if is_masked { 4 } else { 0 };
        Ok(Some(Self { opcode, is_final, length, payload, mask }))
    }
}

/// Takes a mask off, or puts it on; `at` is where in the payload the bytes stand.
pub(super) fn mask(bytes: &mut [u8], key: [u8; 4], at: u64) {
    for (offset, byte) in bytes.iter_mut().enumerate() {
        *byte ^= key[(usize::try_from(at % 4).unwrap_or_default() + offset) % 4];
    }
}

/// A text message in one frame, masked by `key`.
pub(super) fn text(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0xfe);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(0xff);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&key);
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask(&mut frame[start..], key, 0);
    frame
}

/// A part of a text message in one frame, as a server writes it: the first, the last, or both.
pub(super) fn unmasked_text(payload: &[u8], is_first: bool, is_last: bool) -> Vec<u8> {
    let mut frame = vec![u8::from(is_first) | u8::from(is_last) << 7];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// A close frame with a status and a reason, cut where it has to be; masked towards a server.
pub(super) fn close(status: u16, reason: &str, key: Option<[u8; 4]>) -> Vec<u8> {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = status.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    // At most 125 bytes.
    let length = u8::try_from(payload.len()).unwrap_or(2);
    let mut frame = vec![0x88, length | if key.is_some() { 0x80 } else { 0 }];
    if let Some(key) = key {
        frame.extend_from_slice(&key);
        mask(&mut payload, key, 0);
    }
    frame.extend_from_slice(&payload);
    frame
}

/// Follows a stream of frames, to know where one may be put in between.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// A head that is not whole.
    head: Vec<u8>,
    /// How much of a payload is still to come.
    left: u64,
}

impl Follower {
    /// Whether the stream stands between two frames.
    pub(super) fn is_between(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    /// Goes over some bytes. With `to_end`, only to the end of the frame that is open; how many bytes
    /// that were.
    pub(super) fn pass(&mut self, bytes: &[u8], to_end: bool) -> Result<usize, Broken> {
        let mut at = 0;
        while at < bytes.len() && !(to_end && self.is_between()) {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= count as u64;
                at += count;
                continue;
            }
            self.head.push(bytes[at]);
            at += 1;
            if let Some(head) = Head::read(&self.head)? {
                self.head.clear();
                self.left = head.payload;
            }
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_heads_of_every_length_and_refuses_what_is_none() {
        let head =
            |bytes: &[u8]| Head::read(bytes).map(|head| head.map(|head| (head.opcode, head.is_final, head.length, head.payload)));
        assert_eq!(head(&[0x81, 0x85, 1, 2, 3, 4]), Ok(Some((Opcode::Text, true, 6, 5))));
        assert_eq!(head(&[0x02, 0x7e, 1, 0]), Ok(Some((Opcode::Binary, false, 4, 256))));
        assert_eq!(head(&[0x80, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]), Ok(Some((Opcode::Continuation, true, 10, 65_536))));
        for short in [&[][..], &[0x81], &[0x81, 0x85, 1, 2, 3], &[0x81, 0x7e, 1], &[0x81, 0x7f, 0, 0, 0, 0, 0, 1, 0]] {
            assert_eq!(head(short), Ok(None), "{short:?}");
        }
        for broken in [&[0xc1, 0][..], &[0x83, 0], &[0x09, 0], &[0x89, 0x7e, 0, 126], &[0x82, 0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(head(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn what_is_masked_is_read_again_and_reasons_are_cut_between_characters() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let frame = text(&payload, [1, 2, 3, 4]);
            let head = Head::read(&frame).expect("good").expect("whole");
            let mut read = frame[head.length..].to_vec();
            mask(&mut read, head.mask.expect("masked"), 0);
            assert_eq!((read, head.payload), (payload, length as u64));
        }
        for (payload, is_first, is_last, wanted) in [
            (&b"x"[..], true, true, &[0x81, 1, b'x'][..]),
            (b"x", true, false, &[0x01, 1, b'x']),
            (b"", false, false, &[0x00, 0]),
            (b"", false, true, &[0x80, 0]),
        ] {
            assert_eq!(unmasked_text(payload, is_first, is_last), wanted);
        }
        for length in [126, 65_536] {
            let frame = unmasked_text(&vec![b'x'; length], true, true);
            let head = Head::read(&frame).expect("good").expect("whole");
            assert_eq!((head.length + length, head.payload, head.mask), (frame.len(), length as u64, None));
        }
        let frame = close(1008, &"\u{e9}".repeat(100), None);
        assert_eq!((frame.len(), &frame[..4]), (2 + 2 + 122, &[0x88, 124, 0x03, 0xf0][..]));
    }

    #[test]
    fn a_follower_finds_the_end_of_a_frame_however_it_is_cut() {
        let frames = [text(b"hello", [9, 8, 7, 6]), close(1000, "", None), text(&[b'y'; 300], [1, 1, 1, 1])].concat();
        for step in [1, 2, 3, 7, 400] {
            let mut follower = Follower::default();
            let mut ends = Vec::new();
            for (index, piece) in frames.chunks(step).enumerate() {
                let mut at = 0;
                while at < piece.len() {
                    if follower.is_between() {
                        // One byte into the next frame.
                        follower.pass(&piece[at..=at], false).expect("good");
                        at += 1;
                    } else {
                        at += follower.pass(&piece[at..], true).expect("good");
                    }
                    if follower.is_between() {
                        ends.push(index * step + at);
                    }
                }
            }
            assert_eq!(ends, [11, 15, frames.len()], "in steps of {step}");
        }
    }
}
