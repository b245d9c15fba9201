//! Patterns over keys, as Redis' `SCAN MATCH` takes them.

/// Whether the text fits the pattern: `*` any text, `?` one byte, `[abc]`, `[a-z]`, `[^a]` one byte of a set, `\x` the
/// byte `x`. Takes time in proportion to both lengths multiplied, whatever the pattern.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // where to go on when what follows the last star does not fit
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            retry = Some((at + 1, seen));
            at += 1;
            continue;
        }
        match text.get(seen) {
            None if at == pattern.len() => return true,
            None => return false,
            Some(&byte) => match one(&pattern[at..], byte) {
                Some(length) => {
                    at += length;
                    seen += 1;
                }
                None => match &mut retry {
                    None => return false,
                    Some((after, from)) => {
                        *from += 1;
                        (at, seen) = (*after, *from);
                    }
                },
            },
        }
    }
}

/// The length of the pattern's first element, if the byte fits it.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => set(rest, byte).map(|length| length + 1),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// The length of a set behind its bracket, if the byte is in it. A set without end goes to the end of the pattern.
fn set(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    while at < pattern.len() && pattern[at] != b']' {
        match &pattern[at..] {
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [first, b'-', last, ..] if *last != b']' => {
                found |= (*first.min(last)..=*first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
            [] => break,
        }
    }
    (found != negated).then_some((at + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_redis_means() {
        for (pattern, text, fit) in [
            ("*", "", true),
            ("*", "search:a", true),
            ("search:*", "search:a", true),
            ("search:*", "embedding:a", false),
            ("*:a*c", "search:abc", true),
            ("*:a*c", "search:abcd", false),
            ("s?arch:*", "search:", true),
            ("[es]*", "search:", true),
            ("[^e]*", "embedding:", false),
            ("[a-f]mbedding:*", "embedding:x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[a\\]]", "]", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
    }

    #[test]
    fn nested_stars_end_soon() {
        assert!(!fits(&"*a".repeat(60), &"a".repeat(59)));
        assert!(!fits(&format!("{}b", "*a".repeat(50)), &"a".repeat(5000)));
    }
}
