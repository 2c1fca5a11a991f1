//! The assembler. A line is a label (`name:`), an instruction with its operand, or empty; a comment
//! starts with `;`.
//!
//! ```text
//! main:
//!     push 3
//!     spawn_link worker 1     ; one argument
//!     store 0
//! wait:
//!     receive
//!     print
//!     jump wait
//! ```
//!
//! An error names its line, and what to write instead.

use std::collections::BTreeMap;
use std::fmt;

use super::program::{Instruction, Program, SLOTS};
use super::value::Value;

/// An error in the program's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Mistake {}

/// The instructions, each with an example of its operands.
const INSTRUCTIONS: [(&str, &str); 30] = [
    ("push", "push 5, or push 'name"),
    ("pop", "pop"),
    ("duplicate", "duplicate"),
    ("load", "load 0"),
    ("store", "store 0"),
    ("add", "add"),
    ("subtract", "subtract"),
    ("equal", "equal"),
    ("less", "less"),
    ("jump", "jump label"),
    ("jump_if_zero", "jump_if_zero label"),
    ("tuple", "tuple 2"),
    ("item", "item 0"),
    ("me", "me"),
    ("spawn", "spawn label 0, with the number of its arguments"),
    ("spawn_link", "spawn_link label 0, with the number of its arguments"),
    ("spawn_monitor", "spawn_monitor label 0, with the number of its arguments"),
    ("send", "send"),
    ("receive", "receive"),
    ("receive_within", "receive_within label, where it jumps on a timeout"),
    ("link", "link"),
    ("unlink", "unlink"),
    ("monitor", "monitor"),
    ("demonitor", "demonitor"),
    ("trap_exit", "trap_exit"),
    ("exit", "exit"),
    ("signal", "signal"),
    ("after", "after"),
    ("cancel", "cancel"),
    ("print", "print"),
];
const HALT: (&str, &str) = ("halt", "halt");

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    INSTRUCTIONS.into_iter().chain([HALT])
}

/// Returns the number of letters to change (the edit distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

/// Returns `; did you mean …?`, if a name is similar.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = names.map(|other| (distance(name, other), other)).min();
    match near {
        Some((away, other)) if away <= 2.max(name.len() / 3) => format!("; did you mean \"{other}\"?"),
        _ => String::new(),
    }
}

struct Line<'a> {
    number: usize,
    name: &'a str,
    operands: Vec<&'a str>,
    labels: &'a BTreeMap<String, usize>,
}

impl Line<'_> {
    fn mistake(&self, what: impl Into<String>) -> Mistake {
        Mistake { line: self.number, what: what.into() }
    }

    fn usage(&self) -> &'static str {
        all().find(|(name, _)| *name == self.name).map_or("", |(_, usage)| usage)
    }

    /// Checks that the line has this many operands.
    fn takes(&self, count: usize) -> Result<(), Mistake> {
        if self.operands.len() == count {
            return Ok(());
        }
        let (name, got, usage) = (self.name, self.operands.len(), self.usage());
        let shown = ["nothing", "one thing", "two things"];
        let got = shown.get(got).copied().unwrap_or("more");
        Err(self.mistake(format!("\"{name}\" is followed by {}, not by {got}: write {usage}", shown[count])))
    }

    fn number(&self, at: usize, below: usize, what: &str) -> Result<usize, Mistake> {
        let text = self.operands[at];
        match text.parse() {
            Ok(number) if number < below => Ok(number),
            _ => Err(self.mistake(format!("\"{text}\" is not {what} (0 to {}): write {}", below - 1, self.usage()))),
        }
    }

    fn label(&self) -> Result<usize, Mistake> {
        let name = self.operands[0];
        let Some(at) = self.labels.get(name) else {
            let near = nearest(name, self.labels.keys().map(String::as_str));
            let advice = if near.is_empty() { format!(": put \"{name}:\" on a line of its own") } else { near };
            return Err(self.mistake(format!("there is no label \"{name}\"{advice}")));
        };
        Ok(*at)
    }

    fn value(&self) -> Result<Value, Mistake> {
        let text = self.operands[0];
        if let Some(name) = text.strip_prefix('\'').filter(|name| !name.is_empty()) {
            return Ok(Value::atom(name));
        }
        let number = text.parse().map_err(|_| {
            self.mistake(format!("\"{text}\" is neither a number nor an atom: write push 5, or push '{text}"))
        });
        number.map(Value::Number)
    }

    fn spawn(&self, link: bool, monitor: bool) -> Result<Instruction, Mistake> {
        self.takes(2)?;
        let arguments = self.number(1, 256, "a number of arguments")?;
        Ok(Instruction::Spawn { at: self.label()?, arguments, link, monitor })
    }

    fn assemble(&self) -> Result<Instruction, Mistake> {
        let bare = |instruction| self.takes(0).map(|()| instruction);
        let one = |make: &dyn Fn() -> Result<Instruction, Mistake>| self.takes(1).and_then(|()| make());
        match self.name {
            "push" => one(&|| self.value().map(Instruction::Push)),
            "pop" => bare(Instruction::Pop),
            "duplicate" => bare(Instruction::Duplicate),
            "load" => one(&|| self.number(0, SLOTS, "a slot").map(Instruction::Load)),
            "store" => one(&|| self.number(0, SLOTS, "a slot").map(Instruction::Store)),
            "add" => bare(Instruction::Add),
            "subtract" => bare(Instruction::Subtract),
            "equal" => bare(Instruction::Equal),
            "less" => bare(Instruction::Less),
            "jump" => one(&|| self.label().map(Instruction::Jump)),
            "jump_if_zero" => one(&|| self.label().map(Instruction::JumpIfZero)),
            "tuple" => one(&|| self.number(0, 256, "a size").map(Instruction::Tuple)),
            "item" => one(&|| self.number(0, 256, "a place").map(Instruction::Item)),
            "me" => bare(Instruction::Me),
            "spawn" => self.spawn(false, false),
            "spawn_link" => self.spawn(true, false),
            "spawn_monitor" => self.spawn(false, true),
            "send" => bare(Instruction::Send),
            "receive" => bare(Instruction::Receive),
            "receive_within" => one(&|| self.label().map(Instruction::ReceiveWithin)),
            "link" => bare(Instruction::Link),
            "unlink" => bare(Instruction::Unlink),
            "monitor" => bare(Instruction::Monitor),
            "demonitor" => bare(Instruction::Demonitor),
            "trap_exit" => bare(Instruction::TrapExit),
            "exit" => bare(Instruction::Exit),
            "signal" => bare(Instruction::Signal),
            "after" => bare(Instruction::After),
            "cancel" => bare(Instruction::Cancel),
            "print" => bare(Instruction::Print),
            "halt" => bare(Instruction::Halt),
            name => {
                let near = nearest(name, all().map(|(name, _)| name));
                Err(self.mistake(format!("there is no instruction \"{name}\"{near}")))
            }
        }
    }
}

/// Splits a line into a label or words.
fn words(line: &str) -> Vec<&str> {
    line.split_once(';').map_or(line, |(code, _)| code).split_whitespace().collect()
}

/// Assembles a program.
pub(crate) fn assemble(text: &str) -> Result<Program, Mistake> {
    let mut program = Program::default();
    let mut place = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let words = words(line);
        let Some(name) = words.first().and_then(|word| word.strip_suffix(':')) else {
            place += usize::from(!words.is_empty());
            continue;
        };
        let mistake = |what| Err(Mistake { line: number, what });
        if words.len() > 1 {
            return mistake(format!("\"{}\" follows a label: put it on the next line", words[1]));
        }
        if name.is_empty() {
            return mistake("a label has no name: write name:".to_owned());
        }
        if program.labels.insert(name.to_owned(), place).is_some() {
            return mistake(format!("there are two labels \"{name}\": rename one"));
        }
    }
    for (number, line) in (1..).zip(text.lines()) {
        let words = words(line);
        let Some((name, operands)) = words.split_first().filter(|(name, _)| !name.ends_with(':')) else { continue };
        let line = Line { number, name, operands: operands.to_vec(), labels: &program.labels };
        let instruction = line.assemble()?;
        program.instructions.push(instruction);
        program.lines.push(number);
    }
    if let Some((name, _)) = program.labels.iter().find(|(_, at)| **at == place) {
        let line = text.lines().count();
        let what =
            format!("nothing comes behind the label \"{name}\": end the program with an instruction, halt for one");
        return Err(Mistake { line, what });
    }
    Ok(program)
}
