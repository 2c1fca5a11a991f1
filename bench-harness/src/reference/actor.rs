//! [`Actor`], the body that every process of a program runs: it does what it is told, and tells the model what it
//! asked for and what it got. The first claim that the rules do not allow is kept; from then on nothing is compared.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use atropos::kernel::{Asked, Said};
use atropos::{
    Alias, AliasMode, Body, Cursor, Cx, Dest, InLine, Peek, Reason, Received, Reference, Resumed, SendError,
    SpawnOptions, Waiting,
};

use super::claims::{Got, Sent, Verdict, name};
use super::model::{Id, Model, On};
use super::program::{Act, Birth, NAMES};
use super::timers::For;

/// What all processes of a program share, and its performer.
#[derive(Debug)]
pub struct Stage {
    judge: Mutex<Judge>,
    /// Letters that are somewhere.
    letters: AtomicUsize,
}

/// The model, and what else must be remembered.
#[derive(Debug)]
pub struct Judge {
    /// The rules.
    pub model: Model,
    /// What they do not allow, if it happened.
    pub failure: Option<String>,
    /// What happened, a line each, if somebody wants to know.
    pub log: Option<Vec<String>>,
    /// A waker of each process that has run.
    pub wakers: Vec<Option<Waker>>,
    /// Every alias ever made.
    pub aliases: Vec<Alias>,
    /// Nobody is picky any more.
    pub finale: bool,
    /// The kernel is being dropped: nothing is compared.
    pub over: bool,
    /// It will be dropped with all that is alive. A question that waits in a mailbox has the asker's waker, which
    /// holds the kernel: none is asked.
    pub abrupt: bool,
    next: u64,
}

impl Stage {
    /// For one program.
    pub fn new(model: Model, log: bool, abrupt: bool) -> Arc<Self> {
        let judge = Judge {
            model,
            failure: None,
            log: log.then(Vec::new),
            wakers: Vec::new(),
            aliases: Vec::new(),
            finale: false,
            over: false,
            abrupt,
            next: 1,
        };
        Arc::new(Self { judge: Mutex::new(judge), letters: AtomicUsize::new(0) })
    }

    /// The judge. A crash leaves it whole: it is never held while a body unwinds.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Letters that nobody has received or dropped.
    pub fn letters(&self) -> usize {
        self.letters.load(Ordering::Relaxed)
    }

    /// A letter, perhaps with orders.
    pub fn letter(self: &Arc<Self>, acts: Vec<Act>) -> Letter {
        self.letters.fetch_add(1, Ordering::Relaxed);
        let mut judge = self.judge();
        let id = judge.number();
        if !acts.is_empty() {
            judge.model.orders(id);
        }
        Letter { id, acts, stage: self.clone() }
    }
}

impl Judge {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Holds a claim against the rules. `says` describes it.
    pub fn check(&mut self, says: impl FnOnce() -> String, claim: impl FnOnce(&mut Model) -> Verdict) {
        if self.over || self.failure.is_some() {
            return;
        }
        if let Some(log) = &mut self.log {
            log.push(says());
        }
        if let Err(why) = claim(&mut self.model) {
            self.failure = Some(why);
        }
    }

    /// The process that a number of the program means: mostly one that is alive, now and then any there ever was.
    pub fn who(&self, number: u8) -> Id {
        let alive: Vec<Id> = self.model.alive().collect();
        match usize::from(number).checked_rem(alive.len()) {
            Some(index) if number < 0xD0 => alive[index],
            _ => usize::from(number) % self.model.count().max(1),
        }
    }

    /// The alias that a number of the program means.
    pub fn alias(&self, number: u8) -> Option<Alias> {
        let index = usize::from(number).checked_rem(self.aliases.len())?;
        Some(self.aliases[index])
    }
}

/// What the processes send each other. It is counted as long as it is somewhere.
#[derive(Debug)]
pub struct Letter {
    /// Which.
    pub id: u64,
    acts: Vec<Act>,
    stage: Arc<Stage>,
}

impl Drop for Letter {
    fn drop(&mut self) {
        self.stage.letters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a send said, and did: the letter may be gone.
pub fn sent<L>(stage: &Stage, send: impl FnOnce() -> Result<(), SendError<L>>) -> Sent {
    let before = stage.letters();
    match send() {
        Ok(()) if stage.letters() < before => Sent::Dropped,
        Ok(()) => Sent::Delivered,
        Err(SendError::NoProc(_)) => Sent::NoProc,
        Err(SendError::NoName(_)) => Sent::NoName,
        Err(SendError::Full(_)) => Sent::Full,
        Err(SendError::Dying(_)) => Sent::Dying,
        Err(_) => Sent::Other,
    }
}

/// The options of a birth.
pub fn options(birth: &Birth) -> SpawnOptions<'static> {
    let Birth { trap, link, monitor, priority, core, limit, overflow, name: called } = *birth;
    let mut options = SpawnOptions::new().trap_exit(trap).priority(priority).mailbox_limit(limit).overflow(overflow);
    if link {
        options = options.link();
    }
    if monitor {
        options = options.monitor();
    }
    if let Some(core) = core {
        options = options.core(core);
    }
    match called {
        Some(number) => options.name(name(number)),
        None => options,
    }
}

/// See the module.
#[derive(Debug)]
pub struct Actor {
    stage: Arc<Stage>,
    /// Who it is; unknown until it runs.
    me: Option<Id>,
    /// Whether the kernel took it: what was refused dies unseen.
    pid: Arc<Mutex<Option<atropos::Pid>>>,
    picky: bool,
    cursor: Cursor,
    questions: Vec<(u64, Id, Waiting)>,
    in_line: InLine,
    /// What waits for room, and where.
    waiting: Option<(Id, atropos::Pid, Letter)>,
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
    /// A process to be, and where its pid must be noted once it is one.
    pub fn new(stage: &Arc<Stage>) -> (Self, Arc<Mutex<Option<atropos::Pid>>>) {
        let pid: Arc<Mutex<Option<atropos::Pid>>> = Arc::default();
        let actor = Self {
            stage: stage.clone(),
            me: None,
            pid: pid.clone(),
            picky: false,
            cursor: Cursor::new(),
            questions: Vec::new(),
            in_line: InLine::new(),
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
                Received::Down(down) => Got::Down(down.reference, down.object, down.reason),
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
                Poll::Ready(said) => {
                    let alive = !matches!(said, Said::Dead);
                    self.check(|| format!("{to} is alive: {alive}"), |model| model.answered(to, question, alive));
                }
            }
        }
        self.questions = open;
    }

    /// Tries to send what waits for room.
    fn try_again(&mut self, cx: &Me<'_>, me: Id) {
        let Some((to, pid, letter)) = self.waiting.take() else { return };
        let (id, mut back) = (letter.id, None);
        let got = sent(&self.stage, || match cx.send_in_line(&mut self.in_line, pid, letter) {
            Err(SendError::Full(letter)) => {
                back = Some(letter);
                Err(SendError::Full(()))
            }
            sent => sent.map_err(|error| error.without_message()),
        });
        self.waiting = back.map(|letter| (to, pid, letter));
        let waits = self.waiting.is_some().then_some(to);
        self.check(
            || format!("letter {id} to {to}, in line: {got:?}"),
            |model| model.sent(Some(me), Some(to), id, None, got).and_then(|()| model.waits(me, waits)),
        );
    }

    fn send(&self, cx: &Me<'_>, me: Id, act: Act) {
        let letter = self.stage.letter(Vec::new());
        let id = letter.id;
        let (to, via, got) = match act {
            Act::SendName(number) => {
                let holder = self.stage.judge().model.whereis(number);
                (holder, None, sent(&self.stage, || cx.send_name(name(number), letter)))
            }
            Act::SendAlias(number) => {
                let Some(alias) = self.stage.judge().alias(number) else { return };
                let to = self.stage.judge().model.id(alias.pid());
                (to, Some(alias.reference()), sent(&self.stage, || cx.send_alias(alias, letter)))
            }
            Act::Send(number) => {
                let (to, pid) = self.who(number);
                (Some(to), None, sent(&self.stage, || cx.send(pid, letter)))
            }
            _ => return,
        };
        self.check(
            || format!("{act:?}: letter {id} to {to:?}: {got:?}"),
            |model| model.sent(Some(me), to, id, via, got),
        );
    }

    fn who(&self, number: u8) -> (Id, atropos::Pid) {
        let judge = self.stage.judge();
        let id = judge.who(number);
        (id, judge.model.pid(id))
    }

    fn monitor(&mut self, cx: &Me<'_>, me: Id, on: On, alias: Option<AliasMode>) {
        let pid = match on {
            On::Process(id) => Some(self.stage.judge().model.pid(id)),
            On::Name(_) => None,
        };
        let dest = match (pid, on) {
            (Some(pid), _) => Dest::Pid(pid),
            (None, On::Name(number)) => Dest::Name(name(number)),
            (None, On::Process(_)) => return,
        };
        let got = cx.monitor_with(dest, alias).ok();
        self.check(|| format!("monitors {on:?}, {alias:?}: {got:?}"), |model| model.monitored(me, on, alias, got));
        let Some(reference) = got else { return };
        self.monitors.push(reference);
        if alias.is_some() {
            self.aliases.push(reference);
            self.stage.judge().aliases.push(Alias::new(cx.pid(), reference));
        }
    }

    fn spawn(&self, cx: &Me<'_>, me: Id, birth: &Birth) -> Option<Reference> {
        let (child, noted) = Self::new(&self.stage);
        // No lock is held: a child that is refused is dropped in here.
        let got = cx.spawn(&options(birth), child).map(|spawned| (spawned.pid, spawned.monitor));
        if let Ok((pid, _)) = got {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        }
        self.check(|| format!("spawns {birth:?}: {got:?}"), |model| model.spawned(Some(me), birth, got));
        got.ok().and_then(|(_, monitor)| monitor)
    }

    fn timer(&self, cx: &Me<'_>, me: Id, act: Act) {
        let letter = self.stage.letter(Vec::new());
        let id = letter.id;
        let (to, dest, ms, labelled) = match act {
            Act::Timer(number, ms, labelled) => {
                let (to, pid) = self.who(number);
                (For::Process(to), Dest::Pid(pid), ms, labelled)
            }
            Act::TimerName(number, ms) => (For::Name(number), Dest::Name(name(number)), ms, false),
            _ => return,
        };
        let after = Duration::from_millis(u64::from(ms));
        let got = if labelled { cx.start_timer(dest, after, letter) } else { cx.send_after(dest, after, letter) };
        let due = cx.now() + after.as_nanos() as u64;
        self.check(
            || format!("{act:?}: letter {id}, due {due}: {got:?}"),
            |model| {
                super::claims::ensure(model.said_dying(me, got.is_err()).is_ok(), || format!("a timer: {got:?}"))?;
                if let Ok(reference) = got {
                    model.started(me, reference, to, due, id, labelled);
                }
                Ok(())
            },
        );
    }

    fn time_left(&self, cx: &Me<'_>, me: Id, number: u8, cancel: bool) {
        let timers = self.stage.judge().model.timers_of(me);
        let Some(index) = usize::from(number).checked_rem(timers.len()) else { return };
        let timer = timers[index];
        let left = if cancel { cx.cancel_timer(timer) } else { cx.read_timer(timer) };
        if cx.is_dying() {
            // What a dying process asks is not done: it is told of no timer, and its timers are as they were.
            return self.check(
                || format!("{timer} has {left:?} left, of a dying process"),
                |_| if left.is_none() { Ok(()) } else { Err("a dying process was told".into()) },
            );
        }
        let now = cx.now();
        self.check(
            || format!("{timer} has {left:?} left, cancel: {cancel}"),
            |model| model.left(me, timer, left, now, cancel),
        );
    }

    fn perform(&mut self, cx: &Me<'_>, me: Id, act: Act) -> After {
        match act {
            Act::Nothing => {}
            Act::SendInLine(to) => {
                if self.waiting.is_none() {
                    let (to, pid) = self.who(to);
                    self.waiting = Some((to, pid, self.stage.letter(Vec::new())));
                    self.try_again(cx, me);
                }
            }
            Act::Send(_) | Act::SendName(_) | Act::SendAlias(_) => self.send(cx, me, act),
            Act::Link(to) => {
                let (to, pid) = self.who(to);
                let got = cx.link(pid);
                self.check(|| format!("links {to}: {got:?}"), |model| model.linked(me, to, got));
            }
            Act::Unlink(to) => {
                let (to, pid) = self.who(to);
                cx.unlink(pid);
                self.check(
                    || format!("unlinks {to}"),
                    |model| {
                        model.unlinked(me, to);
                        Ok(())
                    },
                );
            }
            Act::Monitor(to, alias) => {
                let on = On::Process(self.who(to).0);
                self.monitor(cx, me, on, alias);
            }
            Act::MonitorName(number, alias) => self.monitor(cx, me, On::Name(number), alias),
            Act::Demonitor(which, flush) => {
                let Some(back) = usize::from(which).checked_rem(self.monitors.len()) else { return After::GoesOn };
                let monitor = self.monitors[self.monitors.len() - 1 - back];
                let got = cx.demonitor(monitor, flush);
                self.check(
                    || format!("demonitors {monitor}, flush {flush}: {got}"),
                    |model| model.demonitored(me, monitor, flush, got),
                );
            }
            Act::Trap(trap) => {
                let old = cx.trap_exit(trap);
                self.check(|| format!("traps: {trap}"), |model| model.trapped(me, trap, old));
            }
            Act::Exit(to, why) => {
                let (to, pid) = self.who(to);
                // There is memory, so there is nothing that it could say.
                let _ = cx.exit(pid, why.reason());
                self.check(
                    || format!("sends {to} an exit, {why:?}"),
                    |model| {
                        model.exited(me, to, why.reason());
                        Ok(())
                    },
                );
            }
            Act::Stop(why, by_call) => {
                self.check(
                    || format!("stops, {why:?}"),
                    |model| {
                        model.stopped(me, why.reason());
                        Ok(())
                    },
                );
                if !by_call {
                    return After::Ends(why.reason());
                }
                cx.stop(why.reason());
            }
            Act::Crash => {
                self.check(
                    || "crashes".into(),
                    |model| {
                        model.stopped(me, Reason::crash(crate::conformance::stepped::PANIC));
                        Ok(())
                    },
                );
                // Not `panic!`: nobody's hook need hear of it.
                std::panic::resume_unwind(Box::new("a crash"));
            }
            Act::Spawn(birth) => {
                let monitor = self.spawn(cx, me, &birth);
                self.monitors.extend(monitor);
            }
            Act::Register(number, who) => {
                let (who, pid) = self.who(who);
                let got = cx.register(name(number), pid);
                self.check(
                    || format!("registers {who} as {number}: {got:?}"),
                    |model| model.registered(me, number, who, got),
                );
            }
            Act::Unregister(number) => {
                let got = cx.unregister(name(number));
                self.check(|| format!("unregisters {number}: {got}"), |model| model.unregistered(me, number, got));
            }
            Act::Whereis(number) => {
                let got = cx.whereis(name(number));
                self.check(|| format!("whereis {number}: {got:?}"), |model| model.found(number, got));
            }
            Act::Alias(reply) => {
                // Not a dying process.
                let Ok(alias) = cx.alias(reply) else { return After::GoesOn };
                self.aliases.push(alias.reference());
                self.stage.judge().aliases.push(alias);
                self.check(
                    || format!("alias {alias:?}, reply {reply}"),
                    |model| {
                        model.aliased(me, reply, alias.reference());
                        Ok(())
                    },
                );
            }
            Act::Unalias(which) => {
                let Some(back) = usize::from(which).checked_rem(self.aliases.len()) else { return After::GoesOn };
                let reference = self.aliases[self.aliases.len() - 1 - back];
                let got = cx.unalias(Alias::new(cx.pid(), reference));
                if cx.is_dying() {
                    // As for timers: not done, so nothing was in force that it ended.
                    let done = || if got { Err("a dying process has ended an alias".into()) } else { Ok(()) };
                    self.check(|| format!("unalias {reference}: {got}, of a dying process"), |_| done());
                } else {
                    self.check(|| format!("unalias {reference}: {got}"), |model| model.unaliased(me, reference, got));
                }
            }
            Act::Timer(..) | Act::TimerName(..) => self.timer(cx, me, act),
            Act::CancelTimer(which) => self.time_left(cx, me, which, true),
            Act::ReadTimer(which) => self.time_left(cx, me, which, false),
            Act::Alive(to) => self.ask(cx, me, to),
            Act::Info => {
                if let Ok(Asked::Known(Some(info))) = cx.info(cx.pid()) {
                    let now = cx.now();
                    self.check(|| format!("{info:?}"), |model| model.informed(&info, now));
                }
            }
            Act::Picky(picky) => self.picky = picky,
            Act::Yield => return After::Yields,
        }
        let dying = cx.is_dying();
        self.check(String::new, |model| model.said_dying(me, dying));
        After::GoesOn
    }

    fn ask(&mut self, cx: &Me<'_>, me: Id, to: u8) {
        let (to, pid) = self.who(to);
        if cx.is_dying() || self.stage.judge().abrupt {
            return;
        }
        match cx.is_alive(pid) {
            Ok(Asked::Known(alive)) => {
                self.check(|| format!("{to} is alive at once: {alive}"), |model| model.known_alive(me, to, alive));
            }
            Ok(Asked::Later(waiting)) => {
                let question = self.stage.judge().number();
                self.check(|| format!("asks whether {to} is alive"), |model| model.asked(to, question));
                self.questions.push((question, to, waiting));
            }
            Err(error) => self.check(|| "is_alive".into(), |_| Err(error.to_string())),
        }
    }
}

impl Body for Actor {
    type Message = Letter;

    fn resume(&mut self, cx: &Me<'_>) -> Resumed {
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
                    After::Ends(reason) => return Resumed::Exit(reason),
                }
            }
            if yields {
                return Resumed::Yield;
            }
        }
        // The first poll of a question leaves a waker there.
        self.ask_again(cx);
        Resumed::Wait
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let pid = *self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pid) = pid else { return };
        let mut judge = self.stage.judge();
        let Some(me) = judge.model.id(pid) else { return };
        if let Some(waker) = judge.wakers.get_mut(me) {
            // A late wake finds the dead; that is wanted now and then.
            if me % 2 == 0 {
                *waker = None;
            }
        }
        judge.check(|| format!("{me}: dies"), |model| model.died(me));
    }
}

/// The names of a kernel that nobody has used cost nothing.
const _: () = assert!(NAMES == 3);
