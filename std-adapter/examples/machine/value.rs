//! [`Value`]: a value on a stack, in a message, or in an exit reason.

use std::fmt;
use std::sync::Arc;

use atropos::facility::Reason;
use atropos::{Exit, ReasonKind};

/// A number, a name, a process, a reference, or a tuple of values.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Number(i64),
    Atom(Arc<str>),
    Pid(u64),
    Reference(u64),
    Tuple(Arc<[Value]>),
}

impl Value {
    pub(crate) fn atom(name: &str) -> Self {
        Self::Atom(name.into())
    }

    pub(crate) fn tuple(values: &[Self]) -> Self {
        Self::Tuple(values.into())
    }

    pub(crate) fn truth(is_so: bool) -> Self {
        Self::Number(is_so.into())
    }

    /// Converts to an exit reason: OTP's names become OTP's reasons.
    pub(crate) fn to_reason(&self) -> Reason {
        match self {
            Self::Atom(name) => match &**name {
                "normal" => Reason::NORMAL,
                "shutdown" => Reason::SHUTDOWN,
                "kill" => Reason::KILL,
                "killed" => Reason::KILLED,
                "noproc" => Reason::NOPROC,
                _ => Reason::value(self.clone()),
            },
            _ => Reason::value(self.clone()),
        }
    }

    pub(crate) fn of_reason(reason: &Reason) -> Self {
        match reason.kind() {
            ReasonKind::Value(value) => {
                value.downcast_ref::<Self>().cloned().unwrap_or_else(|| Self::atom(&reason.to_string()))
            }
            _ => Self::atom(&reason.to_string()),
        }
    }

    /// Returns `('EXIT from reason)`; an exit signal from the host is from 0.
    pub(crate) fn of_exit(exit: &Exit) -> Self {
        let from = exit.from.map_or(Self::Number(0), |from| Self::Pid(from.to_raw()));
        Self::tuple(&[Self::atom("EXIT"), from, Self::of_reason(&exit.reason)])
    }

    /// Returns `('DOWN reference process reason)`.
    pub(crate) fn of_down(reference: u64, process: u64, reason: &Reason) -> Self {
        Self::tuple(&[Self::atom("DOWN"), Self::Reference(reference), Self::Pid(process), Self::of_reason(reason)])
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Atom(name) => write!(f, "'{name}"),
            Self::Pid(pid) => write!(f, "<{pid}>"),
            Self::Reference(reference) => write!(f, "#{reference}"),
            Self::Tuple(values) => {
                f.write_str("(")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { " " })?;
                }
                f.write_str(")")
            }
        }
    }
}
