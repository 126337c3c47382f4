//! Makes text safe to print. Users, clouds and API servers write text that people list on a terminal: it must neither
//! drive the terminal nor look like lines of its own.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal, or whoever reads a list line by line, would take the character for more than a sign: control
/// characters, separators of lines and paragraphs, and marks that change the direction of the text around them.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// The text as one line: each hidden character, also a line break, is shown instead of having its effect. An escape is
/// shown as `^[`, as in kubectl; a line break as `\n`.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, visible)
}

/// As [`line`], but line breaks stay. For text whose parts went through [`line`] already.
pub fn block(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character == '\n', visible)
}

/// A JSON document that means the same, without hidden characters but its own line breaks.
pub fn json(document: &str) -> Cow<'_, str> {
    // Hidden characters other than line breaks are nowhere but in strings.
    escaped(document, |character| character == '\n', unicode)
}

fn escaped(text: &str, stays: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let hides = |character: char| is_hidden(character) && !stays(character);
    if !text.chars().any(hides) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if hides(character) { escape(&mut shown, character) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

fn visible(shown: &mut String, character: char) {
    match character {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        // Caret notation: the sign 64 further on.
        '\0'..='\u{1f}' | '\u{7f}' => {
            shown.push('^');
            shown.push(char::from((u32::from(character) as u8) ^ 0x40));
        }
        other => unicode(shown, other),
    }
}

/// `\uXXXX`. No hidden character needs more digits.
fn unicode(shown: &mut String, character: char) {
    let _ = write!(shown, "\\u{:04x}", u32::from(character));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every hidden character, and some that are not.
    fn any_text() -> impl Strategy<Value = String> {
        let hidden: Vec<char> = ('\0'..=char::MAX).filter(|character| is_hidden(*character)).collect();
        let characters = prop_oneof![prop::sample::select(hidden), any::<char>(), prop::char::range(' ', '~')];
        prop::collection::vec(characters, 0..40).prop_map(|characters| characters.into_iter().collect())
    }

    #[test]
    fn every_control_character_separator_and_direction_mark_is_hidden_and_nothing_else() {
        let hidden = |from: char, to: char| (from..=to).all(is_hidden);
        assert!(hidden('\0', '\u{1f}') && hidden('\u{7f}', '\u{9f}') && hidden('\u{2028}', '\u{202e}'));
        assert!(hidden('\u{2066}', '\u{2069}'));
        assert_eq!(('\0'..=char::MAX).filter(|character| is_hidden(*character)).count(), 65 + 7 + 4 + 3);
        for character in " ~é漢🦀\u{301}\u{200d}".chars() {
            assert!(!is_hidden(character), "{character:?}");
        }
    }

    #[test]
    fn an_escape_is_shown_as_in_kubectl_and_a_line_break_as_in_a_string() {
        assert_eq!(line("x\u{1b}[2K\rnobody\u{9b}2J"), "x^[[2K\\rnobody\\u009b2J");
        assert_eq!(line("tests\nforged\u{7}\u{7f}\t\u{202e}"), "tests\\nforged^G^?\\t\\u202e");
        assert_eq!(block("one\n  two\u{1b}"), "one\n  two^[");
        assert!(matches!(line("nothing to hide: é漢"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn no_hidden_character_is_left_and_all_others_are(text in any_text()) {
            let shown = line(&text);
            prop_assert!(!shown.chars().any(is_hidden), "{shown:?}");
            let rest: String = text.chars().filter(|character| !is_hidden(*character)).collect();
            let mut signs = shown.chars();
            prop_assert!(rest.chars().all(|wanted| signs.any(|sign| sign == wanted)), "{shown:?} lacks some of {rest:?}");
            let whole = block(&text);
            prop_assert!(whole.chars().all(|sign| sign == '\n' || !is_hidden(sign)), "{whole:?}");
            prop_assert_eq!(whole.matches('\n').count(), text.matches('\n').count());
        }

        #[test]
        fn json_without_hidden_characters_means_the_same(text in any_text()) {
            let value = serde_json::json!({ "a": text, text.clone(): ["b"] });
            let document = serde_json::to_string_pretty(&value).unwrap();
            let shown = json(&document);
            prop_assert!(shown.chars().all(|sign| sign == '\n' || !is_hidden(sign)), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
