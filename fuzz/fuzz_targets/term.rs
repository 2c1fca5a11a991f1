//! Fuzzing of the decoder of Erlang terms. It never panics; what it accepts is in canonical form,
//! equals itself however it is written, keeps its order with others, prints, and is read by serde.
#![no_main]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use atropos_dist::term::{Kind, Limits, Term, TermBuilder, TermRef, from_term, to_term};
use bytes::Bytes;

/// Deep enough that a recursion would show, and shallow enough for many runs.
const LIMITS: Limits = Limits { depth: 100_000 };
/// A byte that stands for a term nested in as many lists and maps as the next byte says, times 256.
const MANY: u8 = 0xfa;

fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match (*byte, bytes.len()) {
            (MANY, 2..) if out.len() < 1 << 20 => {
                let count = usize::from(*bytes.next().unwrap_or(&0)) * 256;
                let open: &[u8] = match bytes.next().unwrap_or(&0) % 4 {
                    0 => &[108, 0, 0, 0, 1],
                    1 => &[104, 1],
                    2 => &[116, 0, 0, 0, 1, 106],
                    _ => &[116, 0, 0, 0, 2, 97, 2, 106],
                };
                out.extend(open.repeat(count));
            }
            (byte, _) => out.push(byte),
        }
    }
    out
}

fn hash(term: &Term) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(term)
}

/// Builds the term again from its parts, as far as these are simple.
fn rebuild(term: TermRef<'_>) -> Term {
    let new = TermBuilder::new();
    let built = match term.kind() {
        Kind::Tuple(tuple) => tuple.iter().fold(new.tuple(tuple.arity()), TermBuilder::part),
        Kind::List(list) => {
            let mut items = list.iter();
            let built = items.by_ref().fold(new.list(list.len()), TermBuilder::part);
            built.part(items.tail())
        }
        // In another order than the map's.
        Kind::Map(map) => {
            let pairs: Vec<_> = map.iter().collect();
            pairs.iter().rev().fold(new.map(map.len()), |new, (key, value)| new.part(*key).part(*value))
        }
        Kind::Atom(text) => new.atom(text),
        Kind::Integer(value) => match value.to_i128() {
            Some(value) => new.integer(value),
            None => new.part(term),
        },
        Kind::Float(value) => new.float(value),
        Kind::Binary(bytes) => new.binary(bytes),
        Kind::Pid(pid) => new.pid(pid),
        Kind::Port(port) => new.port(port),
        Kind::Reference(reference) => new.reference(reference),
        _ => new.part(term),
    };
    built.finish()
}

fn check(term: &Term) {
    let again = Term::decode(&term.to_bytes(), LIMITS).expect("an accepted term is a term");
    assert_eq!(again.as_bytes(), term.as_bytes(), "the canonical form is final");
    let rebuilt = rebuild(term.view());
    assert_eq!(rebuilt.as_bytes(), term.as_bytes(), "the parts make the term");
    for other in [&again, &rebuilt, &term.detached(), &term.view().to_term(), &term.part(term.view())] {
        assert!(term == other && term.view() == other.view() && hash(term) == hash(other));
        assert!(term.cmp(other).is_eq() && term.compare(other).is_eq());
    }
    assert!(!term.to_string().is_empty());
    assert!(format!("{term:.20}").chars().count() <= 23);
    if let Kind::Map(map) = term.kind() {
        for (key, value) in map.iter().take(100) {
            assert!(map.get(&key.to_term()) == Some(value));
        }
    }
    assert!(from_term::<Term>(term).expect("any term") == *term);
    type Values<'a> = BTreeMap<Option<i64>, (f64, Vec<&'a str>, Result<Term, u8>)>;
    if let Ok(values) = from_term::<Values<'_>>(term) {
        let written = to_term(&values).expect("what was read can be written");
        assert_eq!(from_term::<Values<'_>>(&written).as_ref(), Ok(&values));
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes::from(inflate(bytes));
    let mut terms = Vec::new();
    while let Ok(term) = Term::decode_first(&mut bytes, LIMITS) {
        check(&term);
        terms.push(term);
        if terms.len() == 3 || bytes.is_empty() {
            break;
        }
    }
    for left in &terms {
        for right in &terms {
            for (there, back) in [
                (left.cmp(right), right.cmp(left)),
                (left.compare(right), right.compare(left)),
                (left.view().to_term().cmp(right), right.cmp(left)),
            ] {
                assert_eq!(there, back.reverse());
            }
            assert_eq!(left == right, left.cmp(right).is_eq());
            assert!(left != right || hash(left) == hash(right) && left.compare(right).is_eq());
        }
    }
    if let [a, b, c] = &terms[..] {
        assert!(!(a < b && b < c) || a < c, "the order is transitive");
        let below = |left: &Term, right: &Term| left.compare(right) == Ordering::Less;
        assert!(!(below(a, b) && below(b, c)) || below(a, c), "the order is transitive");
    }
});
