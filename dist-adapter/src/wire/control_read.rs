//! Control messages out of terms.

use core::fmt;

use super::operation as op;
use super::{Control, SpawnResult, Target};
use crate::term::{PidRef, ReferenceRef, Term, TermRef};

/// The error for a term that is no control message.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ControlError {
    /// The term is no tuple that begins with an integer of 64 bits.
    NotATuple,
    /// An unknown operation.
    Operation(i64),
    /// Elements are missing or too many, or one is of the wrong kind.
    Malformed {
        /// The operation.
        operation: i64,
        /// What is missing or wrong.
        what: &'static str,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotATuple => f.write_str("it is no tuple that begins with an operation"),
            Self::Operation(operation) => write!(f, "the operation {operation} is unknown"),
            Self::Malformed { operation, what } => write!(f, "in operation {operation}: {what}"),
        }
    }
}

impl core::error::Error for ControlError {}

/// The longest control message, in elements.
const LONGEST: usize = 7;

/// The elements of a control message behind its operation.
struct Elements<'a> {
    operation: i64,
    control: &'a Term,
    payload: Option<&'a Term>,
    elements: [TermRef<'a>; LONGEST],
    count: usize,
}

impl<'a> Control<'a> {
    /// Reads a control message and the payload that came with it.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if it is none.
    pub fn read(control: &'a Term, payload: Option<&'a Term>) -> Result<Self, ControlError> {
        let tuple = control.view().as_tuple().ok_or(ControlError::NotATuple)?;
        let mut rest = tuple.iter();
        let operation = rest.next().and_then(TermRef::as_i64).ok_or(ControlError::NotATuple)?;
        let mut elements = [control.view(); LONGEST];
        elements.iter_mut().zip(&mut rest).for_each(|(to, element)| *to = element);
        Elements { operation, control, payload, elements, count: tuple.arity() - 1 }.read()
    }
}

impl<'a> Elements<'a> {
    fn read(&self) -> Result<Control<'a>, ControlError> {
        // In the forms with a trace token it is the last element, or the one before the reason.
        match self.operation {
            op::LINK => self.arity(2)?.link(),
            op::SEND => self.arity(2)?.send(None),
            op::SEND_TT => self.arity(3)?.send(None),
            op::SEND_SENDER => self.arity(2)?.send(Some(self.pid(0)?)),
            op::SEND_SENDER_TT => self.arity(3)?.send(Some(self.pid(0)?)),
            op::REG_SEND => self.arity(3)?.send_name(),
            op::REG_SEND_TT => self.arity(4)?.send_name(),
            op::ALIAS_SEND => self.arity(2)?.send_alias(),
            op::ALIAS_SEND_TT => self.arity(3)?.send_alias(),
            op::EXIT => self.arity(3)?.exit(self.term(2)),
            op::EXIT_TT => self.arity(4)?.exit(self.term(3)),
            op::PAYLOAD_EXIT => self.arity(2)?.exit(self.payload()?),
            op::PAYLOAD_EXIT_TT => self.arity(3)?.exit(self.payload()?),
            op::EXIT2 => self.arity(3)?.exit2(self.term(2)),
            op::EXIT2_TT => self.arity(4)?.exit2(self.term(3)),
            op::PAYLOAD_EXIT2 => self.arity(2)?.exit2(self.payload()?),
            op::PAYLOAD_EXIT2_TT => self.arity(3)?.exit2(self.payload()?),
            op::UNLINK => {
                let from = self.arity(2)?.pid(0)?;
                Ok(Control::UnlinkOld { from, to: self.pid(1)? })
            }
            op::UNLINK_ID => {
                let id = self.arity(3)?.unlink_id()?;
                Ok(Control::Unlink { id, from: self.pid(1)?, to: self.pid(2)? })
            }
            op::UNLINK_ID_ACK => {
                let id = self.arity(3)?.unlink_id()?;
                Ok(Control::UnlinkAck { id, from: self.pid(1)?, to: self.pid(2)? })
            }
            op::GROUP_LEADER => {
                let leader = self.arity(2)?.pid(0)?;
                Ok(Control::GroupLeader { leader, to: self.pid(1)? })
            }
            op::MONITOR_P => {
                let from = self.arity(3)?.pid(0)?;
                Ok(Control::Monitor { from, target: self.target(1)?, reference: self.reference(2)? })
            }
            op::DEMONITOR_P => {
                let from = self.arity(3)?.pid(0)?;
                Ok(Control::Demonitor { from, target: self.target(1)?, reference: self.reference(2)? })
            }
            op::MONITOR_P_EXIT => self.arity(4)?.monitor_exit(self.term(3)),
            op::PAYLOAD_MONITOR_P_EXIT => self.arity(3)?.monitor_exit(self.payload()?),
            op::SPAWN_REQUEST => self.arity(5)?.spawn_request(),
            op::SPAWN_REQUEST_TT => self.arity(6)?.spawn_request(),
            op::SPAWN_REPLY => self.arity(4)?.spawn_reply(),
            op::SPAWN_REPLY_TT => self.arity(5)?.spawn_reply(),
            other => Err(ControlError::Operation(other)),
        }
    }

    fn link(&self) -> Result<Control<'a>, ControlError> {
        Ok(Control::Link { from: self.pid(0)?, to: self.pid(1)? })
    }

    fn send(&self, from: Option<PidRef<'a>>) -> Result<Control<'a>, ControlError> {
        Ok(Control::Send { from, to: self.pid(1)?, message: self.payload()? })
    }

    fn send_name(&self) -> Result<Control<'a>, ControlError> {
        Ok(Control::SendName { from: self.pid(0)?, name: self.atom(2)?, message: self.payload()? })
    }

    fn send_alias(&self) -> Result<Control<'a>, ControlError> {
        Ok(Control::SendAlias { from: self.pid(0)?, alias: self.reference(1)?, message: self.payload()? })
    }

    fn exit(&self, reason: Term) -> Result<Control<'a>, ControlError> {
        Ok(Control::Exit { from: self.pid(0)?, to: self.pid(1)?, reason })
    }

    fn exit2(&self, reason: Term) -> Result<Control<'a>, ControlError> {
        Ok(Control::Exit2 { from: self.pid(0)?, to: self.pid(1)?, reason })
    }

    fn monitor_exit(&self, reason: Term) -> Result<Control<'a>, ControlError> {
        Ok(Control::MonitorExit { from: self.target(0)?, to: self.pid(1)?, reference: self.reference(2)?, reason })
    }

    fn spawn_request(&self) -> Result<Control<'a>, ControlError> {
        let function = self.elements[3].as_array().ok_or_else(|| self.malformed("no function"))?;
        let [module, function, arity] = function;
        let arity = arity.as_u64().and_then(|arity| arity.try_into().ok());
        Ok(Control::SpawnRequest {
            id: self.reference(0)?,
            from: self.pid(1)?,
            leader: self.pid(2)?,
            module: module.as_atom().ok_or_else(|| self.malformed("no module"))?,
            function: function.as_atom().ok_or_else(|| self.malformed("no function"))?,
            arity: arity.ok_or_else(|| self.malformed("no arity"))?,
            options: self.term(4),
            arguments: self.payload()?,
        })
    }

    fn spawn_reply(&self) -> Result<Control<'a>, ControlError> {
        let flags = self.elements[2].as_u64().and_then(|flags| flags.try_into().ok());
        let result = match self.target(3)? {
            Target::Pid(pid) => SpawnResult::Pid(pid),
            Target::Name(error) => SpawnResult::Error(error),
        };
        let flags = flags.ok_or_else(|| self.malformed("no flags"))?;
        Ok(Control::SpawnReply { id: self.reference(0)?, to: self.pid(1)?, flags, result })
    }

    #[cold]
    fn malformed(&self, what: &'static str) -> ControlError {
        ControlError::Malformed { operation: self.operation, what }
    }

    fn arity(&self, count: usize) -> Result<&Self, ControlError> {
        if self.count == count { Ok(self) } else { Err(self.malformed("elements are missing or too many")) }
    }

    fn pid(&self, index: usize) -> Result<PidRef<'a>, ControlError> {
        self.elements[index].as_pid().ok_or_else(|| self.malformed("no pid where one belongs"))
    }

    fn atom(&self, index: usize) -> Result<&'a str, ControlError> {
        self.elements[index].as_atom().ok_or_else(|| self.malformed("no atom where one belongs"))
    }

    fn reference(&self, index: usize) -> Result<ReferenceRef<'a>, ControlError> {
        self.elements[index].as_reference().ok_or_else(|| self.malformed("no reference where one belongs"))
    }

    /// Reads a pid or an atom.
    fn target(&self, index: usize) -> Result<Target<'a>, ControlError> {
        match self.elements[index].as_pid() {
            Some(pid) => Ok(Target::Pid(pid)),
            None => self.atom(index).map(Target::Name),
        }
    }

    fn unlink_id(&self) -> Result<u64, ControlError> {
        let id = self.elements[0].as_u64().filter(|id| *id != 0);
        id.ok_or_else(|| self.malformed("no id from 1 to 2^64 - 1"))
    }

    fn term(&self, index: usize) -> Term {
        self.control.part(self.elements[index])
    }

    fn payload(&self) -> Result<Term, ControlError> {
        self.payload.cloned().ok_or_else(|| self.malformed("no payload"))
    }
}
