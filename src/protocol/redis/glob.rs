//! The patterns of KEYS, CONFIG GET and PSUBSCRIBE, as Redis reads them (`util.c`, `stringmatchlen`).

/// Does `text` match `pattern`, in any ASCII case? Takes at most `pattern.len() * text.len()` steps.
pub fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and up to where it has taken the text.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        let matched = match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(_), Some(&byte)) => one(&pattern[p..], byte),
            _ => None,
        };
        if let Some(taken) = matched {
            (p, t) = (p + taken, t + 1);
            continue;
        }
        match star {
            Some((behind, from)) if from < text.len() => {
                star = Some((behind, from + 1));
                (p, t) = (behind, from + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern's start stands for `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => {
            let (found, taken) = class(rest, byte.to_ascii_lowercase());
            found.then_some(1 + taken)
        }
        [b'\\', escaped, ..] => escaped.eq_ignore_ascii_case(&byte).then_some(2),
        [plain, ..] => plain.eq_ignore_ascii_case(&byte).then_some(1),
        [] => None,
    }
}

/// A class from behind its `[`: is `byte`, lower case, in it, and how long is it? One that is not closed ends
/// with the pattern.
fn class(mut rest: &[u8], byte: u8) -> (bool, usize) {
    let whole = rest.len();
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b'\\', escaped, rest @ ..] => {
                found |= escaped.to_ascii_lowercase() == byte;
                rest
            }
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                rest
            }
            [plain, rest @ ..] => {
                found |= plain.to_ascii_lowercase() == byte;
                rest
            }
        };
    }
    (found != negated, whole - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, wanted) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("max*", "maxmemory", true),
            ("MAX*y", "maxmemory", true),
            ("max*x", "maxmemory", false),
            ("*m*m*y", "maxmemory", true),
            ("m?xmemory", "maxmemory", true),
            ("m?", "m", false),
            ("[l-n]ax*", "maxmemory", true),
            ("[n-l]ax*", "MAXMEMORY", true),
            ("[^m]ax*", "maxmemory", false),
            ("[abm]ax", "max", true),
            ("[ab", "b", true),
            ("[^ab", "b", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("save", "save", true),
            ("save", "saved", false),
            ("**", "a", true),
            ("*a*", "bbb", false),
        ] {
            let matched = matches_any_case(pattern.as_bytes(), text.as_bytes());
            assert_eq!(matched, wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_its_length_says() {
        let pattern = [b"a*".repeat(10_000), b"b".to_vec()].concat();
        assert!(!matches_any_case(&pattern, &b"a".repeat(60)));
    }
}
