//! [`Signal`]: a signal that was taken from a mailbox, by its kind.

use crate::ops::owner_op::OwnerOp;
use crate::ops::query::QueryNode;
use crate::process::relation::link::{LinkExit, LinkRequest};
use crate::process::relation::monitor::{DownSignal, Monitor};
use crate::process::request_message::RequestNode;
use crate::process::timer_record::TimerHead;
use crate::signal::exit_signal::ExitSignal;
use crate::signal::held::{Held, HeldNode};
use crate::signal::message::AliasHead;
use crate::signal::node::SignalKind;

/// A signal that was taken from a mailbox (`SignalKind` says what each is).
#[derive(Debug)]
#[must_use = "the signal must be handled, queued or released"]
pub(crate) enum Signal {
    Message(HeldNode),
    AliasMessage(Held<AliasHead>),
    Request(Held<RequestNode>),
    Timer(Held<TimerHead>),
    Alarm(Held<TimerHead>),
    Exit(Held<ExitSignal>),
    LinkExit(Held<LinkExit>),
    LinkRequest(Held<LinkRequest>),
    MonitorRequest(Held<Monitor>),
    Down(Held<DownSignal>),
    /// The wake node is a part of its process, so nothing of it is held.
    Wake,
    Query(Held<QueryNode>),
    OwnerOp(Held<OwnerOp>),
}

impl Signal {
    /// Opens a node that was taken from a mailbox.
    #[inline]
    pub(crate) fn open(node: HeldNode) -> Self {
        match node.kind() {
            SignalKind::Message => Self::Message(node),
            SignalKind::AliasMessage => Self::AliasMessage(node.typed()),
            SignalKind::Request => Self::Request(node.typed()),
            SignalKind::Timer => Self::Timer(node.typed()),
            SignalKind::Alarm => Self::Alarm(node.typed()),
            SignalKind::Exit => Self::Exit(node.typed()),
            SignalKind::LinkExit => Self::LinkExit(node.typed()),
            SignalKind::LinkRequest => Self::LinkRequest(node.typed()),
            SignalKind::MonitorRequest => Self::MonitorRequest(node.typed()),
            SignalKind::Down => Self::Down(node.typed()),
            SignalKind::Wake => {
                let _part_of_the_process = node.into_raw();
                Self::Wake
            }
            SignalKind::Ask => Self::Query(node.typed()),
            SignalKind::Proxy => Self::OwnerOp(node.typed()),
        }
    }
}
