//! Control messages as terms.

use bytes::{BufMut as _, BytesMut};

use super::operation as op;
use super::{Control, Flags, SpawnResult, Target};
use crate::term::{PidRef, Term, write};

/// The error for a message that the peer does not know, with the flag that it has not announced.
/// Nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsupported(pub Flags);

impl core::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the peer lacks {:?}", self.0)
    }
}

impl core::error::Error for Unsupported {}

impl<'a> Control<'a> {
    /// Returns the flags that a peer must have announced to be sent this message.
    fn needs(&self) -> Flags {
        match self {
            Self::Link { .. }
            | Self::Send { .. }
            | Self::SendName { .. }
            | Self::Exit { .. }
            | Self::Exit2 { .. }
            | Self::UnlinkOld { .. }
            | Self::Unlink { .. }
            | Self::GroupLeader { .. } => Flags::NONE,
            Self::SendAlias { .. } => Flags::ALIAS,
            Self::UnlinkAck { .. } => Flags::UNLINK_ID,
            Self::Monitor { target, .. } | Self::Demonitor { target, .. } | Self::MonitorExit { from: target, .. } => {
                match target {
                    Target::Pid(_) => Flags::DIST_MONITOR,
                    Target::Name(_) => Flags::DIST_MONITOR.union(Flags::DIST_MONITOR_NAME),
                }
            }
            Self::SpawnRequest { .. } | Self::SpawnReply { .. } => Flags::SPAWN,
        }
    }

    /// Returns the term that goes behind the control message, if `agreed` has it there.
    pub(super) fn payload(&self, agreed: Flags) -> Option<&Term> {
        match self {
            Self::Send { message, .. } | Self::SendName { message, .. } | Self::SendAlias { message, .. } => {
                Some(message)
            }
            Self::Exit { reason, .. } | Self::Exit2 { reason, .. } | Self::MonitorExit { reason, .. } => {
                agreed.contains(Flags::EXIT_PAYLOAD).then_some(reason)
            }
            Self::SpawnRequest { arguments, .. } => Some(arguments),
            _ => None,
        }
    }

    /// Appends the control message, without its payload.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] if the peer knows no such message.
    pub(super) fn write(&self, agreed: Flags, out: &mut BytesMut) -> Result<(), Unsupported> {
        let lacking = self.needs().difference(agreed);
        if !lacking.is_empty() {
            return Err(Unsupported(lacking));
        }
        let payload = agreed.contains(Flags::EXIT_PAYLOAD);
        let mut out = Writer(out);
        match self {
            Self::Link { from, to } => out.head(op::LINK, 2).pid(from).pid(to),
            Self::Send { from: Some(from), to, .. } if agreed.contains(Flags::SEND_SENDER) => {
                out.head(op::SEND_SENDER, 2).pid(from).pid(to)
            }
            Self::Send { to, .. } => out.head(op::SEND, 2).atom("").pid(to),
            Self::SendName { from, name, .. } => out.head(op::REG_SEND, 3).pid(from).atom("").atom(name),
            Self::SendAlias { from, alias, .. } => out.head(op::ALIAS_SEND, 2).pid(from).reference(*alias),
            Self::Exit { from, to, .. } if payload => out.head(op::PAYLOAD_EXIT, 2).pid(from).pid(to),
            Self::Exit { from, to, reason } => out.head(op::EXIT, 3).pid(from).pid(to).term(reason),
            Self::Exit2 { from, to, .. } if payload => out.head(op::PAYLOAD_EXIT2, 2).pid(from).pid(to),
            Self::Exit2 { from, to, reason } => out.head(op::EXIT2, 3).pid(from).pid(to).term(reason),
            Self::UnlinkOld { from, to } => out.head(op::UNLINK, 2).pid(from).pid(to),
            Self::Unlink { id, from, to } if agreed.contains(Flags::UNLINK_ID) => {
                out.head(op::UNLINK_ID, 3).integer(*id).pid(from).pid(to)
            }
            Self::Unlink { from, to, .. } => out.head(op::UNLINK, 2).pid(from).pid(to),
            Self::UnlinkAck { id, from, to } => out.head(op::UNLINK_ID_ACK, 3).integer(*id).pid(from).pid(to),
            Self::GroupLeader { leader, to } => out.head(op::GROUP_LEADER, 2).pid(leader).pid(to),
            Self::Monitor { from, target, reference } => {
                out.head(op::MONITOR_P, 3).pid(from).target(target).reference(*reference)
            }
            Self::Demonitor { from, target, reference } => {
                out.head(op::DEMONITOR_P, 3).pid(from).target(target).reference(*reference)
            }
            Self::MonitorExit { from, to, reference, .. } if payload => {
                out.head(op::PAYLOAD_MONITOR_P_EXIT, 3).target(from).pid(to).reference(*reference)
            }
            Self::MonitorExit { from, to, reference, reason } => {
                out.head(op::MONITOR_P_EXIT, 4).target(from).pid(to).reference(*reference).term(reason)
            }
            Self::SpawnRequest { id, from, leader, module, function, arity, options, .. } => {
                let out = out.head(op::SPAWN_REQUEST, 5).reference(*id).pid(from).pid(leader).tuple(3);
                out.atom(module).atom(function).integer((*arity).into()).term(options)
            }
            Self::SpawnReply { id, to, flags, result } => {
                let out = out.head(op::SPAWN_REPLY, 4).reference(*id).pid(to).integer((*flags).into());
                match result {
                    SpawnResult::Pid(pid) => out.pid(pid),
                    SpawnResult::Error(error) => out.atom(error),
                }
            }
        };
        Ok(())
    }
}

/// Writes the elements of a control message.
struct Writer<'a>(&'a mut BytesMut);

impl Writer<'_> {
    /// Writes the head of a tuple of an operation and as many elements.
    fn head(&mut self, operation: i64, elements: usize) -> &mut Self {
        self.tuple(elements + 1);
        write::small_integer(operation, self.0);
        self
    }

    fn tuple(&mut self, elements: usize) -> &mut Self {
        write::tuple(elements, self.0);
        self
    }

    fn pid(&mut self, pid: &PidRef<'_>) -> &mut Self {
        write::pid(*pid, self.0);
        self
    }

    fn reference(&mut self, reference: crate::term::ReferenceRef<'_>) -> &mut Self {
        write::reference(reference, self.0);
        self
    }

    fn target(&mut self, target: &Target<'_>) -> &mut Self {
        match target {
            Target::Pid(pid) => self.pid(pid),
            Target::Name(name) => self.atom(name),
        }
    }

    fn atom(&mut self, text: &str) -> &mut Self {
        write::atom(text, self.0);
        self
    }

    fn integer(&mut self, value: u64) -> &mut Self {
        write::wide_integer(false, value.into(), self.0);
        self
    }

    fn term(&mut self, term: &Term) -> &mut Self {
        self.0.put_slice(term.as_bytes());
        self
    }
}
