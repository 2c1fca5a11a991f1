//! How a reason is shown.

use core::fmt;

use crate::reason::{Reason, ReasonKind, SHOWN};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut reason, mut open) = (self, 0);
        while let Some(inner) = reason.inner() {
            // A value is formatted as it is, so a reason in a reason is formatted as that reason.
            if matches!(reason.kind(), ReasonKind::ShutdownWith(_)) {
                if open == SHOWN {
                    break;
                }
                f.write_str("{shutdown, ")?;
                open += 1;
            }
            reason = inner;
        }
        match reason.kind() {
            _ if reason.inner().is_some() => f.write_str("..."),
            ReasonKind::Normal => f.write_str("normal"),
            ReasonKind::Shutdown => f.write_str("shutdown"),
            ReasonKind::ShutdownWith(value) => write!(f, "{{shutdown, {value:?}}}"),
            ReasonKind::Kill => f.write_str("kill"),
            ReasonKind::Killed => f.write_str("killed"),
            ReasonKind::NoProc => f.write_str("noproc"),
            ReasonKind::NoConnection => f.write_str("noconnection"),
            ReasonKind::Crash(text) => write!(f, "crash: {text}"),
            ReasonKind::Value(value) => write!(f, "{value:?}"),
        }?;
        (0..open).try_for_each(|_| f.write_str("}"))
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Reason {}

impl fmt::Debug for ReasonKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReasonKind::ShutdownWith(value) => write!(f, "ShutdownWith({value:?})"),
            ReasonKind::Crash(text) => write!(f, "Crash({text:?})"),
            ReasonKind::Value(value) => write!(f, "Value({value:?})"),
            ReasonKind::Normal => f.write_str("Normal"),
            ReasonKind::Shutdown => f.write_str("Shutdown"),
            ReasonKind::Kill => f.write_str("Kill"),
            ReasonKind::Killed => f.write_str("Killed"),
            ReasonKind::NoProc => f.write_str("NoProc"),
            ReasonKind::NoConnection => f.write_str("NoConnection"),
        }
    }
}
