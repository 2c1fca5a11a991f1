//! The exit signal, [`ExitSignal`], sent by `exit(Pid, Reason)` (`ops::exit_signal`).

use crate::pid::Pid;
use crate::reason::Reason;
use crate::signal::held::{BoxedSignal, Headed};
use crate::signal::node::{Node, SignalKind};

/// What sent an EXIT to a process that traps exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ExitCause {
    /// A call of `exit`.
    Signal,
    /// The end of a linked process.
    Link,
    /// A process has linked with this one, which is a proxy ([`crate::SpawnOptions::proxy`]).
    Linked,
    /// A process has ended its link with this one, which is a proxy.
    Unlinked,
}

/// A signal that requests the receiver's exit, or tells a proxy of a link.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ExitSignal {
    /// The head.
    pub(crate) node: Node,
    /// The sending process; `None` is the host.
    pub from: Option<Pid>,
    /// The exit reason.
    pub reason: Reason,
    /// What sent the signal.
    pub cause: ExitCause,
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
