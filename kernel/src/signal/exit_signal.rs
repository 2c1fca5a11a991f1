//! The exit signal, [`ExitSignal`], sent by `exit(Pid, Reason)` (`ops::exit_signal`).

use crate::pid::Pid;
use crate::reason::Reason;
use crate::signal::held::{BoxedSignal, Headed};
use crate::signal::node::{Node, SignalKind};

/// A signal that requests the receiver's exit.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ExitSignal {
    /// The head.
    pub(crate) node: Node,
    /// The sending process; `None` is the host.
    pub from: Option<Pid>,
    /// The exit reason.
    pub reason: Reason,
}

// SAFETY: `repr(C)`, and the node is first. `ExitSignal::try_new` makes it for this type. A pid and
// a reason are `Send`.
unsafe impl BoxedSignal for ExitSignal {
    const KIND: SignalKind = SignalKind::Exit;
}

// SAFETY: `repr(C)`, and the node is first. Only nodes of an `ExitSignal` are of this kind, and
// their holder owns it.
unsafe impl Headed for ExitSignal {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::Exit
    }
}
