//! A schedule as text: a failure writes it, and a replay reads it.
//!
//! [`Recorder`] stands between shuttle and a scheduler and records every choice. The text is the
//! seed of the random numbers in hexadecimal, a colon, and the steps: a letter for the task that
//! continued (`A` is the first), `?` for a random number that was drawn, each with a count when it
//! occurs more than once in a row.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

/// The choices made in one execution.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Choices {
    seed: u64,
    steps: Vec<u8>,
    executions: usize,
}

/// The letter of a random number, among the letters of the tasks.
const DRAWN: u8 = b'?';

/// The choices of the current execution, shared between a [`Recorder`] and its reader.
#[derive(Clone, Default, Debug)]
pub struct Tape(Arc<Mutex<Choices>>);

impl Tape {
    fn with<R>(&self, f: impl FnOnce(&mut Choices) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of executions begun.
    pub fn executions(&self) -> usize {
        self.with(|choices| choices.executions)
    }

    /// Returns the choices so far, as text.
    pub fn text(&self) -> String {
        self.with(|choices| choices.text())
    }
}

impl Choices {
    fn text(&self) -> String {
        let mut text = format!("{:x}:", self.seed);
        for run in self.steps.chunk_by(|a, b| a == b) {
            text.push(char::from(run[0]));
            if run.len() > 1 {
                write!(text, "{}", run.len()).expect("a string takes any text");
            }
        }
        text
    }

    /// Reads the output of [`Tape::text`]. Returns `None` when the text is no schedule.
    pub fn read(text: &str) -> Option<Self> {
        let (seed, steps) = text.trim().split_once(':')?;
        let mut choices = Self { seed: u64::from_str_radix(seed, 16).ok()?, ..Self::default() };
        let mut rest = steps.as_bytes();
        while let [step, after @ ..] = rest {
            if *step != DRAWN && !step.is_ascii_uppercase() {
                return None;
            }
            let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let count = match digits {
                0 => 1,
                _ => std::str::from_utf8(&after[..digits]).ok()?.parse().ok()?,
            };
            choices.steps.extend(std::iter::repeat_n(*step, count));
            rest = &after[digits..];
        }
        Some(choices)
    }

    /// Converts the choices to shuttle's type.
    pub fn schedule(&self) -> Schedule {
        let mut schedule = Schedule::new(self.seed);
        for step in &self.steps {
            match *step {
                DRAWN => schedule.push_random(),
                task => schedule.push_task(TaskId::from(usize::from(task - b'A'))),
            }
        }
        schedule
    }
}

/// A scheduler that records the choices of another one.
#[derive(Debug)]
pub struct Recorder<S> {
    inner: S,
    tape: Tape,
}

impl<S> Recorder<S> {
    /// Creates a recorder of the choices of `inner` on `tape`.
    pub fn new(inner: S, tape: Tape) -> Self {
        Self { inner, tape }
    }
}

impl<S: Scheduler> Scheduler for Recorder<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        let schedule = self.inner.new_execution()?;
        self.tape.with(|choices| {
            choices.seed = schedule.seed;
            choices.steps.clear();
            choices.executions += 1;
        });
        Some(schedule)
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yielding: bool) -> Option<TaskId> {
        let task = self.inner.next_task(runnable, current, yielding)?;
        let letter = b'A' + u8::try_from(usize::from(task)).expect("a web has few tasks");
        assert!(letter.is_ascii_uppercase(), "a web has few tasks");
        self.tape.with(|choices| choices.steps.push(letter));
        Some(task)
    }

    fn next_u64(&mut self) -> u64 {
        self.tape.with(|choices| choices.steps.push(DRAWN));
        self.inner.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_schedule_is_read_back() {
        let choices = Choices { seed: 0xABC, steps: b"AAB?????BZ".to_vec(), executions: 0 };
        assert_eq!(choices.text(), "abc:A2B?5BZ");
        assert_eq!(Choices::read(" abc:A2B?5BZ\n"), Some(choices));
        for text in ["", "abc", "xyz:A", "1:a", "1:2A", "1:A99999999999999999999999"] {
            assert_eq!(Choices::read(text), None, "{text}");
        }
    }
}
