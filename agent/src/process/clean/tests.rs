//! What comes out of the cleaner for what goes in, and that nothing bad ever does.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECRET: &str = "s3cret-word";

fn cleaner() -> Cleaner {
    let env = BTreeMap::from([("A_TOKEN".to_owned(), SECRET.to_owned())]);
    Cleaner::new(Arc::new(Secrets::of(&space_lifecycle::default_space(), &env)))
}

/// As it stands in a log.
fn text(pieces: &[Piece]) -> String {
    pieces.iter().flat_map(|piece| [piece.text.as_str(), if piece.ends { "\n" } else { "" }]).collect()
}

/// The log of what was written, with a pause after each part.
fn log(parts: &[&[u8]]) -> String {
    let mut cleaner = cleaner();
    let mut pieces = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        pieces.extend((at > 0).then(|| cleaner.flush()).flatten());
        pieces.extend(cleaner.push(part));
    }
    pieces.extend(cleaner.finish());
    text(&pieces)
}

#[test]
fn a_line_is_kept_as_a_terminal_would_leave_it_without_what_a_terminal_obeys() {
    for (written, kept) in [
        (&b"plain\tline\n"[..], "plain\tline\n"),
        (b"unfinished", "unfinished\n"),
        (b"", ""),
        (b"\n\n", "\n\n"),
        (b"of a foreign system\r\n\r\n", "of a foreign system\n\n"),
        (b" 10%\r 50%\r100%\n", "100%\n"),
        (b"100%\r", "100%\n"),
        (b"\x1b[1;31mred\x1b[0m\x1b(B\n", "red\n"),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "alink\n"),
        (b"\x1bP1$r0m\x1b\\\x1b7\x1b=b\n", "b\n"),
        (b"\x1b]never ended\nnext\n", "\nnext\n"),
        (b"\x1b[12\nnext\n", "\nnext\n"),
        (b"\x1b\x1b[1mx\n", "\\u{1b}x\n"),
        (b"a\x07bell\x08\x00\n", "a\\u{7}bell\\u{8}\\u{0}\n"),
        ("\u{9b}31m \u{202e}turned\n".as_bytes(), "\\u{9b}31m \\u{202e}turned\n"),
        (b"\xff\xfe \xe2\x82\n", "\u{fffd}\u{fffd} \u{fffd}\n"),
        (b"\xe2\x82", "\u{fffd}\n"),
        (b"is s3cret-word\n", "is ***\n"),
        (b"is s3c\x1b[1mret\x1b[0m-word\n", "is ***\n"),
        (b"is s3cret-wor", "is ***\n"),
    ] {
        assert_eq!(log(&[written]), kept, "{}", written.escape_ascii());
    }
}

#[test]
fn what_was_shown_in_a_pause_is_not_overwritten_any_more() {
    for (parts, kept) in [
        (&[&b"10%"[..], b"\r20%", b"\r30%\r40%\n"][..], "10%\n20%\n40%\n"),
        (&[b"10%\r", b"20%\r", b"\n"], "10%\n20%\n"),
        (&[b"Continue? ", b"yes\n"], "Continue? yes\n"),
        (&[b"checking", b"", b" done"], "checking done\n"),
        (&[b"is s3cret", b"-word\n"], "is ***\n"),
        (&[b"is s3cret", b"-words\n"], "is ***s\n"),
        (&[b"is s3cret", b"ary\n"], "is s3cretary\n"),
    ] {
        assert_eq!(log(parts), kept, "{parts:?}");
    }
}

#[test]
fn a_line_that_is_too_long_becomes_several_and_tears_no_secret() {
    let mut written = vec![b'x'; LONGEST - 4];
    written.extend(b"s3cret-word");
    written.extend(vec![b'y'; LONGEST]);
    let kept = log(&[&written]);
    assert!(kept.lines().all(|line| line.len() <= LONGEST), "a line is too long");
    assert_eq!(kept.lines().count(), 3);
    assert!(kept.lines().nth(1).is_some_and(|line| line.starts_with("***yyy")));
    assert_eq!(kept.replace('\n', "").len(), written.len() - SECRET.len() + 3);
}

/// Bytes as programs write them, in the worst order.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let fragments: Vec<&[u8]> = vec![
        b"a",
        b"\n",
        b"\r",
        b"\r\n",
        b"\x1b",
        b"[",
        b"]",
        b"m",
        b"\\",
        b"\x07",
        b"\x08",
        b"\t",
        b"0;1",
        b"(",
        b"s3cret",
        b"-word",
        b"s3cret-word",
        b"s3",
        b"\xe2\x82\xac",
        b"\xe2\x82",
        b"\xac",
        b"\xff",
        b"\xc2\x9b",
        b"\xe2\x80\xae",
        b"P",
    ];
    prop::collection::vec(prop::sample::select(fragments), 0..40).prop_map(|fragments| fragments.concat())
}

/// Writes each part, cut where told; a pause follows each.
fn write(parts: &[Vec<u8>], cuts: &[usize]) -> Vec<Piece> {
    let (mut cleaner, mut pieces) = (cleaner(), Vec::new());
    for part in parts {
        let mut from = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (part.len() + 1)).collect();
        cuts.sort_unstable();
        for cut in cuts.into_iter().chain([part.len()]) {
            pieces.extend(cleaner.push(&part[from..cut]));
            from = cut;
        }
        pieces.extend(cleaner.flush());
    }
    pieces.extend(cleaner.finish());
    pieces
}

proptest! {
    #[test]
    fn where_the_output_was_cut_makes_no_difference(
        parts in prop::collection::vec(output(), 0..4),
        cuts in prop::collection::vec(0..200_usize, 0..20),
    ) {
        prop_assert_eq!(write(&parts, &cuts), write(&parts, &[]));
    }

    #[test]
    fn nothing_comes_out_that_a_terminal_obeys_and_no_secret(parts in prop::collection::vec(output(), 0..4)) {
        let kept = text(&write(&parts, &[]));
        prop_assert!(!kept.chars().any(|c| is_obeyed(c) && c != '\n' && c != '\t'), "{:?}", kept);
        prop_assert!(!kept.contains(SECRET), "{:?}", kept);
        prop_assert!(kept.is_empty() || kept.ends_with('\n'));
    }

    #[test]
    fn plain_lines_come_out_as_they_went_in(lines in prop::collection::vec("[ -~\t]{0,40}", 0..10)) {
        let written: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        prop_assert_eq!(log(&[written.as_bytes()]), written);
    }
}
