//! [`Program`]: instructions, the lines that they came from, and where its functions begin.

use std::collections::BTreeMap;

use super::value::Value;

/// Places for values that a process has beside its stack.
pub(crate) const SLOTS: usize = 16;

/// What a process does. The comments say what it takes from the stack and what it leaves there, the top last.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Instruction {
    /// -- value
    Push(Value),
    /// value --
    Pop,
    /// value -- value value
    Duplicate,
    /// -- value
    Load(usize),
    /// value --
    Store(usize),
    /// a b -- a+b
    Add,
    /// a b -- a-b
    Subtract,
    /// a b -- whether they are equal
    Equal,
    /// a b -- a<b
    Less,
    /// Goes on elsewhere.
    Jump(usize),
    /// number -- ; goes on elsewhere when it is 0
    JumpIfZero(usize),
    /// so many values -- tuple
    Tuple(usize),
    /// tuple -- one of it, the first being 0
    Item(usize),
    /// -- pid
    Me,
    /// so many arguments -- pid, or pid reference when it is monitored
    Spawn { at: usize, arguments: usize, link: bool, monitor: bool },
    /// pid message --
    Send,
    /// -- message; waits for one
    Receive,
    /// milliseconds -- message; goes on elsewhere when none has come in time
    ReceiveWithin(usize),
    /// pid --
    Link,
    /// pid --
    Unlink,
    /// pid -- reference
    Monitor,
    /// reference -- whether it was in force; removes its DOWN
    Demonitor,
    /// whether -- whether before
    TrapExit,
    /// reason -- ; ends
    Exit,
    /// pid reason -- ; sends an exit signal
    Signal,
    /// milliseconds pid message -- reference
    After,
    /// reference -- whether it was armed
    Cancel,
    /// value --
    Print,
    /// Ends: normal.
    Halt,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub(crate) struct Program {
    pub(crate) instructions: Vec<Instruction>,
    /// The line of each.
    pub(crate) lines: Vec<usize>,
    /// Where each label is.
    pub(crate) labels: BTreeMap<String, usize>,
}

impl Program {
    /// The name of what begins at an instruction.
    pub(crate) fn label_at(&self, at: usize) -> Option<&str> {
        self.labels.iter().find(|(_, place)| **place == at).map(|(name, _)| name.as_str())
    }
}
