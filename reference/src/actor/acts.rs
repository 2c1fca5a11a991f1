//! The actions, and the claim that each makes.

use std::sync::PoisonError;
use std::time::Duration;

use atropos_kernel::{Alias, AliasMode, MaybeReady, Reason, Reference, SendError, SendTarget, SpawnOptions};

use crate::actor::{Actor, After, Me};
use crate::judge::Stage;
use crate::model::claims::{self, Sent, name};
use crate::model::timers::For;
use crate::model::{Id, On};
use crate::program::{Act, Birth};

/// The text of a crash.
const CRASH: &str = "a crash";

/// Performs a send and returns its result. A sent letter may have been dropped at once.
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

/// Returns the spawn options for a `Birth`.
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

impl Actor {
    /// Retries the send that waits for mailbox capacity.
    pub(super) fn try_again(&mut self, cx: &Me<'_>, me: Id) {
        let Some((to, pid, letter)) = self.waiting.take() else { return };
        let (id, mut back) = (letter.id, None);
        let got = sent(&self.stage, || match cx.send_or_enqueue(&mut self.in_line, pid, letter) {
            Err(SendError::Full(letter)) => {
                back = Some(letter);
                Err(SendError::Full(()))
            }
            sent => sent.map_err(|error| error.without_message()),
        });
        self.waiting = back.map(|letter| (to, pid, letter));
        let waits = self.waiting.is_some().then_some(to);
        self.check(
            || format!("letter {id} to {to}, waiting for capacity: {got:?}"),
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

    fn who(&self, number: u8) -> (Id, atropos_kernel::Pid) {
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
            (Some(pid), _) => SendTarget::Pid(pid),
            (None, On::Name(number)) => SendTarget::Name(name(number)),
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
        // No lock is held here: a refused child is dropped inside the call.
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
                (For::Process(to), SendTarget::Pid(pid), ms, labelled)
            }
            Act::TimerName(number, ms) => (For::Name(number), SendTarget::Name(name(number)), ms, false),
            _ => return,
        };
        let after = Duration::from_millis(u64::from(ms));
        let got = if labelled { cx.start_timer(dest, after, letter) } else { cx.send_after(dest, after, letter) };
        let due = cx.now() + after.as_nanos() as u64;
        self.check(
            || format!("{act:?}: letter {id}, due {due}: {got:?}"),
            |model| {
                claims::ensure(model.said_dying(me, got.is_err()).is_ok(), || format!("a timer: {got:?}"))?;
                if let Ok(reference) = got {
                    model.started(me, reference, to, due, id, labelled);
                }
                Ok(())
            },
        );
    }

    fn time_left(&self, cx: &Me<'_>, me: Id, number: u8, cancel: bool) {
        let timers = self.stage.judge().model.timers_for(me);
        let Some(index) = usize::from(number).checked_rem(timers.len()) else { return };
        let timer = timers[index];
        let left = if cancel { cx.cancel_timer(timer) } else { cx.read_timer(timer) };
        if cx.is_dying() {
            // A dying process's request is not performed: it gets no remaining time, and its timers
            // are unchanged.
            return self.check(
                || format!("{timer} has {left:?} left, of a dying process"),
                |_| if left.is_none() { Ok(()) } else { Err("a dying process got an answer".into()) },
            );
        }
        let now = cx.now();
        self.check(
            || format!("{timer} has {left:?} left, cancel: {cancel}"),
            |model| model.left(me, timer, left, now, cancel),
        );
    }

    pub(super) fn perform(&mut self, cx: &Me<'_>, me: Id, act: Act) -> After {
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
                // Memory is sufficient here, so no error is possible.
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
                        model.stopped(me, Reason::crash(CRASH));
                        Ok(())
                    },
                );
                atropos_sim::crash(CRASH);
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
                // A dying process gets an error here.
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
                    // As for timers, the request is not performed, so it ended no active alias.
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
                if let MaybeReady::Ready(Ok(Some(info))) = cx.info(cx.pid()) {
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
            Ok(MaybeReady::Ready(alive)) => {
                self.check(|| format!("{to} is alive at once: {alive}"), |model| model.known_alive(me, to, alive));
            }
            Ok(MaybeReady::Pending(waiting)) => {
                let question = self.stage.judge().number();
                self.check(|| format!("asks whether {to} is alive"), |model| model.asked(to, question));
                self.questions.push((question, to, waiting));
            }
            Err(error) => self.check(|| "is_alive".into(), |_| Err(error.to_string())),
        }
    }
}
