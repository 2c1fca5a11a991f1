//! Typed messages by serde: what derives give, what is read leniently, and what errors say.

use std::collections::BTreeMap;
use std::fmt::Debug;

use atropos_dist::term::{
    Atom, ErlPid, ErlPort, ErlReference, Limits, SerdeError, Term, TermBuilder, from_term, to_term,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Asserts that a value has this term, as text, and comes back.
#[track_caller]
fn both_ways<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, text: &str) {
    let term = to_term(&value).unwrap();
    assert_eq!(term.to_string(), text);
    assert_eq!(from_term::<T>(&term).unwrap(), value);
    // A written term is in canonical form.
    let again = Term::decode(&term.to_bytes(), Limits::default()).unwrap();
    assert_eq!(again.as_bytes(), term.as_bytes());
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct User {
    name: String,
    age: u32,
    #[serde(default)]
    tags: Vec<Atom>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Point(i32, f64);

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Meters(f64);

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename = "ping")]
struct Ping;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(rename_all = "snake_case")]
enum Request {
    Clear,
    GetKey(String),
    Put(String, User),
    Watch { from: ErlPid, tag: Term },
    Sum((i32, i32)),
}

fn user() -> User {
    User { name: "Zoë".into(), age: 42, tags: vec![Atom::new("a").unwrap()] }
}

fn pid() -> ErlPid {
    ErlPid::new(Atom::new("a@b").unwrap(), 7, 3)
}

#[test]
fn numbers_and_text() {
    both_ways(true, "true");
    both_ways(0_u8, "0");
    both_ways(-1_i8, "-1");
    both_ways(i64::MIN, "-9223372036854775808");
    both_ways(u64::MAX, "18446744073709551615");
    both_ways(u128::MAX, "340282366920938463463374607431768211455");
    both_ways(i128::MIN, "-170141183460469231731687303715884105728");
    both_ways(1.5_f32, "1.5");
    both_ways(-0.0_f64, "-0.0");
    both_ways('日', "26085");
    both_ways(String::from("日本"), "<<\"日本\"/utf8>>");
    both_ways((), "{}");
}

#[test]
fn collections() {
    both_ways(vec![1_u32, 2, 300], "[1,2,300]");
    both_ways(vec![1_u32, 2], "[1,2]");
    both_ways(Vec::<u32>::new(), "[]");
    both_ways(b"text".to_vec(), "\"text\"");
    both_ways(vec![vec![1_u8], vec![]], "[[1],[]]");
    both_ways((1, String::from("a"), [true, false]), "{1,<<\"a\">>,{true,false}}");
    both_ways(BTreeMap::from([(String::from("b"), 1), (String::from("aa"), 2)]), "#{<<\"aa\">> => 2,<<\"b\">> => 1}");
    both_ways(BTreeMap::from([((1, 2), vec![0_u8; 300])]).len(), "1");
    both_ways(Some(5), "5");
    both_ways(None::<i32>, "undefined");
    // More than 65,535 bytes are a list in Erlang's encoding, not a string.
    let long = vec![7_u8; 70_000];
    assert_eq!(from_term::<Vec<u8>>(&to_term(&long).unwrap()).unwrap(), long);
}

#[test]
fn structs_and_enums() {
    both_ways(user(), "#{age => 42,name => <<\"Zoë\"/utf8>>,tags => [a]}");
    both_ways(Point(1, 2.5), "{'Point',1,2.5}");
    both_ways(Meters(2.5), "2.5");
    both_ways(Ping, "ping");
    both_ways(Request::Clear, "clear");
    both_ways(Request::GetKey("k".into()), "{get_key,<<\"k\">>}");
    let put = "{put,<<\"k\">>,#{age => 42,name => <<\"Zoë\"/utf8>>,tags => [a]}}";
    both_ways(Request::Put("k".into(), user()), put);
    both_ways(Request::Sum((1, 2)), "{sum,{1,2}}");
    let tag = TermBuilder::new().list(1).atom("alias").reference(reference().as_ref()).finish();
    both_ways(Request::Watch { from: pid(), tag }, "{watch,#{from => <a@b.7.0>,tag => [alias|#Ref<a@b.0.0.9>]}}");
}

fn reference() -> ErlReference {
    ErlReference::new(Atom::new("a@b").unwrap(), 9, 3)
}

#[test]
fn results_are_erlangs() {
    type Answer = Result<u32, Atom>;
    both_ways(Answer::Ok(1), "{ok,1}");
    both_ways(Answer::Err(Atom::new("badarg").unwrap()), "{error,badarg}");
    both_ways(Result::<(), u8>::Ok(()), "ok");
    both_ways(vec![Result::<(), u8>::Ok(()), Err(300_u16 as u8)], "[ok,{error,44}]");
    // A variant of another enum keeps its name.
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Other {
        Ok(u8),
    }
    both_ways(Other::Ok(1), "{'Ok',1}");
}

#[test]
fn types_of_terms_are_themselves() {
    both_ways(Atom::new("with space").unwrap(), "'with space'");
    both_ways(pid(), "<a@b.7.0>");
    both_ways(reference(), "#Ref<a@b.0.0.9>");
    both_ways(ErlPort { node: Atom::new("a@b").unwrap(), id: 1 << 40, creation: 1 }, "#Port<a@b.1099511627776>");
    // Terms that equal others of other bytes, and a long one.
    let special = TermBuilder::new().tuple(2).float(-0.0).binary(&[1; 100]).finish();
    let value = (special.clone(), vec![special.clone()]);
    let term = to_term(&value).unwrap();
    let back: (Term, Vec<Term>) = from_term(&term).unwrap();
    assert_eq!(back.0.as_bytes(), special.as_bytes());
    let positive = TermBuilder::new().tuple(2).float(0.0).binary(&[1; 100]).finish();
    assert_eq!(to_term(&(positive.clone(), vec![positive])).unwrap(), term);
}

fn term(build: impl FnOnce(TermBuilder) -> TermBuilder) -> Term {
    build(TermBuilder::new()).finish()
}

#[test]
fn other_forms_are_read() {
    assert_eq!(from_term::<f64>(&Term::from(3)).unwrap(), 3.0);
    assert_eq!(from_term::<String>(&Term::atom("abc")).unwrap(), "abc");
    let text = term(|new| new.list(2).integer(97).integer(0x65e5).nil());
    assert_eq!(from_term::<String>(&text).unwrap(), "a日");
    assert_eq!(from_term::<Vec<u8>>(&Term::binary(b"ab")).unwrap(), b"ab");
    assert_eq!(from_term::<Option<u8>>(&Term::atom("nil")).unwrap(), None);
    assert_eq!(from_term::<(u8, u8)>(&term(|new| new.list(2).integer(1).integer(2).nil())).unwrap(), (1, 2));
    assert_eq!(from_term::<Vec<u8>>(&term(|new| new.tuple(2).integer(1).integer(2))).unwrap(), [1, 2]);
    assert_eq!(from_term::<Point>(&term(|new| new.tuple(2).integer(1).float(2.0))).unwrap(), Point(1, 2.0));
    assert_eq!(from_term::<char>(&Term::binary(b"x")).unwrap(), 'x');
    // Records, and keys that are binaries.
    let record = term(|new| new.tuple(4).atom("User").binary("Zoë".as_bytes()).integer(42).list(1).atom("a").nil());
    assert_eq!(from_term::<User>(&record).unwrap(), user());
    let map = term(|new| new.map(2).binary(b"name").binary(b"x").binary(b"age").integer(1));
    assert_eq!(from_term::<User>(&map).unwrap(), User { name: "x".into(), age: 1, tags: vec![] });
    // Unknown keys are stepped over, whatever they hold.
    let more = term(|new| new.map(3).atom("age").integer(1).atom("name").atom("x").atom("zz").tuple(1).map(0));
    assert_eq!(from_term::<User>(&more).unwrap().age, 1);
    assert_eq!(from_term::<Request>(&term(|new| new.tuple(1).atom("clear"))).unwrap(), Request::Clear);
    // Borrowed from the term.
    let binary = Term::binary(b"borrowed");
    assert_eq!(from_term::<&str>(&binary).unwrap(), "borrowed");
}

#[track_caller]
fn error<T: DeserializeOwned + Debug>(term: &Term) -> (String, String) {
    let error = from_term::<T>(term).unwrap_err();
    assert_eq!(error.to_string(), format!("{} (at {})", error.message(), error.path()));
    (error.path(), error.message().to_owned())
}

#[test]
fn errors_name_the_place() {
    let users = to_term(&(1, vec![user(), user()])).unwrap();
    #[derive(Deserialize, Debug)]
    struct Strict {
        #[allow(dead_code, reason = "only read")]
        age: u32,
        #[allow(dead_code, reason = "only read")]
        name: bool,
    }
    let (path, message) = error::<(u8, Vec<Strict>)>(&users);
    assert_eq!(path, "$[1][0].name");
    assert!(message.contains("<<\"Zoë\"/utf8>>") && message.contains("a boolean"), "{message}");

    let (path, message) = error::<User>(&Term::from(7));
    assert_eq!((&path[..], &message[..]), ("$", "invalid type: integer `7`, expected struct User"));
    let (path, message) = error::<User>(&term(|new| new.map(1).atom("age").integer(-1)));
    assert_eq!((&path[..], &message[..]), ("$.age", "invalid value: integer `-1`, expected u32"));
    let (path, message) = error::<User>(&term(|new| new.map(1).atom("age").integer(1)));
    assert_eq!((&path[..], &message[..]), ("$", "missing field `name`"));
    let (path, _) = error::<BTreeMap<u8, u8>>(&term(|new| new.map(1).tuple(1).nil().integer(300)));
    assert_eq!(path, "$.key");
    let (path, _) = error::<BTreeMap<(u8,), u8>>(&term(|new| new.map(1).tuple(1).integer(1).integer(300)));
    assert_eq!(path, "$.{1}");

    let (path, message) = error::<Request>(&Term::atom("clean"));
    assert_eq!(path, "$");
    assert!(message.starts_with("unknown variant `clean`, expected one of `clear`"), "{message}");
    let (path, _) = error::<Request>(&term(|new| new.tuple(2).atom("get_key").integer(1)));
    assert_eq!(path, "$.get_key");
    let (path, message) = error::<Request>(&term(|new| new.tuple(2).atom("clear").integer(1)));
    assert_eq!((&path[..], &message[..]), ("$.clear", "this variant has no content"));
    let (path, message) = error::<Request>(&term(|new| new.tuple(3).atom("get_key").binary(b"").nil()));
    assert_eq!((&path[..], &message[..]), ("$.get_key", "1 elements too many"));
    let (path, _) = error::<Request>(&term(|new| new.tuple(3).atom("put").binary(b"").atom("x")));
    assert_eq!(path, "$.put[1]");
    let (_, message) = error::<Request>(&term(|new| new.tuple(0)));
    assert_eq!(message, "a tuple that does not begin with the name of a variant");
    let (_, message) = error::<ErlPid>(&Term::atom("x"));
    assert_eq!(message, "expected a pid, found x");
    let (_, message) = error::<(u8, u8)>(&term(|new| new.tuple(3).integer(1).integer(2).integer(3)));
    assert_eq!(message, "1 elements too many");
    let (_, message) = error::<Vec<u8>>(&term(|new| new.list(1).integer(1).integer(2)));
    assert_eq!(message, "the list is improper");
    let (_, message) = error::<u128>(&term(|new| new.integer(1)).part_of_300_bits());
    assert_eq!(message, "the integer has more than 128 bits");
}

trait Wide {
    fn part_of_300_bits(&self) -> Term;
}

impl Wide for Term {
    fn part_of_300_bits(&self) -> Term {
        let mut bytes = vec![110, 38, 0];
        bytes.extend_from_slice(&[1; 38]);
        Term::decode(&bytes.into(), Limits::default()).unwrap()
    }
}

#[test]
fn what_erlang_has_no_term_for_is_an_error() {
    let message = |result: Result<Term, SerdeError>| result.unwrap_err().to_string();
    assert_eq!(message(to_term(&vec![1.0, f64::NAN])), "a float of Erlang is finite (at $[1])");
    let long = BTreeMap::from([("x".repeat(256), 1)]);
    assert!(to_term(&long).is_ok(), "text is a binary");
    #[derive(Serialize)]
    struct Keys {
        value: f64,
    }
    assert_eq!(message(to_term(&(1, Keys { value: f64::INFINITY }))), "a float of Erlang is finite (at $[1].value)");
}

/// A type that is nested as deep as a peer likes.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Nest {
    Leaf,
    Nest(Vec<Nest>),
}

#[test]
fn recursive_types_end() {
    let nested = |depth: usize| {
        let new = (0..depth).fold(TermBuilder::new(), |new, _| new.tuple(2).atom("Nest").list(1));
        (0..depth).fold(new.atom("Leaf"), |new, _| new.nil()).finish()
    };
    assert!(from_term::<Nest>(&nested(64)).is_ok());
    for depth in [65, 100_000] {
        let error = from_term::<Nest>(&nested(depth)).unwrap_err();
        assert_eq!(error.message(), "the term is nested deeper than 128 levels");
    }
    // A term inside of a type takes what is there.
    assert_eq!(from_term::<Term>(&nested(100_000)).unwrap(), nested(100_000));
    assert!(from_term::<(Term,)>(&term(|new| new.tuple(1).term(&nested(1000)))).is_ok());
}

/// Enums without tags, flattened fields and the like buffer what they read.
#[test]
fn untagged_types_are_read() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(untagged)]
    enum Any {
        Flag(bool),
        Number(i64),
        Text(String),
        Pid(ErlPid),
        List(Vec<Any>),
        Map(BTreeMap<String, Any>),
    }
    let any = Any::List(vec![
        Any::Flag(true),
        Any::Number(-300),
        Any::Text("x".into()),
        Any::Pid(pid()),
        Any::Map(BTreeMap::from([("k".into(), Any::List(vec![]))])),
    ]);
    both_ways(any, "[true,-300,<<\"x\">>,<a@b.7.0>,#{<<\"k\">> => []}]");
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Outer {
        id: u8,
        #[serde(flatten)]
        user: User,
    }
    // The keys of flattened fields are text.
    both_ways(
        Outer { id: 1, user: user() },
        "#{<<\"age\">> => 42,<<\"id\">> => 1,<<\"name\">> => <<\"Zoë\"/utf8>>,<<\"tags\">> => [a]}",
    );
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Everything {
    integers: (i8, u16, i64, u128, i128),
    float: f64,
    text: String,
    character: char,
    option: Option<Box<Everything>>,
    list: Vec<(bool, Vec<u8>)>,
    map: BTreeMap<i16, Choice>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
enum Choice {
    Unit,
    One(i32),
    Two(i32, String),
    Named { first: u8, second: Vec<i64> },
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::Unit),
        any::<i32>().prop_map(Choice::One),
        any::<(i32, String)>().prop_map(|(number, text)| Choice::Two(number, text)),
        any::<(u8, Vec<i64>)>().prop_map(|(first, second)| Choice::Named { first, second }),
    ]
}

fn everything() -> impl Strategy<Value = Everything> {
    let flat = (
        any::<(i8, u16, i64, u128, i128)>(),
        any::<f64>().prop_filter("finite", |float| float.is_finite()),
        any::<(String, char)>(),
        proptest::collection::vec(any::<(bool, Vec<u8>)>(), 0..4),
        proptest::collection::btree_map(any::<i16>(), choice(), 0..50),
    );
    let flat = flat
        .prop_map(|(integers, float, (text, character), list, map)| Everything {
            integers,
            float,
            text,
            character,
            option: None,
            list,
            map,
        })
        .boxed();
    (flat.clone(), proptest::option::of(flat)).prop_map(|(mut outer, inner)| {
        outer.option = inner.map(Box::new);
        outer
    })
}

proptest! {
    #[test]
    fn values_come_back(value in everything()) {
        let term = to_term(&value).unwrap();
        prop_assert_eq!(from_term::<Everything>(&term).unwrap(), value);
        let again = Term::decode(&term.to_bytes(), Limits::default()).unwrap();
        prop_assert_eq!(again.as_bytes(), term.as_bytes());
    }
}
