//! Path patterns of delegations: shell patterns (glob(7)) that never match across a `/`.

/// Whether `pattern` matches the whole of `path`. Takes time that grows with the product of the
/// two lengths, which the format bounds.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) => {
                let pattern: Vec<char> = pattern.chars().collect();
                let part: Vec<char> = part.chars().collect();
                if !part_matches(&pattern, &part) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn part_matches(pattern: &[char], part: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star is, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < part.len() {
        let one = match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => one_matches(&pattern[p..], part[t]),
            None => None,
        };
        match (one, star) {
            (Some(taken), _) => (p, t) = (p + taken, t + 1),
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Length of the pattern for one character at its start, if it matches `c`.
fn one_matches(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match set_matches(&pattern[1..], c) {
            Some((length, matched)) => matched.then_some(length + 1),
            // A bracket that does not close means itself.
            None => (c == '[').then_some(1),
        },
        own => (*own == c).then_some(1),
    }
}

/// Whether the set that follows a `[` has `c`, and its length with the `]`. None if it does not end.
fn set_matches(set: &[char], c: char) -> Option<(usize, bool)> {
    let negated = set.first() == Some(&'!');
    let mut at = usize::from(negated);
    let (start, mut found) = (at, false);
    loop {
        let first = *set.get(at)?;
        if first == ']' && at > start {
            return Some((at + 1, found != negated));
        }
        match (set.get(at + 1), set.get(at + 2)) {
            (Some('-'), Some(last)) if *last != ']' => {
                found |= (first..=*last).contains(&c);
                at += 3;
            }
            _ => {
                found |= first == c;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_the_specification_says() {
        for (pattern, yes, no) in [
            ("targets/*.tgz", &["targets/foo.tgz", "targets/.tgz"][..], &["targets/foo.txt"][..]),
            ("foo-version-?.tgz", &["foo-version-2.tgz"], &["foo-version-alpha.tgz"]),
            ("*.tgz", &["foo.tgz"], &["targets/foo.tgz", "foo.tgz/x"]),
            ("foo.tgz", &["foo.tgz"], &["foo.tg", "foo.tgzz", "xfoo.tgz"]),
            ("*", &["a", ""], &["a/b", "/"]),
            ("*/*", &["a/b"], &["a", "a/b/c"]),
            ("a*b*c", &["abc", "aXbbXc", "abbbc"], &["ab", "acb", "abcd"]),
            ("**", &["abc"], &["a/b"]),
            ("[a-c]?", &["a1", "c2"], &["d1", "a"]),
            ("[!a]", &["b"], &["a", "/"]),
            ("[]x]", &["]", "x"], &["[", "y"]),
            ("[ab", &["[ab"], &["a", "b"]),
            ("", &[""], &["a"]),
        ] {
            for path in yes {
                assert!(matches(pattern, path), "{pattern} {path}");
            }
            for path in no {
                assert!(!matches(pattern, path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn a_pattern_made_to_take_long_does_not() {
        let (pattern, path) = ("*a".repeat(500) + "b", "a".repeat(1024));
        assert!(!matches(&pattern, &path));
    }
}
