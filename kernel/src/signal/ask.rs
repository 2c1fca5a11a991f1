//! Questions that keep their place among the signals: [`Ask`].
//!
//! `is_alive` must be false for who has sent a `kill` before, and what a process knows of
//! itself is its owner's. So a question travels through the mailbox, the process answers
//! it when it meets it (its body need not run), and a dead one lets it fall: the asker
//! finds "dead" either way. The asker waits on an [`Answer`], by its one [`Waiting`].
//!
//! ```text
//!   EMPTY ── asker registers a waker (1) ──▶ WAITING
//!     └───────────── answered (2) ─────────────┴──▶ DONE ── asker takes (3)
//! ```
//!
//! Two parties, a word: the asker writes `waker` only while it alone may (EMPTY, or WAITING
//! taken back to EMPTY by an exchange), the answerer reads it only after it has exchanged
//! WAITING for DONE. The value is written before DONE and read after it.

use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll, Waker};

use super::node::{Budget, Kind, Node};
use crate::hand::Hand;
use crate::info::ProcessInfo;
use crate::memory::{self, NoMemory, Shared};
use crate::process::header::Header;
use crate::sync::{AtomicU8, Ordering, UnsafeCell};

const EMPTY: u8 = 0;
const WAITING: u8 = 1;
const DONE: u8 = 2;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// Are you alive?
    Alive,
    /// What do you know of yourself?
    Info,
}

/// What the process says; the dead say nothing.
#[derive(Debug)]
pub enum Said {
    /// It is dead.
    Dead,
    /// It is alive.
    Alive,
    /// All about it. Boxed: an answer is small.
    Info(Box<ProcessInfo>),
    /// It had no memory for the answer.
    NoMemory,
}

/// Where an answer is waited for.
#[derive(Debug)]
pub(crate) struct Answer {
    state: AtomicU8,
    said: UnsafeCell<Said>,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: the word decides who may touch the cells (see the module).
unsafe impl Sync for Answer {}
// SAFETY: what is in it is Send.
unsafe impl Send for Answer {}

impl Answer {
    fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), said: UnsafeCell::new(Said::Dead), waker: UnsafeCell::new(None) }
    }

    /// Returns who is to be woken: foreign code, for the caller to contain.
    #[must_use]
    fn give(&self, said: Said) -> Option<Waker> {
        // SAFETY: the answerer's until DONE, and it answers once.
        self.said.with_mut(|place| unsafe { *place = said });
        // AcqRel: the answer is seen with DONE, and the waker with WAITING.
        if self.state.swap(DONE, Ordering::AcqRel) != WAITING {
            return None;
        }
        // SAFETY: WAITING was exchanged for DONE: the asker touches it no more.
        self.waker.with_mut(|waker| unsafe { (*waker).take() })
    }

    /// Takes the answer, or registers who is to be woken.
    ///
    /// # Safety
    /// There is one asker, and it does not call this after it was ready.
    unsafe fn poll(&self, waker: &Waker) -> Poll<Said> {
        let waiting = self.state.compare_exchange(WAITING, EMPTY, Ordering::AcqRel, Ordering::Acquire);
        if waiting != Err(DONE) {
            // SAFETY: EMPTY: the asker's alone.
            self.waker.with_mut(|place| unsafe { *place = Some(waker.clone()) });
            if self.state.compare_exchange(EMPTY, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        // SAFETY: DONE: the answerer touches it no more.
        Poll::Ready(self.said.with_mut(|said| unsafe { core::mem::replace(&mut *said, Said::Dead) }))
    }
}

/// An answer that will come: a future.
#[derive(Debug)]
#[must_use = "the answer is in the future"]
pub struct Waiting {
    answer: Shared<Answer>,
    ready: bool,
}

impl Future for Waiting {
    type Output = Said;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Said> {
        assert!(!self.ready, "polled after it was ready");
        // SAFETY: the one `Waiting` of the answer, through `&mut`, and not ready before.
        let said = unsafe { self.answer.poll(task.waker()) };
        self.ready = said.is_ready();
        said
    }
}

/// A question on its way.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Ask {
    node: Node,
    question: Question,
    answer: Shared<Answer>,
}

impl Ask {
    /// The question's node, ready to be pushed, and where its answer will be.
    pub(crate) fn try_new(budget: &Budget, question: Question) -> Result<(NonNull<Node>, Waiting), NoMemory> {
        unsafe fn release(node: NonNull<Node>) {
            // SAFETY: an `Ask`'s node, given up.
            unsafe { Ask::refuse(node) }
        }
        let answer = Shared::try_new(Answer::new())?;
        let node = budget.node(Kind::Ask, release).ok_or(NoMemory)?;
        let ask = Self { node, question, answer: answer.clone() };
        memory::try_new(ask).map(|ask| (ask.cast(), Waiting { answer, ready: false })).map_err(|_| NoMemory)
    }

    unsafe fn open(node: NonNull<Node>) -> (Question, Shared<Answer>) {
        // SAFETY: by the callers' contract an `Ask` that nobody else has.
        let ask = unsafe { node.cast::<Self>().read() };
        // SAFETY: moved out above.
        unsafe { memory::free(node.cast::<Self>()) };
        (ask.question, ask.answer)
    }

    /// The process answers.
    ///
    /// # Safety
    /// The caller owns `process`, holds `node`, and does not use it again.
    pub(crate) unsafe fn answer(node: NonNull<Node>, process: &Header, hand: &Hand<'_>) {
        // SAFETY: by contract.
        let (question, answer) = unsafe { Self::open(node) };
        let said = match question {
            Question::Alive => Said::Alive,
            Question::Info => ProcessInfo::try_of(process).map_or(Said::NoMemory, Said::Info),
        };
        let mut waker = answer.give(said);
        hand.kernel.contain(&mut || waker.take().into_iter().for_each(Waker::wake));
    }

    /// Nobody answers: the process is dead. Runs the asker's waker: through [`Hand::release`], which contains it.
    ///
    /// # Safety
    /// The caller holds `node` and does not use it again.
    unsafe fn refuse(node: NonNull<Node>) {
        // SAFETY: by contract.
        let (_, answer) = unsafe { Self::open(node) };
        answer.give(Said::Dead).into_iter().for_each(Waker::wake);
    }
}
