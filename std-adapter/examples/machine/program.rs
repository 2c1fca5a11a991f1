//! [`Program`]: instructions, their lines in the source, and the labels.

use std::collections::BTreeMap;

use super::value::Value;

/// The number of variable slots that a process has beside its stack.
pub(crate) const SLOTS: usize = 16;

/// An instruction. The comments show what it takes from the stack and what it leaves there, top
/// last.
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
    /// a b -- 1 if they are equal, else 0
    Equal,
    /// a b -- a<b
    Less,
    /// Jumps to another instruction.
    Jump(usize),
    /// number -- ; jumps to another instruction if it is 0
    JumpIfZero(usize),
    /// that many values -- tuple
    Tuple(usize),
    /// tuple -- one item of it, the first being 0
    Item(usize),
    /// -- pid
    Me,
    /// that many arguments -- pid, or pid reference if it is monitored
    Spawn { at: usize, arguments: usize, link: bool, monitor: bool },
    /// pid message --
    Send,
    /// -- message; waits for one
    Receive,
    /// milliseconds -- message; jumps to another instruction on a timeout
    ReceiveWithin(usize),
    /// pid --
    Link,
    /// pid --
    Unlink,
    /// pid -- reference
    Monitor,
    /// reference -- 1 if it was active, else 0; removes its DOWN
    Demonitor,
    /// flag -- the flag before
    TrapExit,
    /// reason -- ; ends
    Exit,
    /// pid reason -- ; sends an exit signal
    Signal,
    /// milliseconds pid message -- reference
    After,
    /// reference -- 1 if it was pending, else 0
    Cancel,
    /// value --
    Print,
    /// Exits with reason `normal`.
    Halt,
}

/// An assembled program.
#[derive(Clone, Default, Debug)]
pub(crate) struct Program {
    pub(crate) instructions: Vec<Instruction>,
    /// The source line of each instruction.
    pub(crate) lines: Vec<usize>,
    /// The instruction that each label names.
    pub(crate) labels: BTreeMap<String, usize>,
}

impl Program {
    /// Returns the label of an instruction.
    pub(crate) fn label_at(&self, at: usize) -> Option<&str> {
        self.labels.iter().find(|(_, place)| **place == at).map(|(name, _)| name.as_str())
    }
}
