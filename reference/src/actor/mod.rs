//! [`Actor`]: the body of every process of a program. It performs its orders, and reports its
//! requests and their results to the model. The first claim that the rules do not allow is kept;
//! after it nothing is compared.

mod acts;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use atropos_kernel::{Body, BodyPoll, Cursor, Cx, Peek, QueryFuture, Reason, Received, Reference, SendReservation};

use crate::judge::{Letter, Stage};
use crate::model::claims::{Got, Verdict};
use crate::model::{Id, Model};
use crate::program::{Act, NAMES};

pub use acts::{options, sent};

/// The body of every process of a program.
#[derive(Debug)]
pub struct Actor {
    stage: Arc<Stage>,
    /// The process's number, unknown until it runs.
    me: Option<Id>,
    /// The process's pid, if the kernel accepted the spawn. A refused process is dropped without a
    /// check.
    pid: Arc<Mutex<Option<atropos_kernel::Pid>>>,
    picky: bool,
    cursor: Cursor,
    questions: Vec<(u64, Id, QueryFuture<bool>)>,
    in_line: SendReservation,
    /// The letter that waits for mailbox capacity, and its receiver.
    waiting: Option<(Id, atropos_kernel::Pid, Letter)>,
    monitors: Vec<Reference>,
    aliases: Vec<Reference>,
}

type Me<'a> = Cx<'a, Letter>;

enum After {
    GoesOn,
    Yields,
    Ends(Reason),
}

impl Actor {
    /// Creates the body of a future process, and the cell for its pid once it is spawned.
    pub fn new(stage: &Arc<Stage>) -> (Self, Arc<Mutex<Option<atropos_kernel::Pid>>>) {
        let pid: Arc<Mutex<Option<atropos_kernel::Pid>>> = Arc::default();
        let actor = Self {
            stage: stage.clone(),
            me: None,
            pid: pid.clone(),
            picky: false,
            cursor: Cursor::new(),
            questions: Vec::new(),
            in_line: SendReservation::new(),
            waiting: None,
            monitors: Vec::new(),
            aliases: Vec::new(),
        };
        (actor, pid)
    }

    fn check(&self, says: impl FnOnce() -> String, claim: impl FnOnce(&mut Model) -> Verdict) {
        let me = self.me.unwrap_or_default();
        self.stage.judge().check(|| format!("{me}: {}", says()), claim);
    }

    fn start(&mut self, cx: &Me<'_>) -> Id {
        if let Some(me) = self.me {
            return me;
        }
        let waker = cx.waker();
        let mut judge = self.stage.judge();
        let me = judge.model.id(cx.pid()).unwrap_or_default();
        let count = judge.model.count().max(me + 1);
        judge.wakers.resize(count, None);
        judge.wakers[me] = Some(waker);
        self.me = Some(me);
        me
    }

    fn receive(&mut self, cx: &Me<'_>, me: Id) -> Option<Vec<Act>> {
        loop {
            let picky = self.picky && !self.stage.judge().finale;
            let received = if picky {
                cx.receive_match(
                    &mut self.cursor,
                    |peek| matches!(peek, Peek::Message(letter) if !letter.acts.is_empty()),
                )
            } else {
                cx.receive()
            };
            let mut acts = Vec::new();
            let got = received.map(|received| match received {
                Received::Message(mut letter) => {
                    acts = std::mem::take(&mut letter.acts);
                    Got::Letter(letter.id, None)
                }
                Received::Timer { timer, message } => Got::Letter(message.id, Some(timer)),
                Received::Exit(exit) => Got::Exit(exit.from, exit.reason),
                Received::Down(down) => Got::Down(down.reference, down.target, down.reason),
            });
            let nothing = got.is_none();
            let now = cx.now();
            self.check(|| format!("received {got:?}"), |model| model.received(me, got.clone(), picky, now));
            if nothing || !acts.is_empty() {
                return (!nothing).then_some(acts);
            }
        }
    }

    fn ask_again(&mut self, cx: &Me<'_>) {
        let waker = cx.waker();
        let mut task = Context::from_waker(&waker);
        let mut open = Vec::new();
        for (question, to, mut waiting) in std::mem::take(&mut self.questions) {
            match Pin::new(&mut waiting).poll(&mut task) {
                Poll::Pending => open.push((question, to, waiting)),
                Poll::Ready(alive) => {
                    self.check(|| format!("{to} is alive: {alive}"), |model| model.answered(to, question, alive));
                }
            }
        }
        self.questions = open;
    }
}

impl Body for Actor {
    type Message = Letter;

    fn resume(&mut self, cx: &Me<'_>) -> BodyPoll {
        let me = self.start(cx);
        self.check(|| format!("resumed on {}", cx.core()), |model| model.resumed(me));
        self.ask_again(cx);
        self.try_again(cx, me);
        while let Some(acts) = self.receive(cx, me) {
            let mut yields = cx.is_exhausted();
            for act in acts {
                match self.perform(cx, me, act) {
                    After::GoesOn => {}
                    After::Yields => yields = true,
                    After::Ends(reason) => return BodyPoll::Exit(reason),
                }
            }
            if yields {
                return BodyPoll::Yield;
            }
        }
        // The first poll of a query leaves a waker there.
        self.ask_again(cx);
        BodyPoll::Wait
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let pid = *self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pid) = pid else { return };
        let mut judge = self.stage.judge();
        let Some(me) = judge.model.id(pid) else { return };
        if let Some(waker) = judge.wakers.get_mut(me) {
            // A late wake finds a dead process, which the test wants for half of them.
            if me % 2 == 0 {
                *waker = None;
            }
        }
        judge.check(|| format!("{me}: dies"), |model| model.died(me));
    }
}

/// `claims::name` lists three names.
const _: () = assert!(NAMES == 3);
