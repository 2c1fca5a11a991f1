//! Terms beside those of Erlang/OTP 25: `vectors/terms.txt`, which `vectors/make.escript` writes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use atropos_dist::term::{DecodeErrorKind, Limits, Term, TermBuilder};
use bytes::{BufMut as _, Bytes, BytesMut};

const VECTORS: &str = include_str!("vectors/terms.txt");

fn bytes(hexadecimal: &str) -> Bytes {
    let digits = hexadecimal.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn term(hexadecimal: &str) -> Term {
    Term::decode(&bytes(hexadecimal), Limits::default()).unwrap_or_else(|error| panic!("{error}: {hexadecimal}"))
}

fn hash(term: &Term) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(term)
}

/// Returns the fields of the lines of a kind, and asserts that there are some.
fn lines(kind: &str) -> Vec<Vec<&'static str>> {
    let lines: Vec<Vec<_>> = VECTORS
        .lines()
        .filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))
        // The text of a term, the last field, has spaces.
        .map(|fields| fields.splitn(if kind == "text" { 2 } else { 9 }, ' ').collect())
        .collect();
    assert!(lines.len() > 20, "{kind}");
    lines
}

#[test]
fn what_erlang_writes_is_kept() {
    for fields in lines("keep").iter().chain(&lines("text")) {
        let term = term(fields[0]);
        assert_eq!(term.as_bytes(), bytes(fields[0]), "{term}");
        let mut external = BytesMut::new();
        term.write_external(&mut external);
        let again = Term::from_external(&external.freeze(), Limits::default()).unwrap();
        assert_eq!((&again, hash(&again)), (&term, hash(&term)));
        // A builder makes the same of its parts.
        assert_eq!(TermBuilder::new().part(term.view()).finish().as_bytes(), term.as_bytes());
    }
}

#[test]
fn terms_are_printed_as_by_erlang() {
    for fields in lines("text") {
        assert_eq!(term(fields[0]).to_string(), fields[1]);
    }
}

#[test]
fn unusual_encodings_become_usual() {
    for fields in lines("same") {
        let (odd, usual) = (term(fields[0]), term(fields[1]));
        assert_eq!(odd.as_bytes(), usual.as_bytes(), "{}", fields[0]);
        // Also inside of other terms, and with bytes behind them.
        let usual = [&[104, 2, 106], usual.as_bytes()].concat();
        let mut odd: Bytes = [&[104, 2, 106][..], &bytes(fields[0]), b"behind"].concat().into();
        let decoded = Term::decode_first(&mut odd, Limits::default()).unwrap();
        assert_eq!((decoded.as_bytes(), &odd[..]), (&usual[..], &b"behind"[..]));
    }
}

/// The fuzz target found terms that were equal and had other bytes.
#[test]
fn every_sign_but_zero_is_the_negative_one() {
    for (odd, usual) in [
        ("6e086100000001000000ff", "6e080100000001000000ff"),
        ("6e04ff01000080", "6e040101000080"),
        ("6f00000004ff01000080", "6e040101000080"),
    ] {
        let (odd, usual) = (term(odd), term(usual));
        assert_eq!((&odd, odd.as_bytes(), hash(&odd)), (&usual, usual.as_bytes(), hash(&usual)));
    }
}

#[test]
fn what_erlang_refuses_is_refused() {
    for fields in lines("bad") {
        let inside = [&[104, 2, 106][..], &bytes(fields[0])].concat().into();
        for bytes in [bytes(fields[0]), inside] {
            let result = Term::decode(&bytes, Limits::default());
            assert!(result.is_err(), "{} is {result:?}", fields[0]);
        }
    }
}

#[test]
fn order_and_equality_are_those_of_erlang() {
    let ordering = |character| match character {
        Some(b'<') => Ordering::Less,
        Some(b'=') => Ordering::Equal,
        _ => Ordering::Greater,
    };
    for fields in lines("order") {
        let (left, right) = (term(fields[0]), term(fields[1]));
        let compared = [left.compare(&right), left.cmp(&right)];
        let expected = [0, 1].map(|at| ordering(fields[2].as_bytes().get(at).copied()));
        assert_eq!(compared, expected, "{left} and {right}");
        assert_eq!([right.compare(&left), right.cmp(&left)], expected.map(Ordering::reverse));
        assert_eq!((left == right, left.view() == right.view()), (expected[1].is_eq(), expected[1].is_eq()));
        assert!(left != right || hash(&left) == hash(&right), "{left} and {right}");
    }
}

/// `-0.0` equals `0.0`. The process that made a closure does not count, and neither do last words
/// of references that are 0.
#[test]
fn equal_terms_of_different_bytes_are_one_key() {
    let reference = "5a000377036140620000000700000001";
    let closure = |creator| {
        let parts = "010123456789abcdeffedcba98765432100000000300000000770b736f6d655f6d6f64756c656103";
        format!("700000004a{parts}6200bc614e587703614062{creator}0000000000000007").replace("6103", "6103")
    };
    let pairs = [
        ("468000000000000000".to_owned(), "460000000000000000".to_owned()),
        (format!("{reference}0000000000000000"), format!("{}00000000", reference.replace("5a0003", "5a0002"))),
        (closure("00000001"), closure("00000002")),
    ];
    for (left, right) in pairs {
        for wrap in ["", "6802", "6c00000002"] {
            let parts = |part: &str| match wrap {
                "" => part.to_owned(),
                "6802" => format!("{wrap}{part}6a"),
                _ => format!("{wrap}61{part}{part}6a").replacen("61", "6a", 1).replacen("6a", "", 1),
            };
            let (left, right) = (term(&parts(&left)), term(&parts(&right)));
            assert_ne!(left.as_bytes(), right.as_bytes());
            assert_eq!((&left, hash(&left)), (&right, hash(&right)));
            assert_eq!(BTreeMap::from([(left, 1)]).get(&right), Some(&1));
        }
    }
}

#[test]
fn strings_are_as_long_as_erlangs() {
    let list = |length: usize| {
        let mut bytes = BytesMut::new();
        bytes.put_u8(108);
        bytes.put_u32(length as u32);
        (0..length).for_each(|_| bytes.put_slice(&[97, 7]));
        bytes.put_u8(106);
        bytes.freeze()
    };
    let longest = Term::decode(&list(65_535), Limits::default()).unwrap();
    assert_eq!(longest.as_bytes()[..4], [107, 255, 255, 7]);
    let longer = Term::decode(&list(65_536), Limits::default()).unwrap();
    assert_eq!(longer.as_bytes(), list(65_536));
    // A list that comes in pieces, of which the last is a string.
    let pieces = [&[108, 0, 0, 0, 1, 97, 7, 107, 255, 255][..], &[7; 65_535]].concat();
    assert_eq!(Term::decode(&pieces.into(), Limits::default()).unwrap(), longer);
}

/// Returns bytes of `depth` open terms, a leaf, and what closes them.
fn nested(open: &[u8], leaf: &[u8], close: &[u8], depth: usize) -> Bytes {
    [open.repeat(depth), leaf.to_vec(), close.repeat(depth)].concat().into()
}

/// The kinds of nesting, with 100,000 levels and more: in the canonical form and in others, and
/// where a naive decoder takes quadratic time.
#[test]
fn depth_takes_no_stack_and_no_quadratic_time() {
    let depth = 100_000;
    // One kind has two levels each.
    let limits = Limits { depth: 2 * depth };
    let swapped: &[u8] = &[116, 0, 0, 0, 2, 119, 1, b'b', 106, 119, 1, b'a'];
    for (open, leaf, close) in [
        (&[108, 0, 0, 0, 1][..], &[106][..], &[106][..]),
        (&[104, 1], &[106], &[]),
        (&[105, 0, 0, 0, 1], &[106], &[]),
        (&[116, 0, 0, 0, 1, 97, 1], &[106], &[]),
        // Maps in maps, as values and as keys, whose pairs are out of order.
        (swapped, &[106], &[]),
        (&[116, 0, 0, 0, 2, 97, 2, 106], &[106], &[97, 3]),
        (&[116, 0, 0, 0, 2, 104, 1], &[106], &[106, 97, 1, 106]),
        // Lists whose tails are lists.
        (&[108, 0, 0, 0, 1, 97, 1], &[106], &[]),
        (&[108, 0, 0, 0, 1, 104, 0], &[106], &[]),
        (&[108, 0, 0, 0, 0], &[97, 1], &[]),
    ] {
        let bytes = nested(open, leaf, close, depth);
        let term = Term::decode(&bytes, limits).unwrap();
        let again = Term::decode(&term.to_bytes(), limits).unwrap();
        assert_eq!(again.as_bytes(), term.as_bytes());
        assert_eq!(term, again);
        assert_eq!((term.cmp(&again), term.compare(&again)), (Ordering::Equal, Ordering::Equal));
        assert_eq!(hash(&term), hash(&again));
        assert!(!term.to_string().is_empty());
        // A term that differs only in its innermost part is another one.
        let other = Term::decode(&nested(open, b"h\0", close, depth), limits);
        if let Ok(other) = other {
            assert_ne!(term, other);
            assert_eq!(term.cmp(&other), other.cmp(&term).reverse());
        }
        let limit = Limits { depth: 1000 };
        let is_nested = !open.starts_with(&[108, 0, 0, 0, 0]) && close.is_empty() && open[0] != 108 || close == [106];
        if is_nested {
            assert_eq!(Term::decode(&bytes, limit).unwrap_err().kind, DecodeErrorKind::TooDeep);
        }
    }
}

/// A large map comes in the order of its hashes, and leaves in the order of its keys.
#[test]
fn large_maps_are_put_in_order() {
    let mut bytes = BytesMut::new();
    bytes.put_u8(116);
    bytes.put_u32(5000);
    // 2,503 is a generator of the order: each key comes once.
    for at in 0..5000_u64 {
        let key = at * 2503 % 5000;
        bytes.put_slice(&[98, 0, 0, (key >> 8) as u8 + 0x10, key as u8, 97, 1]);
    }
    let map = Term::decode(&bytes.freeze(), Limits::default()).unwrap();
    let keys: Vec<_> = map.view().as_map().unwrap().iter().map(|(key, _)| key.as_i64().unwrap()).collect();
    assert!(keys.is_sorted() && keys.len() == 5000);
    for key in [0x1000, 0x2387] {
        assert!(map.view().as_map().unwrap().get(&Term::from(key)).is_some());
    }
    for key in [0x0fff, 0x2388] {
        assert!(map.view().as_map().unwrap().get(&Term::from(key)).is_none());
    }
}
