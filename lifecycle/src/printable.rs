//! Which characters text from elsewhere must not bring to a terminal or a page. What is shown in their place is up to
//! whoever shows it.

/// Does a terminal or a browser obey this character rather than show it? Control characters, tab and line break among
/// them, and those that turn the direction of writing (Unicode's `Bidi_Control`), with which a line can be made to read
/// as another one.
pub fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_turns_of_direction_are_obeyed_and_letters_of_every_script_are_not() {
        for c in ['\0', '\n', '\t', '\r', '\u{1b}', '\u{7f}', '\u{9b}', '\u{61c}', '\u{200f}', '\u{202e}', '\u{2069}'] {
            assert!(is_obeyed(c), "{c:?}");
        }
        for c in [' ', 'a', 'é', 'א', 'ع', '語', '🚀', '\u{200d}', '…'] {
            assert!(!is_obeyed(c), "{c:?}");
        }
    }
}
