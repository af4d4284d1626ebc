//! Following WebSocket frames by their headers (RFC 6455, section 5.2), without holding a byte back: where one ends, a
//! frame of the front door's own may go between.

/// Where a stream of frames stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    /// The beginning of a header of which not all is there.
    head: [u8; 10],
    have: u8,
    /// Bytes of payload (and mask) that are still to come.
    rest: u64,
    closed: bool,
}

const CLOSE: u8 = 8;

impl Frames {
    /// These bytes have passed.
    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let skipped = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[skipped..];
                self.rest -= skipped as u64;
                continue;
            }
            self.head[usize::from(self.have)] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if usize::from(self.have) >= self.header_length() {
                self.header();
            }
        }
    }

    /// Of the header that has begun, without its mask; two bytes tell.
    fn header_length(&self) -> usize {
        match (self.have, self.head[1] & 0x7f) {
            (0 | 1, _) => 2,
            (_, 126) => 4,
            (_, 127) => 10,
            _ => 2,
        }
    }

    fn header(&mut self) {
        let length = match self.head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => self.head[2..].iter().fold(0, |length, byte| (length << 8) | u64::from(*byte)),
            short => u64::from(short),
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        self.closed |= self.head[0] & 0x0f == CLOSE;
        self.rest = length.saturating_add(mask);
        self.have = 0;
    }

    /// Between two frames, the sender not having said its last: a close frame may go here.
    pub(super) fn may_close(&self) -> bool {
        self.have == 0 && self.rest == 0 && !self.closed
    }
}

/// A close frame from a server, with a code of RFC 6455, section 7.4.1.
pub(super) fn close(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x80 | CLOSE, 2, high, low]
}

/// The space ends, or its app does.
pub(super) const GOING_AWAY: u16 = 1001;
/// The viewer's session is over.
pub(super) const POLICY: u16 = 1008;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..=125 => frame.push(mask | u8::try_from(length).unwrap()),
            126..=65_535 => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0x81, length + if masked { 4 } else { 0 }));
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
                all.extend(frame(2, masked, length));
                ends.push(all.len());
            }
            let (mut frames, mut passed) = (Frames::default(), 0);
            for chunk in all.chunks(cut) {
                prop_assert_eq!(frames.may_close(), ends.contains(&passed));
                frames.passed(chunk);
                passed += chunk.len();
            }
            prop_assert!(frames.may_close());
        }
    }

    #[test]
    fn after_a_close_frame_there_is_no_other() {
        let mut frames = Frames::default();
        frames.passed(&close(GOING_AWAY));
        assert!(!frames.may_close());
        assert_eq!(close(GOING_AWAY), [0x88, 2, 0x03, 0xe9]);
    }
}
