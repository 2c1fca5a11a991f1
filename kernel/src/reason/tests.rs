//! Tests of reasons.

use super::*;
use alloc::string::String;
use alloc::sync::Arc;

#[test]
fn equal_by_kind_and_value() {
    assert_eq!(Reason::NORMAL, Reason::NORMAL);
    assert_ne!(Reason::KILL, Reason::KILLED);
    assert_eq!(Reason::value(String::from("x")), Reason::value(String::from("x")));
    assert_ne!(Reason::value("x"), Reason::value(String::from("x")));
    assert_ne!(Reason::value("x"), Reason::shutdown_with("x"));
    assert_eq!(Reason::crash("x"), Reason::crash(String::from("x")));
}

#[test]
fn a_normal_end_with_a_result_is_normal() {
    struct Opaque(u8);
    let with = Reason::normal_with(Opaque(7));
    for normal in [&with, &Reason::NORMAL, &Reason::RESULT_OUT_OF_MEMORY] {
        assert!(normal.is_normal() && normal.is_orderly() && matches!(normal.kind(), ReasonKind::Normal));
        assert_eq!(alloc::format!("{normal} {normal:?}"), "normal normal");
        assert_eq!((normal, &with), (&with, &Reason::NORMAL));
        assert_ne!(*normal, Reason::SHUTDOWN);
    }
    assert_ne!(with, Reason::value(7_u8));
    assert_eq!(with.clone().result::<Opaque>().map(|opaque| opaque.0), Some(7));
    assert!(with.has_result() && with.result::<u8>().is_none());
    assert!(!Reason::NORMAL.has_result() && !Reason::value(7_u8).has_result());
    assert_eq!(Reason::value(7_u8).result::<u8>(), None, "the value of a reason is not a result");
    assert!(Reason::RESULT_OUT_OF_MEMORY.result_was_dropped() && !with.result_was_dropped());
}

/// Issue 14, item 17: a chain of reasons needs no stack for its length. (Before, each level was
/// a recursive call and the stack overflowed.)
#[test]
fn n17_reasons_in_reasons_are_dropped_compared_and_shown_without_recursion() {
    const DEEP: usize = if cfg!(miri) { 1_000 } else { 1_000_000 };
    let value = Arc::new(7);
    let chain = |wrap: fn(Reason) -> Reason| (0..DEEP).fold(Reason::value(value.clone()), |inner, _| wrap(inner));
    for wrap in [Reason::value::<Reason>, Reason::shutdown_with::<Reason>, Reason::normal_with::<Reason>] {
        let (one, other) = (chain(wrap), chain(wrap));
        assert!(one == other && one != Reason::KILL);
        let shown = alloc::format!("{one} {one:?} {:?}", one.kind());
        assert!(shown.len() < 4_000, "{} bytes", shown.len());
        drop((one.clone(), one, other));
        assert_eq!(Arc::strong_count(&value), 1, "the whole chain is dropped");
    }
    let two = Reason::shutdown_with(Reason::value(Reason::shutdown_with(3)));
    assert_eq!(alloc::format!("{two}"), "{shutdown, {shutdown, 3}}");
    assert_eq!(alloc::format!("{}", Reason::value(Reason::KILLED)), "killed");
    assert_ne!(Reason::value(Reason::KILLED), Reason::value(Reason::KILL));
}

#[test]
fn the_last_clone_drops_the_value() {
    let value = Arc::new(7);
    let reason = Reason::value(value.clone());
    let word = reason.clone().into_raw();
    drop(reason);
    assert_eq!(Arc::strong_count(&value), 2);
    // SAFETY: `word` holds a count until it is given back below.
    let copy = unsafe { Reason::clone_raw(word) }.expect("set");
    // SAFETY: `word` came from `into_raw` and is given back once.
    drop(unsafe { Reason::from_raw(word) });
    assert!(matches!(copy.kind(), ReasonKind::Value(v) if v.downcast_ref::<Arc<i32>>() == Some(&value)));
    drop(copy);
    assert_eq!(Arc::strong_count(&value), 1);
}
