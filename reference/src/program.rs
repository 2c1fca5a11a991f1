//! [`Program`]: the operations on the kernel, and their encoding as bytes.
//!
//! A header of four bytes, then five bytes for each operation. A shorter byte string is a shorter
//! program, and small bytes are simple operations. So a fuzzer or a property test that shrinks
//! bytes gets simpler programs. Every byte string is a program: numbers of processes, names and
//! aliases wrap around.

use std::fmt;

use atropos_kernel::{AliasMode, Overflow, Priority, Reason};

/// The size of an operation in bytes.
const WIDTH: usize = 5;
/// The maximum number of operations; the rest is ignored.
const LONGEST: usize = 400;
/// The number of registered names.
pub const NAMES: usize = 3;

/// The exit reason that an operation uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The reason `normal`.
    Normal,
    /// The reason `kill`.
    Kill,
    /// The reason `shutdown`.
    Shutdown,
    /// The reason `noproc`, which a process may use as well.
    NoProc,
    /// A value.
    Boom(u8),
}

impl Why {
    fn of(byte: u8) -> Self {
        match byte % 8 {
            0 | 1 => Self::Normal,
            2 | 3 => Self::Kill,
            4 => Self::Shutdown,
            5 => Self::NoProc,
            more => Self::Boom(more),
        }
    }

    /// Returns the kernel's reason.
    pub fn reason(self) -> Reason {
        match self {
            Self::Normal => Reason::NORMAL,
            Self::Kill => Reason::KILL,
            Self::Shutdown => Reason::SHUTDOWN,
            Self::NoProc => Reason::NOPROC,
            Self::Boom(n) => Reason::value(n),
        }
    }
}

/// The spawn options of a process.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in SpawnOptions")]
pub struct Birth {
    pub trap: bool,
    pub link: bool,
    pub monitor: bool,
    pub priority: Priority,
    pub core: Option<usize>,
    pub limit: u32,
    pub overflow: Overflow,
    pub name: Option<usize>,
}

impl Birth {
    fn of(x: u8, y: u8) -> Self {
        Self {
            trap: x & 1 != 0,
            link: x & 2 != 0,
            monitor: x & 4 != 0,
            priority: [Priority::Normal, Priority::Normal, Priority::High, Priority::Low][usize::from(x >> 3) % 4],
            core: (x & 0x60 == 0x60).then_some(usize::from(y >> 6)),
            limit: if y & 3 == 3 { 1 + u32::from(y >> 2 & 3) } else { 0 },
            overflow: match (x & 0x80 != 0, y & 0x40 != 0) {
                (false, _) => Overflow::Reject,
                (true, false) => Overflow::DropOldest,
                (true, true) => Overflow::DropNewest,
            },
            name: (y & 0x30 == 0x30).then_some(usize::from(y >> 6) % NAMES),
        }
    }
}

impl fmt::Debug for Birth {
    /// Shows only the options that differ from the defaults.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_set();
        for (flag, called) in [(self.trap, "trap"), (self.link, "link"), (self.monitor, "monitor")] {
            if flag {
                shown.entry(&format_args!("{called}"));
            }
        }
        if self.priority != Priority::Normal {
            shown.entry(&self.priority);
        }
        if let Some(core) = self.core {
            shown.entry(&format_args!("core {core}"));
        }
        if self.limit != 0 {
            shown.entry(&format_args!("limit {}, {:?}", self.limit, self.overflow));
        }
        if let Some(name) = self.name {
            shown.entry(&format_args!("name {name}"));
        }
        shown.finish()
    }
}

/// An action of a process. The judge resolves a process's number when the action runs
/// (`judge::Judge::who`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the variants have the names of the calls")]
pub enum Act {
    Nothing,
    Send(u8),
    /// Waits for mailbox capacity if there is none; one wait at a time.
    SendInLine(u8),
    SendName(usize),
    SendAlias(u8),
    Link(u8),
    Unlink(u8),
    Monitor(u8, Option<AliasMode>),
    MonitorName(usize, Option<AliasMode>),
    /// Withdraws one of the process's own monitors, the latest first; with flush or without.
    Demonitor(u8, bool),
    Trap(bool),
    Exit(u8, Why),
    /// Returns with a reason or, with `true`, calls `stop` and continues.
    Stop(Why, bool),
    Crash,
    Spawn(Birth),
    Register(usize, u8),
    Unregister(usize),
    Whereis(usize),
    Alias(bool),
    Unalias(u8),
    /// The target, the delay in milliseconds, and `true` for a timer with a label.
    Timer(u8, u8, bool),
    TimerName(usize, u8),
    CancelTimer(u8),
    ReadTimer(u8),
    Alive(u8),
    Info,
    /// From now on the process receives only letters with orders.
    Picky(bool),
    Yield,
}

impl Act {
    fn of(kind: u8, x: u8, y: u8) -> Self {
        let name = usize::from(x) % NAMES;
        let alias = match y % 8 {
            4 => Some(AliasMode::ExplicitUnalias),
            5 => Some(AliasMode::Reply),
            6 => Some(AliasMode::Demonitor),
            7 => Some(AliasMode::ReplyDemonitor),
            _ => None,
        };
        match kind % 40 {
            0 => Self::Nothing,
            1 => Self::Send(x),
            2 => Self::SendInLine(x),
            3 => Self::SendName(name),
            4 | 5 => Self::SendAlias(x),
            6..=8 => Self::Link(x),
            9 | 10 => Self::Unlink(x),
            11..=13 => Self::Monitor(x, alias),
            14 => Self::MonitorName(name, alias),
            15..=17 => Self::Demonitor(x, y & 1 != 0),
            18 => Self::Trap(x & 1 != 0),
            19..=21 => Self::Exit(x, Why::of(y)),
            22 => Self::Stop(Why::of(x), y & 1 != 0),
            23 => Self::Crash,
            24 | 25 => Self::Spawn(Birth::of(x, y)),
            26 => Self::Register(name, y),
            27 => Self::Unregister(name),
            28 => Self::Whereis(name),
            29 => Self::Alias(x & 1 != 0),
            30 => Self::Unalias(x),
            31 | 32 => Self::Timer(x, y >> 1, y & 1 != 0),
            33 => Self::TimerName(name, y),
            34 => Self::CancelTimer(x),
            35 => Self::ReadTimer(x),
            36 => Self::Alive(x),
            37 => Self::Info,
            38 => Self::Picky(x & 1 != 0),
            _ => Self::Yield,
        }
    }
}

/// An operation from outside the processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// A core runs this many slices.
    Step(usize, u32),
    /// A host thread spawns a process.
    Spawn(Birth),
    /// A host thread sends a process its orders, in one message.
    Tell(u8, Vec<Act>),
    /// A host thread sends an exit signal.
    Exit(u8, Why),
    /// A waker of the process is called.
    Wake(u8),
    /// This many milliseconds pass.
    Pass(u8),
    /// The cores run until they are idle.
    Settle,
    /// A host thread sends through an alias.
    SendAlias(u8),
    /// A host thread sends to a name.
    SendName(usize),
}

/// A list of operations, with the options of the kernel that performs them.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    /// The number of cores, one to three.
    pub cores: usize,
    /// The seed that decides the victims of steals, and which core runs next when the cores settle.
    pub seed: u64,
    /// The value of `Options::tombstones`.
    pub tombstones: bool,
    /// The maximum number of processes at a time. With a small limit, slots are reused at once.
    pub limit: u32,
    /// `true` if the kernel is dropped with its live processes at the end.
    pub abrupt: bool,
    /// The operations.
    pub ops: Vec<Op>,
}

impl Program {
    /// Decodes bytes. Any byte string is a program.
    pub fn decode(bytes: &[u8]) -> Self {
        let header: [u8; 4] = std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0));
        let mut ops: Vec<Op> = Vec::new();
        // The first processes, as partners for the others.
        for _ in 0..1 + header[2] % 4 {
            ops.push(Op::Spawn(Birth::of(header[2] >> 2 & 1, 0)));
        }
        for chunk in bytes.get(4..).unwrap_or_default().chunks_exact(WIDTH).take(LONGEST) {
            let &[op, to, kind, x, y] = chunk else { continue };
            match op % 16 {
                0 | 1 => ops.push(Op::Step(usize::from(to), 1 + u32::from(x % 8))),
                2..=5 => ops.push(Op::Tell(to, vec![Act::of(kind, x, y)])),
                6..=8 => match ops.last_mut() {
                    // The actions of one process in one slice, without a receive in between.
                    Some(Op::Tell(_, acts)) => acts.push(Act::of(kind, x, y)),
                    _ => ops.push(Op::Tell(to, vec![Act::of(kind, x, y)])),
                },
                9 => ops.push(Op::Spawn(Birth::of(x & !6, y))),
                10 => ops.push(Op::Exit(to, Why::of(x))),
                11 => ops.push(Op::Wake(to)),
                12 => ops.push(Op::Pass(x)),
                13 => ops.push(Op::Settle),
                14 => ops.push(Op::SendAlias(to)),
                _ => ops.push(Op::SendName(usize::from(to) % NAMES)),
            }
        }
        Self {
            cores: 1 + usize::from(header[0] % 3),
            seed: u64::from(header[1]),
            tombstones: header[0] & 0x80 != 0,
            limit: if header[3] & 3 == 3 { 4 + u32::from(header[3] >> 2 & 7) } else { 4096 },
            abrupt: header[3] & 0x80 != 0,
            ops,
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, seed, tombstones, limit, abrupt, ops } = self;
        writeln!(f, "{cores} cores, seed {seed}, tombstones {tombstones}, limit {limit}, abrupt {abrupt}")?;
        for op in ops {
            writeln!(f, "    {op:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_program() {
        assert_eq!(Program::decode(&[]).ops.len(), 1);
        let program = Program::decode(&[1, 7, 0, 0, 2, 0, 6, 1, 0, 6, 0, 19, 1, 2, 13, 0, 0, 0, 0, 9]);
        assert_eq!((program.cores, program.seed), (2, 7));
        assert_eq!(program.ops[1..], [Op::Tell(0, vec![Act::Link(1), Act::Exit(1, Why::Kill)]), Op::Settle]);
    }
}
