//! Following WebSocket frames by their headers (RFC 6455, section 5.2), without holding a byte back: where one ends, a
//! frame of the front door's own may go between.
//!
//! What breaks the rules is for the peer to judge: its bytes pass, but from there on nobody can be sure where a frame
//! ends, so the position is lost, for good.

use crate::model::traffic::NO_CODE;

const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const MASKED: u8 = 0x80;
/// The longest payload of a control frame.
const CONTROL: u64 = 125;
/// The longest header: two bytes, a length of eight, a mask of four.
const HEADER: usize = 14;

/// Where one side's stream of frames stands.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    /// The beginning of a header of which not all is there.
    head: [u8; HEADER],
    have: u8,
    /// A client's frames are masked, and only they.
    masked: bool,
    /// A fragmented message has begun and not ended.
    in_message: bool,
    lost: bool,
    /// The code of a close frame; its first two bytes until both are there.
    closed: Option<u16>,
    frame: Frame,
    /// Bytes of the frame's payload that are still to come.
    rest: u64,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frame {
    /// The bits and the opcode.
    first: u8,
    /// All zero: none.
    mask: [u8; 4],
    pub(super) length: u64,
}

/// A stretch of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Of a header that goes on.
    Head,
    /// The rest of a header: a frame begins, whose payload (if any) follows.
    Begun,
    /// Of a payload, and how far behind its beginning.
    Payload(u64),
    /// The position is lost.
    Unread,
}

impl Frames {
    pub(super) fn of_client() -> Frames {
        Frames::new(true)
    }

    pub(super) fn of_app() -> Frames {
        Frames::new(false)
    }

    fn new(masked: bool) -> Frames {
        Frames {
            head: [0; HEADER],
            have: 0,
            masked,
            in_message: false,
            lost: false,
            closed: None,
            frame: Frame::default(),
            rest: 0,
        }
    }

    /// Takes the next stretch from the front of `bytes`, which are not none; returns its length and what it is.
    pub(super) fn step(&mut self, bytes: &[u8]) -> (usize, Part) {
        if self.lost {
            return (bytes.len(), Part::Unread);
        }
        if self.rest > 0 {
            let taken = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
            let behind = self.frame.length - self.rest;
            self.rest -= taken as u64;
            if self.frame.opcode() == CLOSE {
                self.read_code(&bytes[..taken], behind);
            }
            return (taken, Part::Payload(behind));
        }
        let mut taken = 0;
        while taken < bytes.len() {
            self.head[usize::from(self.have)] = bytes[taken];
            self.have += 1;
            taken += 1;
            if usize::from(self.have) == self.header_length() {
                self.begin();
                return (taken, if self.lost { Part::Unread } else { Part::Begun });
            }
        }
        (taken, Part::Head)
    }

    /// These bytes have passed.
    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, _) = self.step(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// As far as the first place in `bytes` where a frame may be put in; `None`: there is none.
    pub(super) fn pass_to_gap(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            at += self.step(&bytes[at..]).0;
            if self.is_between() {
                return Some(at);
            }
        }
        None
    }

    /// Of the header that has begun; two bytes tell.
    fn header_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        length + if self.head[1] & MASKED == 0 { 0 } else { 4 }
    }

    /// The header is whole.
    fn begin(&mut self) {
        let (head, have) = (self.head, usize::from(self.have));
        let length = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([head[2], head[3]])),
            127 => head[2..10].iter().fold(0, |length, byte| (length << 8) | u64::from(*byte)),
            short => u64::from(short),
        };
        let masked = head[1] & MASKED != 0;
        let mask = if masked { [head[have - 4], head[have - 3], head[have - 2], head[have - 1]] } else { [0; 4] };
        self.frame = Frame { first: head[0], mask, length };
        self.have = 0;
        self.rest = length;
        self.lost = masked != self.masked || length >> 63 != 0 || !self.may_follow();
        if self.frame.is_data() {
            self.in_message = head[0] & FIN == 0;
        }
        if self.frame.opcode() == CLOSE && !self.lost {
            self.closed = Some(if length == 0 { NO_CODE } else { 0 });
        }
    }

    /// Is the frame one that may stand here?
    fn may_follow(&self) -> bool {
        let frame = &self.frame;
        let reserved = frame.first & 0x30 != 0;
        let control = frame.first & FIN != 0 && frame.first & COMPRESSED == 0 && frame.length <= CONTROL;
        let known = match frame.opcode() {
            CONTINUATION => self.in_message && frame.first & COMPRESSED == 0,
            1 | 2 => !self.in_message,
            CLOSE | PING | PONG => control,
            _ => false,
        };
        known && !reserved && self.closed.is_none()
    }

    fn read_code(&mut self, payload: &[u8], behind: u64) {
        let code = self.closed.get_or_insert(0);
        for (byte, nth) in payload.iter().zip(behind..2) {
            *code = *code << 8 | u16::from(byte ^ self.frame.mask[nth as usize]);
        }
    }

    /// Between two frames: one of our own may go here, be it between the fragments of a message.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.rest == 0 && !self.lost
    }

    /// The position is known, and no close frame has passed: frames may still be put in somewhere.
    pub(super) fn is_open(&self) -> bool {
        !self.lost && self.closed.is_none()
    }

    /// The code of the close frame that has passed; [`NO_CODE`] for one without.
    pub(super) fn closed(&self) -> Option<u16> {
        self.closed
    }

    /// The frame that has begun last.
    pub(super) fn frame(&self) -> Frame {
        self.frame
    }

    /// The last byte that was taken ended a frame.
    pub(super) fn has_ended(&self) -> bool {
        self.rest == 0
    }
}

impl Frame {
    fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    fn is_data(&self) -> bool {
        self.opcode() <= 2
    }

    /// Begins a message, rather than going on with one.
    pub(super) fn begins_message(&self) -> bool {
        matches!(self.opcode(), 1 | 2)
    }

    /// Is the whole message, which only a reader of its extension can read.
    pub(super) fn is_whole(&self) -> bool {
        self.first & FIN != 0
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.first & COMPRESSED != 0
    }

    /// The bytes of the payload as they are meant; `behind` of it have been before.
    pub(super) fn unmasked<'a>(&self, payload: &'a [u8], behind: u64) -> impl Iterator<Item = u8> + 'a {
        let (mask, turn) = (self.mask, (behind & 3) as usize);
        payload.iter().enumerate().map(move |(nth, byte)| byte ^ mask[(turn + nth) & 3])
    }
}

/// A close frame from a server, with a code of RFC 6455, section 7.4.1.
pub(super) fn close(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [FIN | CLOSE, 2, high, low]
}

/// A close frame from a client. Its mask hides nothing, and there is nothing to hide.
pub(super) fn close_masked(code: u16) -> [u8; 8] {
    let [high, low] = code.to_be_bytes();
    [FIN | CLOSE, MASKED | 2, 0, 0, 0, 0, high, low]
}

/// What our pings carry, by which their pongs are known. New with each agent, since there may be another one on the
/// way to the client.
pub(super) type Sign = [u8; 12];

/// A ping from a server.
pub(super) fn ping(sign: &Sign) -> [u8; 2 + size_of::<Sign>()] {
    let mut frame = [0; 2 + size_of::<Sign>()];
    (frame[0], frame[1]) = (FIN | PING, size_of::<Sign>() as u8);
    frame[2..].copy_from_slice(sign);
    frame
}

/// The answer to [`ping`]: two bytes, a mask, the sign.
pub(super) const PONG_LENGTH: usize = 6 + size_of::<Sign>();

/// May `bytes` be, or become, the pong to a ping with this sign?
pub(super) fn may_be_pong(bytes: &[u8], sign: &Sign) -> bool {
    const START: [u8; 2] = [FIN | PONG, MASKED | size_of::<Sign>() as u8];
    let start = bytes.iter().zip(START).all(|(byte, wanted)| *byte == wanted);
    let (mask, payload) = (bytes.get(2..6).unwrap_or(&[]), bytes.get(6..).unwrap_or(&[]));
    let said = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    bytes.len() <= PONG_LENGTH && start && said.zip(sign).all(|(byte, wanted)| byte == *wanted)
}

/// The space ends, or its app does.
pub(super) const GOING_AWAY: u16 = 1001;
/// The viewer's session is over.
pub(super) const POLICY: u16 = 1008;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame as a client (with a mask) or a server sends it.
    pub(crate) fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        let masked = if mask.is_some() { MASKED } else { 0 };
        match payload.len() {
            length @ 0..=125 => frame.push(masked | length as u8),
            length @ 126..=65_535 => {
                frame.push(masked | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(masked | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask.unwrap_or_default().into_iter().take(if mask.is_some() { 4 } else { 0 }));
        let mask = mask.unwrap_or_default();
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    proptest! {
        #[test]
        fn a_close_frame_goes_exactly_between_frames_however_they_are_cut(
            lengths in proptest::collection::vec(prop_oneof![0usize..300, 65_530usize..70_000], 1..6),
            masked: bool,
            cut in 1usize..5000,
        ) {
            let (mut ends, mut all) = (vec![0], Vec::new());
            for length in lengths {
                all.extend(frame(0x82, masked.then_some([1, 2, 3, 0x81]), &vec![0x81; length]));
                ends.push(all.len());
            }
            let (mut frames, mut passed) = (Frames::new(masked), 0);
            for chunk in all.chunks(cut) {
                prop_assert_eq!(frames.is_between(), ends.contains(&passed));
                let before = frames.clone().pass_to_gap(chunk).map(|gap| passed + gap);
                frames.passed(chunk);
                let next = ends.iter().copied().find(|end| *end > passed && *end <= passed + chunk.len());
                prop_assert_eq!(before, next);
                passed += chunk.len();
            }
            prop_assert!(frames.is_between() && frames.is_open());
        }

        #[test]
        fn no_bytes_at_all_are_too_wild(bytes in proptest::collection::vec(any::<u8>(), 0..300), masked: bool) {
            let mut frames = Frames::new(masked);
            frames.passed(&bytes);
            let mut single = Frames::new(masked);
            bytes.iter().for_each(|byte| single.passed(&[*byte]));
            prop_assert_eq!(format!("{:?}", frames), format!("{:?}", single));
        }
    }

    #[test]
    fn after_a_close_frame_there_is_no_other() {
        let mut frames = Frames::of_app();
        frames.passed(&close(GOING_AWAY));
        assert!(frames.is_between() && !frames.is_open());
        assert_eq!(close(GOING_AWAY), [0x88, 2, 0x03, 0xe9]);
    }

    #[test]
    fn the_code_of_a_close_frame_is_read_on_either_side() {
        for (payload, code) in [(&b""[..], NO_CODE), (&[0x0f, 0xa1], 4001), (b"\x03\xf0reason", 1008)] {
            for mask in [None, Some([9, 8, 7, 6])] {
                let bytes = frame(0x88, mask, payload);
                for cut in 1..=bytes.len() {
                    let mut frames = Frames::new(mask.is_some());
                    bytes.chunks(cut).for_each(|chunk| frames.passed(chunk));
                    assert_eq!(frames.closed(), Some(code), "{payload:?} {mask:?} in pieces of {cut}");
                }
            }
        }
        let mut frames = Frames::of_client();
        frames.passed(&close_masked(POLICY));
        assert_eq!(frames.closed(), Some(POLICY));
    }

    #[test]
    fn what_breaks_the_rules_loses_the_position_and_what_keeps_them_does_not() {
        let long = frame(0x89, None, &[0; 126]);
        let cases: [(&str, &[u8], bool); 17] = [
            ("text", &[0x81, 1, b'a'], true),
            ("compressed", &[0xc1, 1, b'a'], true),
            ("fragments with a ping between", &[0x01, 0, 0x89, 0, 0x00, 0, 0x80, 0], true),
            ("a length that is longer than it must be", &[0x81, 126, 0, 1, b'a'], true),
            ("a masked frame of a server", &[0x81, 0x80, 0, 0, 0, 0], false),
            ("reserved opcode of data", &[0x83, 0], false),
            ("reserved opcode of control", &[0x8b, 0], false),
            ("reserved bit 2", &[0xa1, 0], false),
            ("reserved bit 3", &[0x91, 0], false),
            ("a compressed continuation", &[0x01, 0, 0x40, 0], false),
            ("a compressed ping", &[0xc9, 0], false),
            ("a fragmented ping", &[0x09, 0], false),
            ("a long ping", &long, false),
            ("a continuation of nothing", &[0x80, 0], false),
            ("a message within a message", &[0x01, 0, 0x81, 0], false),
            ("a frame behind a close", &[0x88, 0, 0x81, 0], false),
            ("a negative length", &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], false),
        ];
        for (what, bytes, kept) in cases {
            let mut frames = Frames::of_app();
            frames.passed(bytes);
            assert_eq!(!frames.lost, kept, "{what}");
        }
    }

    #[test]
    fn a_pong_is_known_by_its_sign() {
        let sign = *b"0123456789ab";
        let pong = frame(0x8a, Some([5, 6, 7, 8]), &sign);
        assert!((0..=PONG_LENGTH).all(|length| may_be_pong(&pong[..length], &sign)));
        assert_eq!(pong.len(), PONG_LENGTH);
        for (nth, byte) in pong.iter().enumerate().filter(|(nth, _)| !(2..6).contains(nth)) {
            let mut other = pong.clone();
            other[nth] = byte ^ 1;
            assert!(!may_be_pong(&other, &sign) && !may_be_pong(&other[..=nth], &sign), "{nth}");
        }
        let mut frames = Frames::of_app();
        frames.passed(&ping(&sign));
        assert!(frames.is_between() && frames.is_open());
    }
}
