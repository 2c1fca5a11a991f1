//! A log of what a process of a model has seen: [`Log`]. The models' messages are numbers.

use std::sync::{Arc, Mutex};

use atropos_kernel::{Cx, Peek, Pid, Reason, Reference};

/// A signal that waits in a process's mailbox.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A message.
    Message(u8),
    /// An EXIT: its sender and its reason.
    Exit(Option<Pid>, Reason),
    /// A DOWN: its monitor and its reason.
    Down(Reference, Reason),
}

/// Fetches what has arrived, and returns all that waits for the process, oldest first.
pub fn waiting(cx: &Cx<'_, u8>) -> Vec<Event> {
    let mut events = Vec::new();
    cx.for_each_waiting(|signal| {
        events.push(match signal {
            Peek::Message(message) | Peek::Timer { message, .. } => Event::Message(*message),
            Peek::Exit(exit) => Event::Exit(exit.from, exit.reason),
            Peek::Down(down) => Event::Down(down.reference, down.reason),
        });
    });
    events
}

/// The contents of a process's mailbox when it last looked.
#[derive(Clone, Default, Debug)]
pub struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    /// Creates an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records what waits for the process now.
    pub fn look(&self, cx: &Cx<'_, u8>) {
        let events = waiting(cx);
        *self.0.lock().unwrap() = events;
    }

    /// Returns what the process last saw.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the reasons of the EXITs from `pid`.
    pub fn exits(&self, pid: Pid) -> Vec<Reason> {
        let of = |event| match event {
            Event::Exit(from, reason) if from == Some(pid) => Some(reason),
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }

    /// Returns the reasons of the DOWNs.
    pub fn downs(&self) -> Vec<Reason> {
        let of = |event| if let Event::Down(_, reason) = event { Some(reason) } else { None };
        self.events().into_iter().filter_map(of).collect()
    }
}
