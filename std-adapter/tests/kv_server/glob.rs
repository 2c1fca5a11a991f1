//! Tests of key patterns.

use proptest::prelude::*;

use crate::kv::glob::{Glob, matches};

/// Matches by Redis's rules, trying all choices one after the other: exponential, for short texts.
fn tried(pattern: &[u8], key: &[u8]) -> bool {
    match (pattern, key) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=key.len()).any(|taken| tried(rest, &key[taken..])),
        ([b'?', rest @ ..], [_, left @ ..]) => tried(rest, left),
        ([b'\\', escaped, rest @ ..], [byte, left @ ..]) => escaped == byte && tried(rest, left),
        ([wanted, rest @ ..], [byte, left @ ..]) => wanted == byte && tried(rest, left),
        _ => false,
    }
}

proptest! {
    #[test]
    fn any_pattern_matches_as_all_choices_would(
        pattern in proptest::collection::vec(proptest::sample::select(b"ab*?\\".to_vec()), 0..10),
        key in proptest::collection::vec(proptest::sample::select(b"ab".to_vec()), 0..10),
    ) {
        prop_assert_eq!(matches(&pattern, &key), tried(&pattern, &key));
    }

    /// Checks that a match completes with the same result, however small its steps are.
    #[test]
    fn a_match_resumes_where_it_stopped(
        pattern in proptest::collection::vec(proptest::sample::select(b"ab*?[]^-\\".to_vec()), 0..16),
        key in proptest::collection::vec(proptest::sample::select(b"ab-]".to_vec()), 0..16),
    ) {
        let mut glob = Glob::new(&pattern, &key);
        let stepped = loop {
            if let Some(found) = glob.run(&mut 1) {
                break found;
            }
        };
        prop_assert_eq!(stepped, matches(&pattern, &key));
    }
}

#[test]
fn classes_match_as_in_redis() {
    for (pattern, key, expected) in [
        ("h[^e]llo", "hallo", true),
        ("h[^e]llo", "hello", false),
        ("h[a-c]llo", "hbllo", true),
        ("h[c-a]llo", "hbllo", true),
        ("h[\\]]llo", "h]llo", true),
        ("h[a-]llo", "h-llo", false),
        ("[]", "a", false),
        ("[^]", "a", true),
        ("h[a", "ha", true),
        ("h[a", "hallo", false),
        ("h\\", "h\\", true),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
    ] {
        assert_eq!(matches(pattern.as_bytes(), key.as_bytes()), expected, "{pattern} {key}");
    }
}

/// Issue 14, 24: a match takes at most (length of the pattern) × (length of the key) steps, and no
/// stack.
#[test]
fn n24_no_pattern_explodes() {
    for (pattern, key) in [
        ("a*".repeat(50) + "b", "a".repeat(100)),
        ("*".repeat(60_000) + "zz", "k".repeat(1000)),
        ("*a".repeat(500), "a".repeat(499)),
        ("*[abc]?".repeat(100) + "z", "abc".repeat(300)),
        ("*[".to_owned() + &"xyz".repeat(300) + "]b", "x".repeat(900)),
        ("*[^".to_owned() + &"a".repeat(1000), "a".repeat(1000)),
    ] {
        let mut left = 2 * (pattern.len() + 1) * (key.len() + 1);
        assert_eq!(Glob::new(pattern.as_bytes(), key.as_bytes()).run(&mut left), Some(false), "{pattern:.20}");
    }
}
