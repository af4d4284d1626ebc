//! Watches what a client sends over its WebSocket: tells messages apart, and takes out the answers to our own pings.
//!
//! Nothing is held back, but for the bytes of what may be such an answer: less than one pong, and only after a ping.

use super::flow::ROOM;
use super::frames::{Frames, PONG_LENGTH, Part, Sign, may_be_pong};
use super::speech::Reader;
use crate::model::traffic::{Class, Speech};
use std::ops::Range;

/// A client's stream, as it is followed.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) frames: Frames,
    reader: Reader,
    /// The current frame begins a message.
    first: bool,
    /// What a pong to our pings carries, once there has been one.
    expected: Option<Sign>,
    /// The beginning of what may be such a pong.
    held: [u8; PONG_LENGTH],
    have: u8,
}

// What is held back finds room in front of what is read next.
const _: () = assert!(PONG_LENGTH <= ROOM);

impl Observer {
    pub(super) fn new(speech: Option<Speech>) -> Observer {
        Observer {
            frames: Frames::of_client(),
            reader: Reader::new(speech),
            first: false,
            expected: None,
            held: [0; PONG_LENGTH],
            have: 0,
        }
    }

    /// From now on pongs with this sign are answers to us.
    pub(super) fn expect(&mut self, sign: &Sign) {
        self.expected = Some(*sign);
    }

    /// Follows what was read: `buffer` from [`ROOM`] on; the room in front takes what was held back before. Each
    /// message's class goes to `count`. Returns where in the buffer that stands which goes on to the app.
    pub(super) fn pass(&mut self, buffer: &mut [u8], mut count: impl FnMut(Class)) -> Range<usize> {
        let have = usize::from(std::mem::take(&mut self.have));
        let (begin, mut end, mut at) = (ROOM - have, buffer.len(), ROOM);
        buffer[begin..ROOM].copy_from_slice(&self.held[..have]);
        // Where the frame begins that may be a pong to us.
        let mut suspect = (have > 0).then_some(begin);
        while at < end {
            if self.frames.is_between() && self.expected.is_some() {
                suspect = Some(at);
            }
            let (taken, part) = self.frames.step(&buffer[at..end]);
            self.read(part, &buffer[at..at + taken], &mut count);
            at += taken;
            suspect = suspect.filter(|start| self.is_suspect(&buffer[*start..at]));
            if let Some(start) = suspect.filter(|start| at - start == PONG_LENGTH) {
                buffer.copy_within(at..end, start);
                (end, at, suspect) = (end - PONG_LENGTH, start, None);
            }
        }
        if let Some(start) = suspect {
            self.have = (end - start) as u8;
            self.held[..end - start].copy_from_slice(&buffer[start..end]);
            end = start;
        }
        begin..end
    }

    fn is_suspect(&self, bytes: &[u8]) -> bool {
        self.expected.is_some_and(|sign| may_be_pong(bytes, &sign))
    }

    fn read(&mut self, part: Part, bytes: &[u8], count: &mut impl FnMut(Class)) {
        let frame = self.frames.frame();
        let class = match part {
            Part::Head | Part::Unread => return,
            Part::Begun => {
                self.first = frame.begins_message();
                if self.first { self.reader.begin(&frame) } else { None }
            }
            Part::Payload(behind) if self.first => self.reader.feed(frame.unmasked(bytes, behind)),
            Part::Payload(_) => None,
        };
        class.into_iter().for_each(&mut *count);
        if self.first && self.frames.has_ended() {
            self.reader.end().into_iter().for_each(count);
        }
    }

    /// The client has ended: what was held back is all that there will be.
    pub(super) fn last(&mut self) -> &[u8] {
        &self.held[..usize::from(std::mem::take(&mut self.have))]
    }

    /// Nothing is held back, so that a frame of our own may go to the app here.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.frames.is_between()
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::frame;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const SIGN: Sign = *b"0123456789ab";

    /// What goes on to the app, and the classes.
    fn run(observer: &mut Observer, stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<Class>) {
        let (mut out, mut classes, mut rest) = (Vec::new(), Vec::new(), stream);
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
            rest = after;
            let mut buffer = vec![0xee; ROOM];
            buffer.extend(chunk);
            let passed = observer.pass(&mut buffer, |class| classes.push(class));
            out.extend(&buffer[passed]);
        }
        out.extend(observer.last());
        (out, classes)
    }

    fn observer(speech: Option<Speech>, asked: bool) -> Observer {
        let mut observer = Observer::new(speech);
        if asked {
            observer.expect(&SIGN);
        }
        observer
    }

    /// Frames of a client, pongs of all sorts among them; and whether each is to be taken out.
    fn client_frame() -> impl Strategy<Value = (Vec<u8>, bool)> {
        let mask = any::<[u8; 4]>();
        prop_oneof![
            (prop_oneof![Just(0x81_u8), Just(0x82)], mask, vec(any::<u8>(), 0..200))
                .prop_map(|(first, mask, payload)| (frame(first, Some(mask), &payload), false)),
            mask.prop_map(|mask| (frame(0x8a, Some(mask), &SIGN), true)),
            (mask, 0..SIGN.len()).prop_map(|(mask, wrong)| {
                let mut payload = SIGN;
                payload[wrong] ^= 1;
                (frame(0x8a, Some(mask), &payload), false)
            }),
            (mask, vec(any::<u8>(), 0..20)).prop_map(|(mask, payload)| (frame(0x8a, Some(mask), &payload), false)),
            (mask, vec(any::<u8>(), 12..13)).prop_map(|(mask, payload)| (frame(0x89, Some(mask), &payload), false)),
            mask.prop_map(|mask| (frame(0x81, Some(mask), br#"{"header":{"msg_type":"usage_request"}}"#), false)),
        ]
    }

    fn speech() -> impl Strategy<Value = Option<Speech>> {
        use Speech::{Any, JupyterKernel, JupyterTerminal, VsCode};
        prop_oneof![
            Just(None),
            proptest::sample::select(vec![Any, JupyterKernel, JupyterTerminal, VsCode]).prop_map(Some)
        ]
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_it_is_followed_alike(
            frames in vec(client_frame(), 0..12),
            tail in vec(any::<u8>(), 0..40),
            cuts in vec(1usize..60, 1..30),
            speech in speech(),
            asked: bool,
        ) {
            let mut stream: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            stream.extend(&tail);
            let whole = run(&mut observer(speech, asked), &stream, &[stream.len().max(1)]);
            prop_assert_eq!(run(&mut observer(speech, asked), &stream, &cuts), whole);
        }

        #[test]
        fn exactly_the_answers_to_our_pings_are_taken_out(
            frames in vec(client_frame(), 0..12),
            cuts in vec(1usize..60, 1..30),
            asked: bool,
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            let kept = frames.iter().filter(|(_, ours)| !ours || !asked).flat_map(|(bytes, _)| bytes.clone());
            let expected: Vec<u8> = kept.collect();
            let (out, _) = run(&mut observer(Some(Speech::Any), asked), &stream, &cuts);
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn without_a_ping_every_byte_passes_in_the_read_that_brought_it(
            bytes in vec(any::<u8>(), 1..300),
            cuts in vec(1usize..60, 1..30),
            speech in speech(),
        ) {
            let (mut observer, mut rest) = (observer(speech, false), &bytes[..]);
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                rest = after;
                let mut buffer = vec![0; ROOM];
                buffer.extend(chunk);
                let passed = observer.pass(&mut buffer, |_| {});
                prop_assert_eq!(&buffer[passed], chunk);
            }
        }
    }

    #[test]
    fn what_may_be_our_pong_is_let_go_as_soon_as_it_is_not() {
        let mut observer = observer(None, true);
        let mut pong = frame(0x8a, Some([1, 2, 3, 4]), &SIGN);
        pong[9] ^= 1;
        let mut passed_at = Vec::new();
        for byte in &pong {
            let mut buffer = vec![0; ROOM];
            buffer.push(*byte);
            let passed = observer.pass(&mut buffer, |_| {});
            passed_at.push(passed.len());
        }
        let mut expected = vec![0; 9];
        expected.push(10);
        expected.resize(pong.len(), 1);
        assert_eq!(passed_at, expected);
    }

    #[test]
    fn a_message_in_fragments_is_one_message() {
        let mut observer = observer(Some(Speech::JupyterTerminal), false);
        let mask = Some([7; 4]);
        let stream = [
            frame(0x01, mask, br#"["stdin","#),
            frame(0x89, mask, b"ping"),
            frame(0x00, mask, br#""a"#),
            frame(0x80, mask, br#""]"#),
            frame(0x81, mask, br#"["set_size",1,2]"#),
        ];
        let (out, classes) = run(&mut observer, &stream.concat(), &[3]);
        assert_eq!((out, classes), (stream.concat(), vec![Class::Work, Class::Quiet]));
    }
}
