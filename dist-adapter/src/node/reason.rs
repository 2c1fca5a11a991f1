//! Exit reasons on the wire and here: [`reason_of`] and [`term_of`].
//!
//! | here | on the wire |
//! | --- | --- |
//! | normal, with or without a result | `normal` |
//! | shutdown; with a value | `shutdown`; `{shutdown, V}` |
//! | kill, killed, noproc, noconnection | the same |
//! | a panic with text T | `{panic, <<T>>}`, at most 4,096 bytes |
//! | a [`TermReason`] | the term |
//! | any other value | `{value, <<its Debug text>>}` |
//!
//! A term that has none of these meanings becomes a [`TermReason`], and goes out as it came.

use std::fmt;

use atropos::{Reason, ReasonKind, ReasonValue};

use crate::term::{Term, TermBuilder};

/// The longest text of a panic on the wire, in bytes.
const TEXT: usize = 4096;

/// A term as the value of a [`Reason`].
#[derive(Clone, PartialEq)]
pub struct TermReason(pub Term);

impl fmt::Debug for TermReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.200}", self.0)
    }
}

/// Returns the reason that a term stands for.
///
/// `kill` becomes a value: as the reason of an end it is an ordinary reason, and as a signal it is
/// for the caller to tell apart.
pub fn reason_of(term: &Term) -> Reason {
    match term.view().as_atom() {
        Some("normal") => return Reason::NORMAL,
        Some("shutdown") => return Reason::SHUTDOWN,
        Some("killed") => return Reason::KILLED,
        Some("noproc") => return Reason::NOPROC,
        Some("noconnection") => return Reason::NOCONNECTION,
        _ => {}
    }
    match term.view().as_array() {
        Some([tag, value]) if tag.is_atom("shutdown") => Reason::shutdown_with(TermReason(term.part(value))),
        _ => Reason::value(TermReason(term.clone())),
    }
}

/// Returns the term of a reason.
pub fn term_of(reason: &Reason) -> Term {
    if *reason == Reason::OUT_OF_MEMORY {
        return tagged("panic", "out of memory");
    }
    match reason.kind() {
        ReasonKind::Normal => Term::atom("normal"),
        ReasonKind::Shutdown => Term::atom("shutdown"),
        ReasonKind::ShutdownWith(value) => {
            TermBuilder::new().tuple(2).atom("shutdown").term(&value_term(value)).finish()
        }
        ReasonKind::Kill => Term::atom("kill"),
        ReasonKind::Killed => Term::atom("killed"),
        ReasonKind::NoProc => Term::atom("noproc"),
        ReasonKind::NoConnection => Term::atom("noconnection"),
        ReasonKind::Crash(text) => tagged("panic", text),
        ReasonKind::Value(value) => value_term(value),
        _ => tagged("value", &std::format!("{reason:?}")),
    }
}

fn value_term(value: &dyn ReasonValue) -> Term {
    match value.downcast_ref::<TermReason>() {
        Some(TermReason(term)) => term.clone(),
        None => tagged("value", &std::format!("{value:?}")),
    }
}

fn tagged(tag: &str, text: &str) -> Term {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    TermBuilder::new().tuple(2).atom(tag).binary(&text.as_bytes()[..end]).finish()
}
