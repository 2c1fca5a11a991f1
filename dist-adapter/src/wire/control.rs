//! [`Control`]: the messages that nodes exchange, typed.

use crate::term::{PidRef, ReferenceRef, Term};

/// A process, by pid or by registered name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// A pid.
    Pid(PidRef<'a>),
    /// A registered name.
    Name(&'a str),
}

/// The outcome of a spawn request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnResult<'a> {
    /// The process runs.
    Pid(PidRef<'a>),
    /// The process was not started.
    Error(&'a str),
}

/// A control message with what belongs to it. Forms with a trace token are read as those without.
///
/// The message of a send, the reason of an exit and the arguments of a spawn share the frame that
/// they came in, wherever the form of the message has them.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields are named as in Erlang's description of the protocol")]
pub enum Control<'a> {
    /// LINK (1).
    Link { from: PidRef<'a>, to: PidRef<'a> },
    /// SEND (2), without a sender, and SEND_SENDER (22).
    Send { from: Option<PidRef<'a>>, to: PidRef<'a>, message: Term },
    /// REG_SEND (6).
    SendName { from: PidRef<'a>, name: &'a str, message: Term },
    /// ALIAS_SEND (33).
    SendAlias { from: PidRef<'a>, alias: ReferenceRef<'a>, message: Term },
    /// EXIT (3) and PAYLOAD_EXIT (24): the end of a linked process.
    Exit { from: PidRef<'a>, to: PidRef<'a>, reason: Term },
    /// EXIT2 (8) and PAYLOAD_EXIT2 (26): an exit signal by `exit/2`.
    Exit2 { from: PidRef<'a>, to: PidRef<'a>, reason: Term },
    /// UNLINK (4), from peers without `UNLINK_ID`; not acknowledged.
    UnlinkOld { from: PidRef<'a>, to: PidRef<'a> },
    /// UNLINK_ID (35), with an id that is not 0. Written as UNLINK (4) for peers without
    /// `UNLINK_ID`.
    Unlink { id: u64, from: PidRef<'a>, to: PidRef<'a> },
    /// UNLINK_ID_ACK (36).
    UnlinkAck { id: u64, from: PidRef<'a>, to: PidRef<'a> },
    /// GROUP_LEADER (7).
    GroupLeader { leader: PidRef<'a>, to: PidRef<'a> },
    /// MONITOR_P (19).
    Monitor { from: PidRef<'a>, target: Target<'a>, reference: ReferenceRef<'a> },
    /// DEMONITOR_P (20).
    Demonitor { from: PidRef<'a>, target: Target<'a>, reference: ReferenceRef<'a> },
    /// MONITOR_P_EXIT (21) and PAYLOAD_MONITOR_P_EXIT (28). `from` was monitored by `to`.
    MonitorExit { from: Target<'a>, to: PidRef<'a>, reference: ReferenceRef<'a>, reason: Term },
    /// SPAWN_REQUEST (29).
    SpawnRequest {
        id: ReferenceRef<'a>,
        from: PidRef<'a>,
        leader: PidRef<'a>,
        module: &'a str,
        function: &'a str,
        arity: u32,
        options: Term,
        arguments: Term,
    },
    /// SPAWN_REPLY (31). `flags`: 1 for a link, 2 for a monitor, 3 for both.
    SpawnReply { id: ReferenceRef<'a>, to: PidRef<'a>, flags: u32, result: SpawnResult<'a> },
}

impl<'a> Control<'a> {
    /// Returns the pid that the message names as its sender's. It must be one of the peer's.
    ///
    /// `None` for messages that name none, or a registered name of the peer's.
    pub fn sender(&self) -> Option<PidRef<'a>> {
        match *self {
            Self::Send { from, .. } => from,
            Self::Link { from, .. }
            | Self::SendName { from, .. }
            | Self::SendAlias { from, .. }
            | Self::Exit { from, .. }
            | Self::Exit2 { from, .. }
            | Self::UnlinkOld { from, .. }
            | Self::Unlink { from, .. }
            | Self::UnlinkAck { from, .. }
            | Self::Monitor { from, .. }
            | Self::Demonitor { from, .. }
            | Self::SpawnRequest { from, .. }
            | Self::MonitorExit { from: Target::Pid(from), .. } => Some(from),
            Self::MonitorExit { from: Target::Name(_), .. } | Self::GroupLeader { .. } | Self::SpawnReply { .. } => {
                None
            }
        }
    }

    /// Returns the name of the message in Erlang's description of the protocol, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Link { .. } => "LINK",
            Self::Send { .. } => "SEND",
            Self::SendName { .. } => "REG_SEND",
            Self::SendAlias { .. } => "ALIAS_SEND",
            Self::Exit { .. } => "EXIT",
            Self::Exit2 { .. } => "EXIT2",
            Self::UnlinkOld { .. } => "UNLINK",
            Self::Unlink { .. } => "UNLINK_ID",
            Self::UnlinkAck { .. } => "UNLINK_ID_ACK",
            Self::GroupLeader { .. } => "GROUP_LEADER",
            Self::Monitor { .. } => "MONITOR_P",
            Self::Demonitor { .. } => "DEMONITOR_P",
            Self::MonitorExit { .. } => "MONITOR_P_EXIT",
            Self::SpawnRequest { .. } => "SPAWN_REQUEST",
            Self::SpawnReply { .. } => "SPAWN_REPLY",
        }
    }
}
