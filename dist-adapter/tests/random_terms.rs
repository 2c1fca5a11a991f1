//! Random terms beside a plain recursive model: built, written in unusual ways, compared.

use std::cmp::Ordering;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use atropos_dist::term::{Limits, Term, TermBuilder};
use proptest::prelude::*;

/// A term of the kinds that have more than one encoding or a rule of their own in the order.
#[derive(Clone, Debug)]
enum Value {
    Integer(i128),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    Tuple(Vec<Value>),
    List(Vec<Value>, Box<Option<Value>>),
    Map(Vec<(Value, Value)>),
}

use Value::{Atom, Binary, Float, Integer, List, Map, Tuple};

/// Compares as Erlang does; exactly as the keys of maps are compared.
fn compare(left: &Value, right: &Value, is_exact: bool) -> Ordering {
    let rank = |value: &Value| match value {
        Integer(_) | Float(_) => 0,
        Atom(_) => 1,
        Tuple(_) => 2,
        Map(_) => 3,
        List(items, tail) if items.is_empty() && tail.is_none() => 4,
        List(..) => 5,
        Binary(_) => 6,
    };
    match (left, right) {
        (Integer(left), Integer(right)) => left.cmp(right),
        (Float(left), Float(right)) => left.partial_cmp(right).unwrap(),
        (Integer(_), Float(_)) if is_exact => Ordering::Less,
        (Float(_), Integer(_)) if is_exact => Ordering::Greater,
        // The generator makes only integers and floats that are exact in both.
        (Integer(left), Float(right)) => (*left as f64).partial_cmp(right).unwrap(),
        (Float(left), Integer(right)) => left.partial_cmp(&(*right as f64)).unwrap(),
        (Atom(left), Atom(right)) => left.cmp(right),
        (Binary(left), Binary(right)) => left.cmp(right),
        (Tuple(left), Tuple(right)) => left.len().cmp(&right.len()).then_with(|| each(left, right, is_exact)),
        (Map(left), Map(right)) => {
            let (left, right) = (sorted(left), sorted(right));
            let parts = |map: &[(Value, Value)]| -> (Vec<Value>, Vec<Value>) { map.iter().cloned().unzip() };
            let ((left_keys, left), (right_keys, right)) = (parts(&left), parts(&right));
            let length = left.len().cmp(&right.len());
            length.then_with(|| each(&left_keys, &right_keys, true)).then_with(|| each(&left, &right, is_exact))
        }
        (List(left, left_tail), List(right, right_tail)) if !left.is_empty() && !right.is_empty() => {
            compare(&left[0], &right[0], is_exact).then_with(|| {
                let rest = |items: &[Value], tail: &Option<Value>| match (&items[1..], tail) {
                    ([], Some(tail)) => tail.clone(),
                    (rest, tail) => List(rest.to_vec(), Box::new(tail.clone())),
                };
                compare(&rest(left, left_tail), &rest(right, right_tail), is_exact)
            })
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

fn each(left: &[Value], right: &[Value], is_exact: bool) -> Ordering {
    let mut pairs = left.iter().zip(right);
    pairs
        .find_map(|(left, right)| Some(compare(left, right, is_exact)).filter(|found| found.is_ne()))
        .unwrap_or(Ordering::Equal)
}

fn sorted(map: &[(Value, Value)]) -> Vec<(Value, Value)> {
    let mut map = map.to_vec();
    map.sort_by(|left, right| compare(&left.0, &right.0, true));
    map
}

fn build(value: &Value, new: TermBuilder) -> TermBuilder {
    match value {
        Integer(value) => new.integer(*value),
        Float(value) => new.float(*value),
        Atom(text) => new.atom(text),
        Binary(bytes) => new.binary(bytes),
        Tuple(elements) => elements.iter().fold(new.tuple(elements.len()), |new, element| build(element, new)),
        List(items, tail) => {
            let new = items.iter().fold(new.list(items.len()), |new, item| build(item, new));
            match &**tail {
                Some(tail) => build(tail, new),
                None => new.nil(),
            }
        }
        Map(pairs) => pairs.iter().fold(new.map(pairs.len()), |new, (key, value)| build(value, build(key, new))),
    }
}

/// Writes a value in encodings that `choices` select.
fn odd(value: &Value, choices: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    let choice = choices.next().unwrap_or_default();
    let count = |count: usize| (count as u32).to_be_bytes();
    match value {
        Integer(value) if choice.is_multiple_of(3) && i32::try_from(*value).is_ok() => {
            out.push(98);
            out.extend((*value as i32).to_be_bytes());
        }
        Integer(value) => {
            let digits = value.unsigned_abs().to_le_bytes();
            if choice % 3 == 1 {
                out.extend([110, 16])
            } else {
                out.extend([&[111][..], &count(16)].concat())
            }
            out.push((*value < 0).into());
            out.extend(digits);
        }
        Float(value) => {
            out.push(70);
            out.extend(value.to_be_bytes());
        }
        Atom(text) => {
            let latin1: Option<Vec<u8>> =
                text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
            match latin1.filter(|_| choice.is_multiple_of(2)) {
                Some(latin1) if choice.is_multiple_of(4) => {
                    out.extend([&[100], &(latin1.len() as u16).to_be_bytes()[..], &latin1].concat());
                }
                Some(latin1) => out.extend([&[115, latin1.len() as u8], &latin1[..]].concat()),
                None => out.extend([&[118], &(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()),
            }
        }
        Binary(bytes) => {
            let is_bits = choice.is_multiple_of(2) && !bytes.is_empty();
            out.push(if is_bits { 77 } else { 109 });
            out.extend(count(bytes.len()));
            if is_bits {
                out.push(8);
            }
            out.extend(bytes);
        }
        Tuple(elements) => {
            out.push(105);
            out.extend(count(elements.len()));
            elements.iter().for_each(|element| odd(element, choices, out));
        }
        List(items, tail) => {
            // In pieces, some of them empty, and some strings.
            let (mut items, mut shortest) = (&items[..], 0);
            while !items.is_empty() {
                let length = (usize::from(choices.next().unwrap_or(1)) % 4).clamp(shortest, items.len());
                shortest = 1 - length.min(1);
                let (piece, rest) = items.split_at(length);
                let bytes: Option<Vec<u8>> = piece
                    .iter()
                    .map(|item| if let Integer(value) = item { u8::try_from(*value).ok() } else { None })
                    .collect();
                // A string has no tail, so only the last piece may be one.
                if let Some(bytes) = bytes.filter(|_| rest.is_empty() && tail.is_none() && choice.is_multiple_of(2)) {
                    out.extend([&[107], &(bytes.len() as u16).to_be_bytes()[..], &bytes].concat());
                    return;
                }
                out.push(108);
                out.extend(count(piece.len()));
                piece.iter().for_each(|item| odd(item, choices, out));
                items = rest;
            }
            match &**tail {
                Some(tail) => odd(tail, choices, out),
                None => out.push(106),
            }
        }
        Map(pairs) => {
            out.push(116);
            out.extend(count(pairs.len()));
            for (key, value) in pairs.iter().rev() {
                odd(key, choices, out);
                odd(value, choices, out);
            }
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => (-3_i128..400).prop_map(Integer),
        1 => (-(1_i128 << 53)..1 << 53).prop_map(Integer),
        1 => (60_u32..90).prop_map(|bits| Integer(1_i128 << bits)),
        1 => (60_u32..90).prop_map(|bits| Integer(-(1_i128 << bits))),
        2 => (-6_i32..6).prop_map(|halves| Float(f64::from(halves) / 2.0)),
        1 => Just(Float(-0.0)),
        1 => (60..90).prop_map(|bits| Float(2_f64.powi(bits))),
        2 => "[a-cé日]{0,3}".prop_map(Atom),
        1 => proptest::collection::vec(any::<u8>(), 0..4).prop_map(Binary),
        1 => proptest::collection::vec(0_i128..256, 0..5)
            .prop_map(|bytes| List(bytes.into_iter().map(Integer).collect(), Box::new(None))),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let tail = prop_oneof![3 => Just(None), 1 => inner.clone().prop_map(Some)];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tuple),
            (proptest::collection::vec(inner.clone(), 1..5), tail).prop_map(|(items, tail)| match tail {
                // A tail that is a list belongs to the list.
                Some(List(more, tail)) => List(items.into_iter().chain(more).collect(), tail),
                tail => List(items, Box::new(tail)),
            }),
            proptest::collection::vec((inner.clone(), inner), 0..6).prop_map(|pairs| {
                let mut pairs = sorted(&pairs);
                pairs.dedup_by(|left, right| compare(&left.0, &right.0, true).is_eq());
                Map(pairs)
            }),
        ]
    })
}

/// Changes one part of a value, so that two that are nearly equal are compared.
fn nearly(value: &Value, choices: &mut impl Iterator<Item = u8>) -> Value {
    let choice = usize::from(choices.next().unwrap_or_default());
    match value.clone() {
        Integer(value) if choice % 2 == 0 && value.abs() < 1 << 53 => Float(value as f64),
        Integer(value) => Integer(value + 1),
        Float(value) if choice % 2 == 0 && value.abs() < 1e15 => Integer(value as i128),
        Float(value) => Float(-value),
        Tuple(mut elements) if !elements.is_empty() => {
            let at = choice % elements.len();
            elements[at] = nearly(&elements[at], choices);
            Tuple(elements)
        }
        List(mut items, tail) if !items.is_empty() => {
            let at = choice % items.len();
            items[at] = nearly(&items[at], choices);
            List(items, tail)
        }
        Map(mut pairs) if !pairs.is_empty() => {
            let at = choice / 2 % pairs.len();
            if choice % 2 == 0 {
                pairs[at].1 = nearly(&pairs[at].1, choices);
            } else {
                pairs[at].0 = nearly(&pairs[at].0, choices);
                pairs = sorted(&pairs);
                pairs.dedup_by(|left, right| compare(&left.0, &right.0, true).is_eq());
            }
            Map(pairs)
        }
        other => other,
    }
}

fn hash(term: &Term) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(term)
}

fn check_order(left: &Value, right: &Value) {
    let terms = [left, right].map(|value| build(value, TermBuilder::new()).finish());
    let [left_term, right_term] = &terms;
    let exact = compare(left, right, true);
    assert_eq!(left_term.cmp(right_term), exact);
    assert_eq!(left_term.compare(right_term), compare(left, right, false));
    assert_eq!((left_term == right_term, left_term.view() == right_term.view()), (exact.is_eq(), exact.is_eq()));
    assert!(exact.is_ne() || hash(left_term) == hash(right_term));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn unusual_encodings_give_the_same_term(value in value(), choices in proptest::collection::vec(any::<u8>(), 1..40)) {
        let built = build(&value, TermBuilder::new()).finish();
        let again = Term::decode(&built.to_bytes(), Limits::default()).unwrap();
        prop_assert_eq!(again.as_bytes(), built.as_bytes());
        let mut bytes = Vec::new();
        odd(&value, &mut choices.into_iter().cycle(), &mut bytes);
        let decoded = Term::decode(&bytes.into(), Limits::default()).unwrap();
        prop_assert_eq!(decoded.as_bytes(), built.as_bytes());
    }

    #[test]
    fn order_is_the_models(left in value(), right in value(), choices in proptest::collection::vec(any::<u8>(), 1..20)) {
        check_order(&left, &right);
        check_order(&left, &left);
        check_order(&left, &nearly(&left, &mut choices.into_iter().cycle()));
    }
}
