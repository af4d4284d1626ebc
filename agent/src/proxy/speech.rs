//! What a client's WebSocket message says about whether anybody works, read from its beginning as it passes.
//!
//! A message is judged by what its first frame begins with, 4 KiB at most. Nothing of it is kept but a few bytes that
//! may lie in two reads. What cannot be read (compressed, or not as expected) counts as work: to keep a space up too
//! long is the smaller mistake.

use super::frames::Frame;
use crate::apps::{QUIET_KERNEL, VSCODE_WORK};
use crate::model::traffic::{Class, Speech};

/// How much of a message is looked at.
const LOOK: u16 = 4096;
/// The longest message that may be a heartbeat; also what is kept of any message.
const KEPT: usize = 64;
/// The header of VS Code's protocol: kind, id, acknowledged id, length of what follows.
const VSCODE: usize = 13;
const VSCODE_REGULAR: u8 = 1;
const KEY: &[u8] = b"\"msg_type\"";

/// Parts of heartbeats as libraries send them, in lower case.
const HEARTBEAT_WORDS: [&[u8]; 6] = [b"ping", b"pong", b"heartbeat", b"keepalive", b"keep-alive", b"keep_alive"];
/// Whole heartbeats: Engine.IO's ping and pong, STOMP's line end, MQTT's PINGREQ, SignalR's.
const HEARTBEATS: [&[u8]; 6] = [b"2", b"3", b"\n", b"\r\n", b"\xc0\x00", b"{\"type\":6}\x1e"];

/// Reads the messages of one client.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// `None`: unread, all are quiet.
    speech: Option<Speech>,
    /// The current message's class is known, or there is no message.
    done: bool,
    /// Bytes of the message that were looked at.
    seen: u16,
    state: u8,
    kept: [u8; KEPT],
    have: u8,
    /// VS Code: bytes of the current part that are still to be skipped.
    skip: u32,
}

/// Steps of the search for `"msg_type": "…"`: below [`COLON`] the bytes of the key that are there.
const COLON: u8 = KEY.len() as u8;
const QUOTE: u8 = COLON + 1;
const VALUE: u8 = COLON + 2;

impl Reader {
    pub(super) fn new(speech: Option<Speech>) -> Reader {
        Reader { speech, done: true, seen: 0, state: 0, kept: [0; KEPT], have: 0, skip: 0 }
    }

    /// Does a reader of this speech need to see what the messages say? (Else their sizes are enough.)
    pub(super) fn needs_payload(speech: Option<Speech>) -> bool {
        speech.is_some_and(|speech| speech != Speech::Any)
    }

    /// A message begins. Returns its class if that is known already.
    pub(super) fn begin(&mut self, frame: &Frame) -> Option<Class> {
        (self.done, self.seen, self.state, self.have, self.skip) = (false, 0, 0, 0, 0);
        let class = match self.speech {
            None => Some(Class::Quiet),
            Some(_) if frame.is_compressed() => Some(Class::Work),
            Some(Speech::Any) if !frame.is_whole() || frame.length > KEPT as u64 => Some(Class::Work),
            Some(_) => None,
        };
        self.decided(class)
    }

    /// More of its first frame. Returns the class once, when it is known.
    pub(super) fn feed(&mut self, bytes: impl Iterator<Item = u8>) -> Option<Class> {
        if self.done {
            return None;
        }
        for byte in bytes {
            if self.seen == LOOK {
                // Of VS Code's calls, those that begin here were looked at; what a page sends when it opens is this long.
                let quiet = self.speech == Some(Speech::VsCode);
                return self.decided(Some(if quiet { Class::Quiet } else { Class::Work }));
            }
            self.seen += 1;
            let class = match self.speech? {
                Speech::JupyterKernel => self.kernel(byte),
                Speech::JupyterTerminal => self.terminal(byte),
                Speech::VsCode => self.vscode(byte),
                Speech::Any => {
                    self.keep(byte);
                    None
                }
            };
            if class.is_some() {
                return self.decided(class);
            }
        }
        None
    }

    /// Its first frame ends. Returns the class if it wasn't known before.
    pub(super) fn end(&mut self) -> Option<Class> {
        if self.done {
            return None;
        }
        let class = match self.speech? {
            Speech::JupyterKernel => Class::Work,
            Speech::JupyterTerminal => typed(self.kept()),
            // The beginning of a call, the rest of which is in another message.
            Speech::VsCode if self.have > VSCODE as u8 && calls_for_a_person(&self.kept()[VSCODE..]) => Class::Work,
            Speech::VsCode => Class::Quiet,
            Speech::Any if is_heartbeat(self.kept()) => Class::Quiet,
            Speech::Any => Class::Work,
        };
        self.decided(Some(class))
    }

    fn decided(&mut self, class: Option<Class>) -> Option<Class> {
        self.done = class.is_some();
        class
    }

    fn kept(&self) -> &[u8] {
        &self.kept[..usize::from(self.have)]
    }

    /// True once there is no more room.
    fn keep(&mut self, byte: u8) -> bool {
        if let Some(place) = self.kept.get_mut(usize::from(self.have)) {
            *place = byte;
            self.have += 1;
        }
        usize::from(self.have) == KEPT
    }

    /// The first value of a key `msg_type` is the header's, in every form: JSON text writes the header before the
    /// parent's (or nothing quiet has a parent), the binary forms begin with it. A quote within a text is written `\"`,
    /// so that no text looks like this key.
    fn kernel(&mut self, byte: u8) -> Option<Class> {
        self.state = match (self.state, byte) {
            (COLON | QUOTE, b' ' | b'\t' | b'\r' | b'\n') => self.state,
            (COLON, b':') => QUOTE,
            (QUOTE, b'"') => VALUE,
            (VALUE, b'"') => {
                let quiet = QUIET_KERNEL.contains(&self.kept());
                return Some(if quiet { Class::Quiet } else { Class::Work });
            }
            (VALUE, _) => {
                if self.keep(byte) {
                    return Some(Class::Work);
                }
                VALUE
            }
            (state, _) if KEY.get(usize::from(state)) == Some(&byte) => state + 1,
            (_, b'"') => 1,
            _ => 0,
        };
        None
    }

    fn terminal(&mut self, byte: u8) -> Option<Class> {
        self.keep(byte).then(|| typed(self.kept()))
    }

    /// One WebSocket message may hold several of the protocol. A regular one names near its beginning what it calls.
    fn vscode(&mut self, byte: u8) -> Option<Class> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.keep(byte);
        let have = usize::from(self.have);
        if have < VSCODE {
            return None;
        }
        let [_, _, _, _, _, _, _, _, _, a, b, c, d, ..] = self.kept;
        let length = u32::from_be_bytes([a, b, c, d]);
        let looked = (have - VSCODE) as u32;
        if self.kept[0] == VSCODE_REGULAR && looked < length && have < KEPT {
            return None;
        }
        if calls_for_a_person(&self.kept[VSCODE..have]) {
            return Some(Class::Work);
        }
        (self.skip, self.have) = (length - looked, 0);
        None
    }
}

/// Every name stands behind a byte with its length.
fn calls_for_a_person(call: &[u8]) -> bool {
    let named =
        |name: &str, at: usize| usize::from(call[at]) == name.len() && call[at + 1..].starts_with(name.as_bytes());
    VSCODE_WORK.iter().any(|name| (0..call.len()).any(|at| named(name, at)))
}

/// A terminal's `["stdin", "…"]` is typing; `["set_size", …]` and whatever else there is comes from the page.
fn typed(beginning: &[u8]) -> Class {
    let list = beginning.trim_ascii_start().strip_prefix(b"[");
    let stdin = list.is_some_and(|list| list.trim_ascii_start().starts_with(b"\"stdin\""));
    if stdin { Class::Work } else { Class::Quiet }
}

fn is_heartbeat(message: &[u8]) -> bool {
    let has = |word: &&[u8]| message.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    message.is_empty() || HEARTBEATS.contains(&message) || HEARTBEAT_WORDS.iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::super::frames::Frames;
    use super::super::frames::tests::frame;
    use super::*;

    /// The class of one message, however its frame is cut.
    fn check(speech: Option<Speech>, first: u8, message: &[u8], expected: Class) {
        let bytes = frame(first, Some([0x5a, 0xc3, 0, 0x99]), message);
        for cut in [1, 2, 3, 7, 64, bytes.len()] {
            let (mut frames, mut reader, mut found) = (Frames::of_client(), Reader::new(speech), Vec::new());
            for chunk in bytes.chunks(cut) {
                let mut at = 0;
                while at < chunk.len() {
                    let (taken, part) = frames.step(&chunk[at..]);
                    let payload = &chunk[at..at + taken];
                    at += taken;
                    match part {
                        super::super::frames::Part::Begun => found.extend(reader.begin(&frames.frame())),
                        super::super::frames::Part::Payload(behind) => {
                            found.extend(reader.feed(frames.frame().unmasked(payload, behind)));
                        }
                        _ => continue,
                    }
                    if frames.has_ended() {
                        found.extend(reader.end());
                    }
                }
            }
            let shown = String::from_utf8_lossy(&message[..message.len().min(200)]);
            assert_eq!(found, [expected], "{shown:?} in pieces of {cut}");
        }
    }

    /// As JupyterLab writes a message without buffers in its older form.
    fn text(kind: &str, content: &str) -> Vec<u8> {
        format!(
            r#"{{"buffers":[],"channel":"shell","content":{content},"header":{{"date":"2026-11-20T10:00:00.000Z","msg_id":"1","msg_type":"{kind}","session":"2","username":"","version":"5.2"}},"metadata":{{}},"parent_header":{{}}}}"#
        )
        .into_bytes()
    }

    /// As `v1.kernel.websocket.jupyter.org` has it: offsets, the channel, then the parts.
    fn binary(kind: &str) -> Vec<u8> {
        let header = format!(r#"{{"msg_id": "1", "msg_type" : "{kind}", "version": "5.2"}}"#);
        let parts = ["shell", &header, r#"{"msg_type":"status"}"#, "{}", r#"{"code":"1"}"#];
        let mut bytes = 6_u64.to_le_bytes().to_vec();
        let mut offset = 8 * 7;
        bytes.extend(u64::to_le_bytes(offset));
        for part in parts {
            offset += part.len() as u64;
            bytes.extend(offset.to_le_bytes());
        }
        parts.iter().for_each(|part| bytes.extend(part.as_bytes()));
        bytes
    }

    #[test]
    fn a_kernels_messages_are_told_apart_in_both_forms() {
        const KERNEL: Option<Speech> = Some(Speech::JupyterKernel);
        for (kind, class) in [
            ("execute_request", Class::Work),
            ("input_reply", Class::Work),
            ("debug_request", Class::Work),
            ("comm_msg", Class::Work),
            ("comm_open", Class::Work),
            ("complete_request", Class::Work),
            ("inspect_request", Class::Work),
            ("is_complete_request", Class::Work),
            ("interrupt_request", Class::Work),
            ("shutdown_request", Class::Work),
            ("something_new", Class::Work),
            ("kernel_info_request", Class::Quiet),
            ("comm_info_request", Class::Quiet),
            ("history_request", Class::Quiet),
            ("usage_request", Class::Quiet),
        ] {
            check(KERNEL, 0x81, &text(kind, "{}"), class);
            check(KERNEL, 0x82, &binary(kind), class);
            check(KERNEL, 0x02, &binary(kind), class);
        }
        let quoted = r#"{"code":"{\"msg_type\":\"history_request\"}"}"#;
        check(KERNEL, 0x81, &text("execute_request", quoted), Class::Work);
        check(KERNEL, 0x81, &text("kernel_info_request", quoted), Class::Quiet);
        let long = format!(r#"{{"code":"{}"}}"#, "x".repeat(5000));
        check(KERNEL, 0x81, &text("history_request", &long), Class::Work);
        check(KERNEL, 0x81, &text(&"long".repeat(100), "{}"), Class::Work);
        check(KERNEL, 0x81, b"{}", Class::Work);
        check(KERNEL, 0xc1, &text("history_request", "{}"), Class::Work);
    }

    #[test]
    fn a_terminals_typing_is_work() {
        const TERMINAL: Option<Speech> = Some(Speech::JupyterTerminal);
        let pasted = format!(r#"["stdin","{}"]"#, "x".repeat(300));
        for (message, class) in [
            (&br#"["stdin","l"]"#[..], Class::Work),
            (br#" [ "stdin" , "l"]"#, Class::Work),
            (pasted.as_bytes(), Class::Work),
            (br#"["set_size",24,80,600,800]"#, Class::Quiet),
            (br#"["stdin2"]"#, Class::Quiet),
            (b"", Class::Quiet),
        ] {
            check(TERMINAL, 0x81, message, class);
        }
    }

    #[test]
    fn of_vs_codes_messages_those_are_work_that_call_for_a_person() {
        const VSCODE: Option<Speech> = Some(Speech::VsCode);
        let message = |kind: u8, data: &[u8]| {
            let mut bytes = vec![kind, 0, 0, 0, 1, 0, 0, 0, 2];
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(data);
            bytes
        };
        // A call of the management connection, and of the extension host's.
        let typed =
            message(1, b"\x04\x04\x06\x64\x06\x81\x01\x01\x0eremoteterminal\x01\x06$input\x04\x02\x06\x01\x01\x01l");
        let cursor = message(1, &[b"\x01\0\0\0\x09\x20\x1e$acceptEditorPropertiesChanged", &[b'x'; 500][..]].concat());
        let polled = message(1, b"\x04\x04\x06\x64\x06\x01\x01\x10remoteFilesystem\x01\x04stat$input");
        let told = message(1, &[b"\x01\0\0\0\x09\x20\x0c$onFileEvent", &[b'x'; 500][..]].concat());
        let opening = message(1, &[b"\x01\0\0\0\x01\x20\x18$initializeConfiguration", &[b'x'; 9000][..]].concat());
        let late = message(1, &[&[b'x'; 100][..], b"\x06$input"].concat());
        let control = message(2, b"\x06$input");
        let (acknowledged, alive) = (message(3, b""), message(9, b""));
        for (parts, class) in [
            (vec![&typed], Class::Work),
            (vec![&cursor], Class::Work),
            (vec![&polled], Class::Quiet),
            (vec![&told], Class::Quiet),
            (vec![&opening], Class::Quiet),
            (vec![&late], Class::Quiet),
            (vec![&control], Class::Quiet),
            (vec![&acknowledged], Class::Quiet),
            (vec![&alive, &acknowledged], Class::Quiet),
            (vec![&alive, &polled, &told, &typed], Class::Work),
            (vec![], Class::Quiet),
        ] {
            let message: Vec<u8> = parts.into_iter().flatten().copied().collect();
            check(VSCODE, 0x82, &message, class);
        }
        check(VSCODE, 0x82, &typed[..typed.len() - 1], Class::Work);
        check(VSCODE, 0xc2, &polled, Class::Work);
    }

    #[test]
    fn of_an_unknown_app_all_but_heartbeats_is_work() {
        const ANY: Option<Speech> = Some(Speech::Any);
        for message in [
            &b""[..],
            b"2",
            b"3",
            b"\n",
            br#"{"type":"ping"}"#,
            br#"{"type":"Pong","id":1}"#,
            br#"[null,"5","phoenix","heartbeat",{}]"#,
            b"KeepAlive",
            b"{\"type\":6}\x1e",
        ] {
            check(ANY, 0x81, message, Class::Quiet);
            check(ANY, 0x82, message, Class::Quiet);
        }
        let long = format!(r#"{{"type":"ping","of":"{}"}}"#, "x".repeat(60));
        for message in [&b"a"[..], b"42[\"click\"]", br#"{"type":"save"}"#, long.as_bytes()] {
            check(ANY, 0x81, message, Class::Work);
        }
        check(ANY, 0xc1, b"2", Class::Work);
        check(ANY, 0x01, b"2", Class::Work);
        check(None, 0x81, b"anything", Class::Quiet);
    }
}
