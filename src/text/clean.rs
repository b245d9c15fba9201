//! Cleaning: what is kept of the text people send, and what the models see of it.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::messages::document::Document;

/// Entities that feeds use, without `&` and `;`.
const NAMED_ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("ndash", '–'),
    ("mdash", '—'),
    ("hellip", '…'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bull", '•'),
    ("middot", '·'),
    ("euro", '€'),
    ("pound", '£'),
    ("yen", '¥'),
    ("cent", '¢'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
];

/// Longest entity looked for, `&` and `;` included.
const MAX_ENTITY_BYTES: usize = 12;

/// What a link may stand behind without a space.
const OPENERS: [char; 6] = ['(', '[', '<', '"', '\'', '“'];

/// Decodes HTML entities once, removes control, bidirectional and zero-width characters, turns every run of white space
/// into one space, trims, and normalises to NFC.
///
/// Zero-width joiners are kept after non-ASCII letters and pictures, where Persian, Indic scripts and emoji need them.
#[must_use]
pub fn clean(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let decoded = decode_entities(text);
    let mut kept = String::with_capacity(decoded.len());
    let mut gap = false;
    for character in decoded.chars() {
        if character.is_whitespace() || is_breaking_control(character) {
            gap = true;
            continue;
        }
        if is_invisible(character) && !joins(character, &kept, gap) {
            continue;
        }
        if gap && !kept.is_empty() {
            kept.push(' ');
        }
        gap = false;
        kept.push(character);
    }
    while kept.ends_with(['\u{200c}', '\u{200d}']) {
        kept.pop();
    }
    match is_nfc_quick(kept.chars()) {
        IsNormalized::Yes => kept,
        IsNormalized::No | IsNormalized::Maybe => kept.nfc().collect(),
    }
}

/// As [`clean`], of a text that is no longer needed: most texts are clean and stay where they are.
#[must_use]
pub fn cleaned(text: String) -> String {
    if is_plain(&text) { text } else { clean(&text) }
}

/// Whether cleaning would change nothing, seen at a glance: visible ASCII and single spaces between, no entity.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let odd = |byte: u8| u8::from(!matches!(byte, b' '..=b'~')) | u8::from(byte == b'&');
    let double = |one: u8, two: u8| u8::from(one == b' ') & u8::from(two == b' ');
    // without a way out of the loops, so that many bytes are looked at at once
    let odd = bytes.iter().fold(0, |found, &byte| found | odd(byte));
    let doubles = pairs(bytes).fold(0, |found, (&one, &two)| found | double(one, two));
    odd == 0 && doubles == 0 && bytes.first() != Some(&b' ') && bytes.last() != Some(&b' ')
}

/// Each byte with the one behind it.
fn pairs(bytes: &[u8]) -> impl Iterator<Item = (&u8, &u8)> {
    bytes.iter().zip(bytes.get(1..).unwrap_or_default())
}

/// Whether the character steers terminals or the direction of text, or cannot be seen.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Control characters that stand for a gap between words.
fn is_breaking_control(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{1c}'..='\u{1f}' | '\u{85}')
}

/// Whether this zero-width joiner or non-joiner has a meaning where it stands.
fn joins(character: char, before: &str, gap: bool) -> bool {
    matches!(character, '\u{200c}' | '\u{200d}')
        && !gap
        && before.chars().next_back().is_some_and(|last| !last.is_ascii() && !is_invisible(last))
}

/// Replaces the entities of [`NAMED_ENTITIES`] and numeric ones; others stay as they are.
fn decode_entities(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find('&') else { return Cow::Borrowed(text) };
    let mut decoded = String::with_capacity(text.len());
    decoded.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(start) = rest.find('&') {
        decoded.push_str(&rest[..start]);
        rest = &rest[start..];
        if let Some((character, length)) = entity_at(rest) {
            decoded.push(character);
            rest = &rest[length..];
        } else {
            decoded.push('&');
            rest = &rest[1..];
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

/// The entity `text` starts with, and its length in bytes.
fn entity_at(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(MAX_ENTITY_BYTES).position(|byte| byte == b';')?;
    let name = &text[1..end];
    let character = if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        char::from_u32(code).filter(|&character| character != '\0')?
    } else {
        NAMED_ENTITIES.iter().find(|(known, _)| *known == name)?.1
    };
    Some((character, end + 1))
}

/// Title and text as one text, the title left out where the text already begins with it.
#[must_use]
pub fn with_title<'a>(title: Option<&str>, text: &'a str) -> Cow<'a, str> {
    let Some(title) = title.filter(|title| !title.is_empty()) else { return Cow::Borrowed(text) };
    let bare = title.trim_end_matches(['…', '.', ' ']);
    if !bare.is_empty() && starts_with_ignoring_case(text, bare) {
        return Cow::Borrowed(text);
    }
    let joint = if title.ends_with(['.', '!', '?', ':', ';', '…', '。', '！', '？']) { " " } else { ". " };
    Cow::Owned([title, joint, text].concat())
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    let mut characters = text.chars().flat_map(char::to_lowercase);
    prefix.chars().flat_map(char::to_lowercase).all(|wanted| characters.next() == Some(wanted))
}

/// The text without links: words from their `http://`, `https://` or `www.` on.
#[must_use]
pub fn without_urls(text: &str) -> Cow<'_, str> {
    // seen at a glance of most texts: no two bytes that each link has, many looked at at once
    let bytes = text.as_bytes();
    let both = |one: bool, two: bool| u8::from(one) & u8::from(two);
    let hint = |one: u8, two: u8| both(one == b':', two == b'/') | both(one | 0x20 == b'w', two == b'.');
    let hints = pairs(bytes).fold(0, |found, (&one, &two)| found | hint(one, two));
    if hints == 0 || !["://", "www.", "WWW."].iter().any(|sign| text.contains(sign)) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let before = link_start(word).map_or(word, |start| word[..start].trim_end_matches(OPENERS));
        if !before.is_empty() {
            if !kept.is_empty() {
                kept.push(' ');
            }
            kept.push_str(before);
        }
    }
    Cow::Owned(kept)
}

/// Where in a word a link starts: `http://` and `https://` anywhere, `www.` after nothing but brackets and quotes.
fn link_start(word: &str) -> Option<usize> {
    let bare = word.trim_start_matches(OPENERS);
    if starts_with_ignoring_case(bare, "www.") {
        return Some(word.len() - bare.len());
    }
    let schemes = word.match_indices("://").filter_map(|(at, _)| {
        ["https", "http"].iter().find_map(|scheme| {
            let start = at.checked_sub(scheme.len())?;
            word.get(start..at).filter(|found| found.eq_ignore_ascii_case(scheme)).map(|_| start)
        })
    });
    schemes.min()
}

/// What encoder and sentiment model see: title and text without links; the cleaned text where nothing else is left.
#[must_use]
pub fn model_text(document: &Document) -> String {
    let whole = with_title(document.title.as_deref(), &document.text);
    let kept = without_urls(&whole);
    if kept.trim().is_empty() { document.text.clone() } else { kept.into_owned() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn document(title: Option<&str>, text: &str) -> Document {
        let mut value = serde_json::json!({"id": "1", "source": "news", "text": text});
        if let Some(title) = title {
            value["title"] = title.into();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn control_bidirectional_and_zero_width_characters_go() {
        assert_eq!(clean("a\u{0}b\u{202e}c\u{200b}d\u{feff}e\u{7}"), "abcde");
        assert_eq!(clean("\u{2066}AAPL\u{2069} up"), "AAPL up");
    }

    #[test]
    fn white_space_runs_become_one_space() {
        assert_eq!(clean(" a\t\r\n b\u{a0}\u{3000}c\u{2028}d \n"), "a b c d");
    }

    #[test]
    fn entities_are_decoded_once() {
        assert_eq!(
            clean("S&amp;P 500 &lt; 5&#39;000 &#x20AC; &amp;lt; &unknown; & &#0; AT&T;"),
            "S&P 500 < 5'000 € &lt; &unknown; & &#0; AT&T;"
        );
    }

    #[test]
    fn invisible_characters_cannot_hide_in_entities() {
        assert_eq!(clean("a&#8203;b&#x202E;c"), "abc");
    }

    #[test]
    fn joiners_stay_where_scripts_need_them() {
        assert_eq!(clean("👨\u{200d}👩"), "👨\u{200d}👩");
        assert_eq!(clean("می\u{200c}رود"), "می\u{200c}رود");
        assert_eq!(clean("a\u{200d}b"), "ab");
        assert_eq!(clean("é\u{200d}\u{200d}"), "é");
    }

    #[test]
    fn text_is_composed() {
        assert_eq!(clean("Cafe\u{301}"), "Café");
        assert_eq!(clean("e\u{200b}\u{301}"), "é");
    }

    #[test]
    fn nothing_visible_is_empty() {
        assert_eq!(clean(" \u{200b}\u{202e}\u{0} \n&nbsp;"), "");
    }

    #[test]
    fn model_text_joins_title_and_text_without_links() {
        assert_eq!(
            model_text(&document(Some("Rates up"), "The bank moved. https://t.co/x")),
            "Rates up. The bank moved."
        );
        assert_eq!(model_text(&document(Some("Rates up!"), "See (https://a.b/c) now")), "Rates up! See now");
    }

    #[test]
    fn title_is_not_repeated() {
        assert_eq!(model_text(&document(Some("RATES up…"), "Rates up by half a point")), "Rates up by half a point");
    }

    #[test]
    fn text_of_links_alone_is_kept() {
        assert_eq!(model_text(&document(None, "https://t.co/x www.example.com")), "https://t.co/x www.example.com");
    }

    proptest! {
        #[test]
        fn plain_texts_are_those_that_cleaning_leaves_alone(text in "[ -~]{0,40}") {
            if is_plain(&text) {
                prop_assert_eq!(clean(&format!("{text}é")), format!("{text}é"));
            }
        }

        #[test]
        fn cleaning_is_idempotent_without_entities(text in "[^&]{0,80}") {
            let once = clean(&text);
            prop_assert_eq!(clean(&once), once.clone());
            prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
        }
    }
}
