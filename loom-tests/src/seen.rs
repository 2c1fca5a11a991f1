//! What a process of a model has seen: [`Log`]. The models' messages are numbers.

use std::sync::{Arc, Mutex};

use atropos_kernel::{Cx, Peek, Pid, Reason, Reference};

/// Something that waits for a process.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A message.
    Message(u8),
    /// An EXIT, from whom, and why.
    Exit(Option<Pid>, Reason),
    /// A DOWN, of which monitor, and why.
    Down(Reference, Reason),
}

/// All that waits for the process, oldest first. What has come is fetched.
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

/// What a process last saw in its mailbox.
#[derive(Clone, Default, Debug)]
pub struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    /// Nothing seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process looks.
    pub fn look(&self, cx: &Cx<'_, u8>) {
        let events = waiting(cx);
        *self.0.lock().unwrap() = events;
    }

    /// What it saw.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// The reasons of the EXITs from `pid`.
    pub fn exits(&self, pid: Pid) -> Vec<Reason> {
        let of = |event| match event {
            Event::Exit(from, reason) if from == Some(pid) => Some(reason),
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }

    /// The reasons of the DOWNs.
    pub fn downs(&self) -> Vec<Reason> {
        let of = |event| if let Event::Down(_, reason) = event { Some(reason) } else { None };
        self.events().into_iter().filter_map(of).collect()
    }
}
