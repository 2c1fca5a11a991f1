//! [`Cx`], what a body asks the kernel for while it runs.
//!
//! A [`Slice`] is one process in the hands of one core, for one turn. It is noted in the
//! world's [`crate::world::Here`] while the body runs, so that whoever runs inside it (an
//! async body's [`crate::task::Context`], a waker) finds it; nothing else finds it, so
//! there is one user of the process's private part at a time.
//!
//! Once the process is dying every operation does nothing and says so: what a dead process
//! does is not done.

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::task::Waker;
use core::time::Duration;

use crate::alias::{AliasMode, AliasRecord};
use crate::behalf::BehalfError;
use crate::hand::Hand;
use crate::info::ProcessInfo;
use crate::memory::NoMemory;
use crate::name::RegisterError;
use crate::pid::{Alias, Pid, Reference};
use crate::process::body::Body;
use crate::process::fetch::{By, fetch};
use crate::process::header::Header;
use crate::process::private::Private;
use crate::process::spawn::{self, Parent, Slots, SpawnError, SpawnOptions, Spawned};
use crate::process::ties::{self, LinkError, MonitorError};
use crate::reason::Reason;
use crate::received::{Peek, Received};
use crate::sched::local::CoreLocal;
use crate::send::{self, SendError};
use crate::signal::ask::{Ask, Question, Waiting};
use crate::signal::exit_signal;
use crate::signal::queue::Cursor;
use crate::sync::{Cell, Ordering};
use crate::task::context::Context;
use crate::task::future::FutureBody;
use crate::task::waker;
use crate::timer::record::{Flags, Target, TimerError, TimerHead};

/// See the module.
#[derive(Debug)]
pub struct Slice<'a> {
    pub(crate) hand: Hand<'a>,
    pub(crate) core: &'a CoreLocal,
    pub(crate) process: &'a Header,
    pub(crate) budget: Cell<u32>,
    /// The kernel is at work for the process, and what is foreign in there (a destructor) must not come in again
    /// through a [`Context`].
    pub(crate) inside: Cell<bool>,
    /// A closure of the body's looks at a signal in the queue: nothing may be taken out.
    pub(crate) looking: Cell<bool>,
    /// The body wants to go on, behind the others.
    pub(crate) yields: Cell<bool>,
}

/// Sets a flag back when it goes, also when it goes by a panic.
#[must_use]
pub(crate) struct Restore<'s>(&'s Cell<bool>, bool);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

fn set(flag: &Cell<bool>, value: bool) -> Restore<'_> {
    Restore(flag, flag.replace(value))
}

impl Slice<'_> {
    /// The kernel is at work until the guard goes.
    pub(crate) fn enter(&self) -> Restore<'_> {
        set(&self.inside, true)
    }

    /// The body, or its destructor, is at work until the guard goes.
    pub(crate) fn leave(&self) -> Restore<'_> {
        set(&self.inside, false)
    }
}

/// The kernel, as a running body of messages `M` sees it.
#[repr(transparent)]
#[derive(Debug)]
pub struct Cx<'a, M> {
    slice: Slice<'a>,
    takes: PhantomData<fn(M)>,
}

/// Whom a timer's message is for.
#[derive(Clone, Copy, Debug)]
pub enum Dest<'a> {
    /// A process.
    Pid(Pid),
    /// Whoever has the name when the time has come.
    Name(&'a str),
}

impl From<Pid> for Dest<'_> {
    fn from(pid: Pid) -> Self {
        Self::Pid(pid)
    }
}

impl<'a> From<&'a str> for Dest<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

/// An answer that is at hand, or has to be waited for.
#[derive(Debug)]
pub enum Asked<T> {
    /// It is known.
    Known(T),
    /// It will come.
    Later(Waiting),
}

impl<'a, M: Send + 'static> Cx<'a, M> {
    pub(crate) fn of<'s>(slice: &'s Slice<'a>) -> &'s Self {
        // SAFETY: repr(transparent) over the slice.
        unsafe { &*core::ptr::from_ref(slice).cast::<Self>() }
    }

    /// The owner's part. `f` calls nothing foreign and borrows nothing twice.
    fn private<R>(&self, f: impl FnOnce(&mut Private) -> R) -> R {
        // SAFETY: the slice has the process (P1), and `f` is short (see above).
        f(unsafe { self.slice.process.private() })
    }

    pub(crate) fn process(&self) -> &'a Header {
        self.slice.process
    }

    /// Asks for another slice soon, for a body that returns from the middle of something.
    pub(crate) fn want_yield(&self) {
        self.slice.yields.set(true);
    }

    pub(crate) fn take_yield(&self) -> bool {
        self.slice.yields.replace(false)
    }

    /// Whether the slice has no reductions left.
    pub fn is_exhausted(&self) -> bool {
        self.slice.budget.get() == 0
    }

    /// Ends the process as if its body had returned [`crate::Resumed::Exit`]: the body should
    /// return, and nothing it does any more is done.
    pub fn stop(&self, reason: Reason) {
        // What is in a reason is foreign, so one too many is not dropped under the borrow.
        if !self.is_dying() {
            self.private(|private| private.dying = Some(reason));
        }
    }

    fn alive<E>(&self, dying: E) -> Result<(), E> {
        if self.is_dying() { Err(dying) } else { Ok(()) }
    }

    /// Who it is.
    pub fn pid(&self) -> Pid {
        self.slice.process.pid
    }

    /// The core that runs it now.
    pub fn core(&self) -> usize {
        self.slice.core.id()
    }

    /// Nanoseconds of the world's clock.
    pub fn now(&self) -> u64 {
        self.slice.hand.kernel.now()
    }

    /// Whether it has been decided that the process dies: the body should return.
    pub fn is_dying(&self) -> bool {
        self.private(|private| private.dying.is_some())
    }

    /// Spends reductions; false when the slice has none left and the body should yield.
    pub fn spend(&self, reductions: u32) -> bool {
        let left = self.slice.budget.get().saturating_sub(reductions);
        self.slice.budget.set(left);
        left > 0
    }

    /// The queue must not change under a closure that looks at it.
    fn must_not_look(&self) {
        assert!(!self.slice.looking.get(), "called from inside a closure that looks at the mailbox");
    }

    fn look<R>(&self, look: impl FnOnce() -> R) -> R {
        let _looking = set(&self.slice.looking, true);
        look()
    }

    /// By the body, if it looks at the queue itself; else as the core would.
    fn fetch(&self, by: By) {
        self.must_not_look();
        let _inside = self.slice.enter();
        fetch(self.slice.process, &self.slice.hand, by);
    }

    /// The oldest message, EXIT, DOWN or timer that waits.
    pub fn receive(&self) -> Option<Received<M>> {
        self.must_not_look();
        if self.is_dying() {
            return None;
        }
        if self.private(|private| private.queue.first().is_null()) || self.slice.process.mailbox.has_pending() {
            self.fetch(By::Body);
            if self.is_dying() {
                return None;
            }
        }
        self.spend(1);
        let node = self.private(|private| private.queue.pop_front())?;
        // SAFETY: taken from the queue of this process, which takes `M` (`Cx::of`).
        Some(unsafe { Received::open(node, self.slice.process) })
    }

    /// The oldest that `wanted` accepts. What a cursor's receive has looked at it does not
    /// look at again, as long as no other cursor is used in between.
    pub fn receive_match(
        &self,
        cursor: &mut Cursor,
        mut wanted: impl FnMut(Peek<'_, M>) -> bool,
    ) -> Option<Received<M>> {
        if self.is_dying() {
            return None;
        }
        self.fetch(By::Body);
        if self.is_dying() {
            return None;
        }
        self.spend(1);
        let mut seen = self.private(|private| private.queue.seen(cursor));
        loop {
            // SAFETY: `seen` is null or in the queue: a removal would have moved it.
            let node = NonNull::new(self.private(|private| unsafe { private.queue.after(seen) }))?;
            // SAFETY: in the queue of this process, which takes `M`, and nothing is taken out
            // while the closure looks (`must_not_look`).
            let peek = unsafe { Peek::of(node, self.slice.process) };
            if self.look(|| wanted(peek)) {
                // SAFETY: in the queue.
                self.private(|private| unsafe { private.queue.remove(node) });
                // SAFETY: taken out just now.
                return Some(unsafe { Received::open(node, self.slice.process) });
            }
            seen = node.as_ptr();
            // SAFETY: in the queue.
            self.private(|private| unsafe { private.queue.set_seen(seen) });
        }
    }

    /// A cursor behind all that waits now: for a reply to what is sent next.
    pub fn cursor_at_end(&self) -> Cursor {
        self.private(|private| private.queue.cursor_at_end())
    }

    /// Looks at all that waits, oldest first, and takes nothing.
    pub fn for_each_waiting(&self, mut look: impl FnMut(Peek<'_, M>)) {
        if self.is_dying() {
            return;
        }
        self.fetch(By::Body);
        let mut node = self.private(|private| private.queue.first());
        while let Some(at) = NonNull::new(node) {
            // SAFETY: in the queue of this process, which takes `M`; as in `receive_match`.
            let peek = unsafe { Peek::of(at, self.slice.process) };
            self.look(|| look(peek));
            // SAFETY: in the queue.
            node = self.private(|private| unsafe { private.queue.after(node) });
        }
    }

    /// Sends a message. Lock-free.
    pub fn send<N: Send + 'static>(&self, to: Pid, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        self.spend(1);
        send::send(&self.slice.hand, to, message)
    }

    /// Sends to whoever has the name. Lock-free.
    pub fn send_name<N: Send + 'static>(&self, to: &str, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        self.spend(1);
        let hand = &self.slice.hand;
        match hand.kernel.names.find(to).and_then(|entry| entry.holder(hand.guard)) {
            Some(process) => send::send_to(hand, process, message, None),
            None => Err(SendError::NoName(message)),
        }
    }

    /// Sends through an alias. A spent alias swallows the message. Lock-free.
    pub fn send_alias<N: Send + 'static>(&self, to: Alias, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        self.spend(1);
        send::send_alias(&self.slice.hand, to, message)
    }

    /// Sends an exit signal. To itself it takes its place behind what has come, and is acted on
    /// before this returns: look at [`Cx::is_dying`]. To the dead nothing happens. A kill needs no
    /// memory. Lock-free.
    pub fn exit(&self, to: Pid, reason: Reason) -> Result<(), NoMemory> {
        if self.is_dying() {
            return Ok(());
        }
        self.spend(1);
        let inside = self.slice.enter();
        exit_signal::send(&self.slice.hand, Some(self.pid()), to, reason)?;
        drop(inside);
        if to == self.pid() {
            self.fetch(By::Core);
        }
        Ok(())
    }

    /// Links with another process. Lock-free; amortised O(1).
    pub fn link(&self, to: Pid) -> Result<(), LinkError> {
        self.alive(LinkError::Dying)?;
        self.spend(1);
        let _inside = self.slice.enter();
        ties::link(self.slice.process, &self.slice.hand, to, true)
    }

    /// As [`Cx::link`]; but unless `as_otp` the dead are an error also to who traps exits.
    pub(crate) fn link_as(&self, to: Pid, as_otp: bool) -> Result<(), BehalfError> {
        self.spend(1);
        let _inside = self.slice.enter();
        ties::link(self.slice.process, &self.slice.hand, to, as_otp).map_err(|error| match error {
            LinkError::NoProc => BehalfError::NoProc,
            LinkError::NoMemory => BehalfError::NoMemory,
            LinkError::Dying => BehalfError::NoCaller,
        })
    }

    /// Monitors a process by this reference: whether the DOWN waits already.
    pub(crate) fn monitor_as(&self, target: Pid, reference: Reference) -> Result<bool, MonitorError> {
        self.spend(1);
        let _inside = self.slice.enter();
        ties::monitor(self.slice.process, &self.slice.hand, Ok(target), reference, None)
    }

    /// Ends a link; without one, nothing happens. Lock-free; amortised O(1).
    pub fn unlink(&self, to: Pid) {
        if !self.is_dying() {
            self.spend(1);
            let _inside = self.slice.enter();
            ties::unlink(self.slice.process, &self.slice.hand, to);
        }
    }

    fn reference(&self) -> Option<Reference> {
        self.slice.core.reference(self.slice.hand.kernel)
    }

    /// Monitors a process. Lock-free; amortised O(1).
    pub fn monitor(&self, target: Pid) -> Result<Reference, MonitorError> {
        self.monitor_with(Dest::Pid(target), None)
    }

    /// Monitors whoever has the name now; DOWN `noproc` at once when nobody has.
    pub fn monitor_name(&self, name: &str) -> Result<Reference, MonitorError> {
        self.monitor_with(Dest::Name(name), None)
    }

    /// Monitors, and makes the reference an alias as well.
    pub fn monitor_with(&self, target: Dest<'_>, alias: Option<AliasMode>) -> Result<Reference, MonitorError> {
        self.alive(MonitorError::Dying)?;
        self.spend(1);
        let _inside = self.slice.enter();
        let hand = &self.slice.hand;
        let target = match target {
            Dest::Pid(pid) => Ok(pid),
            Dest::Name(name) => Err(hand.kernel.names.intern(name)?),
        };
        let reference = self.reference().ok_or(MonitorError::NoMemory)?;
        ties::monitor(self.slice.process, hand, target, reference, alias)?;
        Ok(reference)
    }

    /// Ends a monitor: true when it was still in force (OTP's `info`). With `flush` a DOWN that
    /// has come is removed, and none comes any more. Lock-free; amortised O(1).
    pub fn demonitor(&self, monitor: Reference, flush: bool) -> bool {
        if self.is_dying() {
            return false;
        }
        self.must_not_look();
        self.spend(1);
        let _inside = self.slice.enter();
        ties::demonitor(self.slice.process, &self.slice.hand, monitor, flush)
    }

    /// Sets whether EXITs come as messages; the old value.
    pub fn trap_exit(&self, trap: bool) -> bool {
        // Relaxed: as in `Header::trap_exit`.
        self.slice.process.trap_exit.swap(trap, Ordering::Relaxed)
    }

    /// Starts a process. Lock-free, but for growing the table.
    pub fn spawn<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        self.alive(SpawnError::Dying)?;
        self.spend(10);
        let reference = if options.monitor { Some(self.reference().ok_or(SpawnError::NoMemory)?) } else { None };
        let parent = Parent { process: self.slice.process, reference, by_proxy: false };
        spawn::spawn(&self.slice.hand, Slots::Core(self.slice.core), Some(parent), options, body)
    }

    /// Starts a process that runs `start`'s future.
    pub fn spawn_async<N, S, F>(&self, options: &SpawnOptions<'_>, start: S) -> Result<Spawned, SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: crate::task::Exit> + Send + 'static,
    {
        self.spawn(options, FutureBody::new(start))
    }

    /// Registers a process under a name. Lock-free.
    pub fn register(&self, name: &str, pid: Pid) -> Result<(), RegisterError> {
        self.alive(RegisterError::NoProc)?;
        let hand = &self.slice.hand;
        let entry = hand.kernel.names.intern(name)?;
        if entry.holder(hand.guard).is_some() {
            return Err(RegisterError::InUse);
        }
        entry.register(hand.find(pid).ok_or(RegisterError::NoProc)?)
    }

    /// Takes a name from whoever has it; false when nobody did. Lock-free.
    pub fn unregister(&self, name: &str) -> bool {
        let hand = &self.slice.hand;
        !self.is_dying() && hand.kernel.names.find(name).is_some_and(|entry| entry.unregister(hand.guard))
    }

    /// Who has the name. Wait-free.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        let hand = &self.slice.hand;
        hand.whereis(name)
    }

    /// Makes an alias of itself; with `reply` the first message through it ends it.
    pub fn alias(&self, reply: bool) -> Result<Alias, NoMemory> {
        self.alive(NoMemory)?;
        let reference = self.reference().ok_or(NoMemory)?;
        let mode = if reply { AliasMode::Reply } else { AliasMode::ExplicitUnalias };
        let record = AliasRecord::try_new(reference, mode)?;
        // SAFETY: new, in no set.
        self.private(|private| unsafe { private.aliases.insert(record) });
        Ok(Alias { pid: self.pid(), reference })
    }

    /// Ends an alias of its own; whether it was in force. Another's stays as it is.
    pub fn unalias(&self, alias: Alias) -> bool {
        alias.pid == self.pid() && !self.is_dying() && self.private(|private| private.end_alias(alias.reference))
    }

    /// Sends `message` after a while. The timer ends with the receiver. O(1).
    pub fn send_after<'d, N: Send + 'static>(
        &self,
        to: impl Into<Dest<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.start_message(to.into(), after, message, false)
    }

    /// As [`Cx::send_after`], but what comes is a [`Received::Timer`] that names the timer.
    pub fn start_timer<'d, N: Send + 'static>(
        &self,
        to: impl Into<Dest<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.start_message(to.into(), after, message, true)
    }

    fn start_message<N: Send + 'static>(
        &self,
        to: Dest<'_>,
        after: Duration,
        message: N,
        labelled: bool,
    ) -> Result<Reference, TimerError> {
        self.alive(TimerError::Dying)?;
        self.spend(1);
        let _inside = self.slice.enter();
        let hand = &self.slice.hand;
        let (target, other) = match to {
            Dest::Pid(pid) if pid == self.pid() => (Target::Pid(pid), None),
            Dest::Pid(pid) => (Target::Pid(pid), hand.find(pid)),
            Dest::Name(name) => {
                let entry = hand.kernel.names.intern(name).map_err(|_| TimerError::NoMemory)?;
                (Target::Name(NonNull::from(entry)), None)
            }
        };
        let takes = match to {
            Dest::Pid(pid) if pid == self.pid() => Some(self.slice.process.takes),
            _ => other.map(|other| other.takes),
        };
        if takes.is_some_and(|takes| takes != core::any::TypeId::of::<N>()) {
            return Err(TimerError::WrongType);
        }
        let reference = self.reference().ok_or(TimerError::NoMemory)?;
        let due = self.due(after);
        let flags = Flags { labelled, watched: other.is_some() };
        let timer = TimerHead::try_message(&hand.kernel.nodes, target, self.core(), due, reference, flags, message)?;
        self.start(timer, due)?;
        if let Some(other) = other {
            let watch = TimerHead::share(timer);
            // SAFETY: on no list; the list's share goes with it.
            if unsafe { other.watchers.push(watch) }.is_err() {
                // The target has just died, and its timer with it.
                // SAFETY: shared.
                unsafe { TimerHead::cancel(timer, hand) };
                // SAFETY: the share that the list did not take.
                unsafe { TimerHead::give_up(timer) };
            }
        } else if let Target::Pid(pid) = target
            && pid != self.pid()
        {
            // SAFETY: shared: it ended with a target that is dead already.
            unsafe { TimerHead::cancel(timer, hand) };
        }
        Ok(reference)
    }

    fn due(&self, after: Duration) -> u64 {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.now().saturating_add(after)
    }

    /// Puts a new timer on the wheel and among its own.
    fn start(&self, timer: NonNull<TimerHead>, due: u64) -> Result<(), TimerError> {
        // SAFETY: new, for this core.
        if let Err(error) = unsafe { self.slice.core.start(timer, due) } {
            // SAFETY: ours alone; `cancel` drops the message and gives up the wheel's share.
            unsafe { TimerHead::cancel(timer, &self.slice.hand) };
            // SAFETY: the starter's share.
            unsafe { TimerHead::give_up(timer) };
            return Err(error);
        }
        self.private(|private| {
            if private.timers.sweep_is_due() {
                private.sweep_timers();
            }
            // SAFETY: new, in no set; the starter's share goes with it.
            unsafe { private.timers.insert(timer) };
        });
        Ok(())
    }

    /// Cancels a timer of its own: the time it had left, or `None` when it has fired, was
    /// cancelled, or ended with its target. O(1).
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        self.alive(()).ok()?;
        let _inside = self.slice.enter();
        let record = self.private(|private| private.timers.find(timer.to_raw()))?;
        // Out of the set first, with its share: the message's destructor is foreign and may come here again.
        // SAFETY: found there just now.
        self.private(|private| unsafe { private.timers.remove(record) });
        // SAFETY: the set's share, which is ours now.
        let due = unsafe { record.as_ref() }.due;
        // SAFETY: likewise.
        let in_time = unsafe { TimerHead::cancel(record, &self.slice.hand) };
        // SAFETY: likewise, and not used again.
        unsafe { TimerHead::give_up(record) };
        in_time.then(|| Duration::from_nanos(due.saturating_sub(self.now())))
    }

    /// The time that a timer of its own has left. O(1).
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        self.alive(()).ok()?;
        let record = self.private(|private| private.timers.find(timer.to_raw()))?;
        // SAFETY: in the set, so shared.
        let record = unsafe { record.as_ref() };
        record.is_armed().then(|| Duration::from_nanos(record.due.saturating_sub(self.now())))
    }

    /// Resumes the body after a while: for sleeps and the patience of receives. It has rung
    /// when [`Cx::read_timer`] no longer finds it; [`Cx::cancel_timer`] ends it.
    pub fn alarm(&self, after: Duration) -> Result<Reference, TimerError> {
        self.alive(TimerError::Dying)?;
        let reference = self.reference().ok_or(TimerError::NoMemory)?;
        let due = self.due(after);
        let timer = TimerHead::try_alarm(&self.slice.hand.kernel.nodes, self.pid(), self.core(), due, reference)?;
        self.start(timer, due)?;
        Ok(reference)
    }

    /// Whether a process is alive, after all that the caller has sent it before.
    pub fn is_alive(&self, pid: Pid) -> Result<Asked<bool>, NoMemory> {
        if pid == self.pid() {
            return Ok(Asked::Known(!self.is_dying()));
        }
        self.spend(1);
        let hand = &self.slice.hand;
        match hand.find(pid) {
            None => Ok(Asked::Known(false)),
            Some(process) if process.mailbox.is_closed() => Ok(Asked::Known(false)),
            Some(process) if process.mailbox.is_clear() => Ok(Asked::Known(true)),
            Some(process) => {
                self.ask(process, Question::Alive).map(|later| later.map_or(Asked::Known(false), Asked::Later))
            }
        }
    }

    /// What a process knows of itself; `None` when it is dead.
    pub fn info(&self, pid: Pid) -> Result<Asked<Option<ProcessInfo>>, NoMemory> {
        if pid == self.pid() {
            if self.is_dying() {
                return Ok(Asked::Known(None));
            }
            self.fetch(By::Core);
            return Ok(Asked::Known(Some(*ProcessInfo::try_of(self.slice.process)?)));
        }
        self.spend(1);
        match self.slice.hand.find(pid) {
            None => Ok(Asked::Known(None)),
            Some(process) => {
                self.ask(process, Question::Info).map(|later| later.map_or(Asked::Known(None), Asked::Later))
            }
        }
    }

    fn ask(&self, process: &Header, question: Question) -> Result<Option<Waiting>, NoMemory> {
        ask(&self.slice.hand, process, question)
    }

    /// Runs foreign code inside the slice: a panic in it becomes a crash with its text, where the world can
    /// catch one, and the body goes on. What the code has left half done is the caller's to judge.
    pub fn contain<R>(&self, code: impl FnOnce() -> R) -> Result<R, Reason> {
        let (mut code, mut result) = (Some(code), None);
        let looking = self.slice.looking.get();
        let contained = self.slice.hand.kernel.world().contain(&mut || result = code.take().map(|code| code()));
        // A closure that panicked while it looked at the mailbox looks no more.
        self.slice.looking.set(looking);
        contained?;
        result.ok_or_else(|| Reason::crash("the world did not run what it was to contain"))
    }

    /// Wakes the body from anywhere, also after the process is gone.
    pub fn waker(&self) -> Waker {
        waker::of(self.slice.process)
    }
}

/// Puts a question to a process; `None` when it is dead.
pub(crate) fn ask(hand: &Hand<'_>, process: &Header, question: Question) -> Result<Option<Waiting>, NoMemory> {
    let (node, answer) = Ask::try_new(&hand.kernel.nodes, question)?;
    // SAFETY: new, so ours.
    if unsafe { hand.push(process, node) } {
        return Ok(Some(answer));
    }
    // SAFETY: still ours.
    unsafe { hand.release(node) };
    Ok(None)
}

impl Private {
    /// Drops the timers to others that have fired or ended.
    fn sweep_timers(&mut self) {
        for timer in self.timers.iter() {
            // SAFETY: in the set, so shared.
            if !unsafe { timer.as_ref() }.is_armed() {
                // SAFETY: the one the iterator returned last may be removed.
                unsafe { self.timers.remove(timer) };
                // SAFETY: the set's share.
                unsafe { TimerHead::give_up(timer) };
            }
        }
        self.timers.swept();
    }
}
