//! Requests that pass, and such that others may read otherwise.

use super::*;
use hyper::Uri;
use proptest::prelude::*;

/// What is passed of `bytes`, however they are cut: the lengths of whole requests, and the refusal if one comes.
fn read(bytes: &[u8], size: usize) -> (Vec<usize>, Option<Refusal>) {
    let (mut scan, mut held, mut length, mut requests) = (Scan::default(), Vec::new(), 0, Vec::new());
    for part in bytes.chunks(size) {
        held.extend_from_slice(part);
        while !held.is_empty() {
            match scan.pass(&held) {
                Ok(0) => break,
                Ok(passed) => {
                    held.drain(..passed);
                    length += passed;
                }
                Err(refusal) => return (requests, Some(refusal)),
            }
            if scan.is_between() {
                requests.push(std::mem::take(&mut length));
            }
        }
    }
    (requests, None)
}

/// These requests, one after the other, all pass.
#[track_caller]
fn good(requests: &[&str]) {
    let bytes = requests.concat();
    let lengths: Vec<_> = requests.iter().map(|request| request.len()).collect();
    for size in [1, 2, 3, 7, 64, bytes.len()] {
        assert_eq!(read(bytes.as_bytes(), size), (lengths.clone(), None), "{bytes:?} in pieces of {size}");
    }
}

/// Behind a good request this one is refused, with this status.
#[track_caller]
fn bad(status: u16, request: &[u8]) {
    let first = b"POST /first HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    let bytes = [first, request].concat();
    for size in [1, 2, 3, 7, 64, bytes.len()] {
        let (requests, refusal) = read(&bytes, size);
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]);
        assert_eq!(requests, [first.len()], "{shown:?} in pieces of {size}");
        assert_eq!(refusal.map(|refusal| refusal.status().as_u16()), Some(status), "{shown:?} in pieces of {size}");
    }
}

fn bad_head(status: u16, head: &str) {
    bad(status, format!("{head}\r\n\r\n").as_bytes());
}

fn bad_chunks(chunks: &str) {
    bad(400, format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes());
}

#[test]
fn plain_requests_pass_one_at_a_time() {
    good(&["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b HTTP/1.0\r\nHost: a\r\n\r\n"]);
    good(&["POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab#\n", "GET / HTTP/1.1\r\n\r\n"]);
    good(&["\r\n\r\nGET / HTTP/1.1\r\nReferer: http://x/#y\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length:0\r\n\r\n"]);
    good(&[&format!("GET /{} HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(8000), "b".repeat(8000))]);
    good(&["GET /a%2Fb//c;d?%zz|&^`{}[]\"x HTTP/1.1\r\n\r\n".replace('"', "'").as_str()]);
    good(&["GET /\u{e9}?\u{fc} HTTP/1.1\r\nX: \u{e9}\t\r\nempty:\r\n\r\n"]);
}

#[test]
fn chunked_bodies_are_followed_to_their_end() {
    let next = "GET /next HTTP/1.1\r\n\r\n";
    for chunks in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "3\r\n\r\n\n\r\nA;x\r\n0123456789\r\n0\r\n\r\n",
        "00003\r\nabc\r\n000\r\n\r\n",
        "3;a=b;c=\"d e\"\r\nabc\r\n0;e\r\n\r\n",
        "1\r\na\r\n0\r\nX-Sum: 1\r\nother:\r\n\r\n",
    ] {
        let first = format!("POST / HTTP/1.1\r\nTransfer-Encoding:  Chunked \r\n\r\n{chunks}");
        good(&[&first, next, &first, next]);
    }
}

#[test]
fn two_ways_to_say_where_a_body_ends_are_one_too_many() {
    bad_head(400, "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked");
    bad_head(400, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 4");
    bad_head(400, "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4");
    bad_head(400, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked");
    bad_head(400, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
    bad_head(400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked");
    for coding in ["chunked\t", "\tchunked", " \t chunked", "chunked \x0b", "\"chunked\"", "", "identity", "xchunked"] {
        bad_head(400, &format!("POST / HTTP/1.1\r\nTransfer-Encoding: {coding}"));
    }
    for length in ["4\t", "\t4", "+4", "-4", "4, 4", "4 4", "4x", "0x4", "", "9999999999999999999", &"0".repeat(80)] {
        bad_head(400, &format!("POST / HTTP/1.1\r\nContent-Length: {length}"));
    }
}

#[test]
fn heads_that_others_may_read_otherwise_are_refused() {
    for head in [
        "GET / HTTP/1.1\nHost: a",
        "GET / HTTP/1.1\r\nHost: a\nX: b",
        "GET / HTTP/1.1\r\nX: a\rb",
        "GET / HTTP/1.1\r\nX: a\0b",
        "GET / HTTP/1.1\r\nX: a\x7fb",
        "GET / HTTP/1.1\r\nX: a\r\n folded",
        "GET / HTTP/1.1\r\n X: a",
        "GET / HTTP/1.1\r\n: a",
        "GET / HTTP/1.1\r\nX",
        "GET / HTTP/1.1\r\nX : a",
        "GET / HTTP/1.1\r\nTransfer-Encoding : chunked",
        "GET / HTTP/1.1\r\nX\0: a",
        "GET / HTTP/1.1\r\nX\u{e9}: a",
        "GET / HTTP/1.1\r\nX(y): a",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /",
        "GET",
        " GET / HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /#a HTTP/1.1",
        "GET /?#a HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /<x> HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET http://localhost/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/11",
        "\x16\x03\x01\x02",
    ] {
        bad_head(400, head);
    }
    bad(400, b"\nGET / HTTP/1.1\r\n\r\n");
    bad(400, b"GET /\xff HTTP/1.1\r\n\r\n");
    for version in ["0.9", "1.2", "2.0"] {
        bad_head(505, &format!("GET / HTTP/{version}"));
    }
    bad_head(505, "PRI * HTTP/2.0");
    bad_head(405, "CONNECT example.com:443 HTTP/1.1");
}

#[test]
fn a_head_without_measure_is_refused_before_it_ends() {
    bad(431, format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(16 * 1024)).as_bytes());
    bad(431, format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(101)).as_bytes());
    bad(414, format!("GET /{}", "a".repeat(9000)).as_bytes());
    bad(414, format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(8192)).as_bytes());
    bad(431, "a".repeat(20_000).as_bytes());
    good(&[&format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100))]);
}

#[test]
fn chunks_that_others_may_read_otherwise_are_refused() {
    for chunks in [
        "ffffffffffffffff1\r\n",
        "0000000000000003\r\nabc\r\n",
        "+3\r\nabc\r\n",
        "-1\r\n",
        "0x3\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3\t;a\r\nabc\r\n",
        "\r\n",
        ";a\r\n",
        "g\r\n",
        "3\nabc\r\n",
        "3\r\rabc",
        "3;a\nb\r\nabc\r\n",
        "3;a\rb\r\nabc\r\n",
        "3;a\0\r\nabc\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "0\r\n\n",
        "0\r\nX\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nX: y\r\n folded\r\n\r\n",
        "0\r\nX: y\nZ: y\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        bad_chunks(chunks);
    }
    bad_chunks(&format!("3;{}\r\nabc\r\n", "a".repeat(16 * 1024 + 1)));
    bad_chunks(&format!("{}0\r\n\r\n", "1;aaaaaaaa\r\nx\r\n".repeat(2100)));
    let body = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}", "X: y\r\n".repeat(101));
    bad(431, body.as_bytes());
    bad(431, body.replacen("X: y", &"x".repeat(17_000), 1).as_bytes());
}

#[test]
fn a_target_passes_if_hyper_takes_it_and_names_no_part_of_a_page() {
    for byte in 0..=255u8 {
        for template in [&b"/a"[..], b"/a?b"] {
            let target = [template, &[byte], b"c"].concat();
            let taken = Uri::try_from(&target[..]).is_ok() && byte != b'#';
            let head = [b"GET ", &target[..], b" HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(read(&head, head.len()).1.is_none(), taken, "{:?}", String::from_utf8_lossy(&target));
        }
    }
}

proptest! {
    /// However bytes are cut, the same requests are found in them.
    #[test]
    fn the_cut_of_the_bytes_changes_nothing(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "GET ", "POST ", "/", "/a", " HTTP/1.1\r\n", " HTTP/1.0\r\n", "\r\n", "\n", "\r", "Content-Length: 3\r\n",
                "Transfer-Encoding: chunked\r\n", "X: y\r\n", "abc", "3\r\n", "0\r\n", ";a=b\r\n", ":", " ", "\0", "\r\n\r\n",
            ]),
            0..24,
        ),
        size in 1usize..40,
    ) {
        let bytes = parts.concat();
        prop_assert_eq!(read(bytes.as_bytes(), size), read(bytes.as_bytes(), bytes.len().max(1)));
    }
}
