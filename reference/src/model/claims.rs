//! The kernel's results, checked against the rules.
//!
//! Each method gets a process's request and its result. If the rules do not allow the result, the
//! method returns an `Err` that says so. Otherwise the method updates the model.

use atropos_kernel::{
    AliasMode, MonitorTarget, Overflow, Pid, ProcessInfo, Reason, Reference, RegisterError, SpawnError,
};

use super::{Id, Item, Model, On, Process, Signal, Tie};
use crate::program::Birth;

/// The outcome of a check against the rules, with an explanation if they forbid the claim.
pub type Verdict = Result<(), String>;

/// The result of a `send`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as in SendError")]
pub enum Sent {
    Delivered,
    /// The send succeeded, and the letter was dropped.
    Dropped,
    NoProc,
    NoName,
    Full,
    Dying,
    Other,
}

/// A received message or signal.
#[derive(Clone, Debug)]
pub enum Got {
    /// A letter, with its timer's reference if a timer with a label sent it.
    Letter(u64, Option<Reference>),
    /// An EXIT.
    Exit(Option<Pid>, Reason),
    /// A DOWN.
    Down(Reference, MonitorTarget, Reason),
}

pub(crate) fn ensure(holds: bool, else_says: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(else_says()) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, must: &T, is: &T) -> Verdict {
    ensure(must == is, || format!("{what}: it must be {must:?} and is {is:?}"))
}

/// Returns the registered name with a number.
pub fn name(number: usize) -> &'static str {
    ["one", "two", "three"][number]
}

impl Model {
    /// Checks that a body may be resumed.
    pub fn resumed(&mut self, id: Id) -> Verdict {
        ensure(self.is_alive(id), || format!("{id} is dead and was resumed"))?;
        self.fetch(id);
        ensure(!self.is_dying(id), || format!("{id} was resumed, and must die of {:?}", self.processes[id].dying))
    }

    /// Checks a process's answer to `is_dying`.
    pub fn said_dying(&self, id: Id, dying: bool) -> Verdict {
        same("is_dying", &self.is_dying(id), &dying)
    }

    /// Records that a body returned with a reason, crashed, or called `stop`.
    pub fn stopped(&mut self, id: Id, reason: Reason) {
        self.processes[id].dying.get_or_insert(reason);
    }

    /// Checks the drop of a body, and performs the process's death.
    pub fn died(&mut self, id: Id) -> Verdict {
        ensure(self.is_alive(id), || format!("{id} died twice"))?;
        self.fetch(id);
        let Some(reason) = self.processes[id].dying.clone() else {
            return Err(format!("{id} died, and nothing killed it"));
        };
        self.bury(id, reason);
        Ok(())
    }

    /// Checks the result of a spawn.
    pub fn spawned(
        &mut self,
        parent: Option<Id>,
        birth: &Birth,
        got: Result<(Pid, Option<Reference>), SpawnError>,
    ) -> Verdict {
        if parent.is_some_and(|parent| self.is_dying(parent)) {
            return same("spawn", &Err(SpawnError::Dying), &got);
        }
        let (limit, cores) = self.limit;
        let alive = self.alive().count();
        let taken = birth.name.is_some_and(|name| self.names[name].is_some());
        match got {
            Err(SpawnError::NoSuchCore) => {
                ensure(birth.core.is_some_and(|core| core >= cores), || "no such core".into())
            }
            // A core caches up to two free slots.
            Err(SpawnError::TooMany) => ensure(alive + 2 * cores >= limit as usize, || format!("only {alive} alive")),
            Err(SpawnError::Name(error)) => same("spawn", &(true, RegisterError::InUse), &(taken, error)),
            Err(error) => Err(format!("spawn: {error:?}")),
            Ok((pid, monitor)) => {
                ensure(birth.core.is_none_or(|core| core < cores), || "spawned on a bad core".into())?;
                ensure(!taken && alive < limit as usize, || format!("{birth:?} was accepted, {alive} alive"))?;
                ensure(self.id(pid).is_none(), || format!("{pid} was allocated twice"))?;
                same("spawn's monitor", &(birth.monitor && parent.is_some()), &monitor.is_some())?;
                self.born(parent, birth, pid, monitor);
                Ok(())
            }
        }
    }

    /// Returns the minimum and the maximum of the letters that count against a mailbox's limit. A
    /// letter sent through a spent alias may have been dropped already, or not yet.
    fn waiting(&self, id: Id) -> (u32, u32) {
        let process = &self.processes[id];
        let queued = process.queue.iter().filter(|item| matches!(item, Item::Letter(_))).count() as u32;
        let (mut least, mut most) = (queued, queued);
        let mut aliases = process.aliases.clone();
        for signal in &process.inbox {
            match signal {
                Signal::Letter { via, .. } => {
                    most += 1;
                    least += u32::from(via.is_none_or(|via| aliases.contains_key(&via)));
                    if let Some(via) = via
                        && matches!(aliases.get(via), Some(AliasMode::Reply | AliasMode::ReplyDemonitor))
                    {
                        aliases.remove(via);
                    }
                }
                Signal::Down { monitor, .. } if self.monitors[monitor].wanted => {
                    aliases.retain(|alias, mode| alias != monitor || *mode == AliasMode::ExplicitUnalias);
                }
                _ => {}
            }
        }
        (least, most)
    }

    /// Checks the result of a send. `to` is `None` if a name has no holder.
    pub fn sent(
        &mut self,
        from: Option<Id>,
        to: Option<Id>,
        letter: u64,
        via: Option<Reference>,
        got: Sent,
    ) -> Verdict {
        let refused = match to {
            _ if from.is_some_and(|from| self.is_dying(from)) => Some(Sent::Dying),
            None => Some(Sent::NoName),
            Some(to) if !self.is_alive(to) => Some(Sent::NoProc),
            Some(_) => None,
        };
        if let Some(refused) = refused {
            return same("send", &refused, &got);
        }
        let to = to.unwrap_or_default();
        let Process { limit, overflow, .. } = self.processes[to];
        let (least, most) = self.waiting(to);
        let (refused, room) = match overflow {
            Overflow::Reject => (Sent::Full, limit),
            Overflow::DropNewest => (Sent::Dropped, limit),
            Overflow::DropOldest => (Sent::Dropped, 2 * limit),
        };
        if limit != 0 && got == refused {
            self.processes[to].dropped += usize::from(got == Sent::Dropped);
            return ensure(most >= room, || format!("send: {got:?}, and at most {most} of {room} are queued at {to}"));
        }
        same("send", &Sent::Delivered, &got)?;
        // A mailbox that drops the oldest may have done so, and then be below its limit whatever
        // has arrived.
        let full = limit != 0 && overflow != Overflow::DropOldest && least >= limit;
        ensure(!full, || format!("send: accepted, and at least {least} of {limit} are queued at {to}"))?;
        self.signal(to, Signal::Letter { letter, via });
        Ok(())
    }

    /// Records that a process waits for capacity of another's mailbox, or has stopped waiting.
    pub fn waits(&mut self, id: Id, at: Option<Id>) -> Verdict {
        self.processes[id].in_line = at;
        Ok(())
    }

    /// Checks, while the cores are idle, that a process waits for capacity only at a live and full
    /// mailbox.
    pub fn no_wait_is_lost(&mut self) -> Verdict {
        for id in 0..self.count() {
            let Some(to) = self.processes[id].in_line.filter(|_| self.is_alive(id)) else { continue };
            ensure(self.is_alive(to), || format!("{id} waits for capacity at {to}, which is dead"))?;
            self.fetch(to);
            let (limit, (_, most)) = (self.processes[to].limit, self.waiting(to));
            ensure(most >= limit, || format!("{id} waits for capacity at {to}, where {most} of {limit} are queued"))?;
        }
        Ok(())
    }

    /// Records that a letter with orders for its receiver will be sent.
    pub fn orders(&mut self, letter: u64) {
        self.orders.insert(letter);
    }

    /// Checks what a process received, if anything. A `picky` process accepts only letters with
    /// orders.
    pub fn received(&mut self, id: Id, got: Option<Got>, picky: bool, now: u64) -> Verdict {
        self.fetch(id);
        if self.is_dying(id) {
            return ensure(got.is_none(), || format!("{id} received {got:?} and must die"));
        }
        if let Some(Got::Letter(letter, label)) = &got
            && self.is_timers(*letter)
        {
            return self.rang(id, *letter, *label, now);
        }
        let is_order = |item: &Item| matches!(item, Item::Letter(letter) if self.orders.contains(letter));
        let mut place = self.processes[id].queue.iter().position(|item| !picky || is_order(item));
        if let Some(Got::Down(got, ..)) = &got
            && let Some(found) = self.place_of_down(id, *got)
        {
            place = Some(found);
        }
        let must = place.and_then(|place| self.processes[id].queue.remove(place));
        let agrees = match (&must, &got) {
            (None, None) => true,
            (Some(Item::Letter(must)), Some(Got::Letter(got, label))) => must == got && label.is_none(),
            (Some(Item::Exit { from, reason }), Some(Got::Exit(by, why))) => {
                *by == from.map(|from| self.pid(from)) && reason == why
            }
            (Some(Item::Down { monitor, reason, or_noproc }), Some(Got::Down(reference, object, why))) => {
                let record = self.monitors.get_mut(monitor).expect("the monitor exists");
                record.open = false;
                let on = record.on;
                monitor == reference
                    && self.is_on(object, on)
                    && (reason == why || (*or_noproc && *why == Reason::NOPROC))
            }
            _ => false,
        };
        ensure(agrees, || format!("{id} must receive {must:?} and got {got:?}"))
    }

    /// Returns the position of a DOWN, if only DOWNs of the same death precede it: their order is
    /// open.
    fn place_of_down(&self, id: Id, wanted: Reference) -> Option<usize> {
        let death = self.monitors.get(&wanted)?.target?;
        for (place, item) in self.processes[id].queue.iter().enumerate() {
            match item {
                Item::Down { monitor, .. } if *monitor == wanted => return Some(place),
                Item::Down { monitor, .. } if self.monitors[monitor].target == Some(death) => {}
                _ => return None,
            }
        }
        None
    }

    fn is_on(&self, object: &MonitorTarget, on: On) -> bool {
        match (object, on) {
            (MonitorTarget::Pid(pid), On::Process(id)) => *pid == self.pid(id),
            (MonitorTarget::Name(text), On::Name(number)) => text.as_str() == name(number),
            _ => false,
        }
    }

    /// Checks if a host thread's exit signal reported a live target.
    pub fn found_alive(&self, to: Id, got: bool) -> Verdict {
        same("exit", &self.is_alive(to), &got)
    }

    /// Records `exit(to, reason)`. An exit to the caller itself takes effect at once.
    pub fn exited(&mut self, id: Id, to: Id, reason: Reason) {
        if !self.is_dying(id) {
            self.exit(Some(id), to, reason);
            if id == to {
                self.fetch(id);
            }
        }
    }

    /// Checks the result of `link`: success, `noproc`, or a dying caller.
    pub fn linked(&mut self, id: Id, to: Id, got: Result<(), atropos_kernel::LinkError>) -> Verdict {
        use atropos_kernel::LinkError;
        if self.is_dying(id) {
            return same("link", &Err(LinkError::Dying), &got);
        }
        let in_force = |link: &usize| self.peer(*link, id) == to && self.links[*link].state != Tie::Ended;
        let is_linked = self.processes[id].links.iter().any(in_force);
        if id == to || is_linked {
            return same("link", &Ok(()), &got);
        }
        self.cut(id, to);
        if self.is_alive(to) {
            let link = self.new_link(id, to);
            self.processes[id].links.push(link);
            self.signal(to, Signal::LinkRequest(link));
            return same("link", &Ok(()), &got);
        }
        if self.processes[id].trap {
            // An ordinary link whose other end has fired it: another `link` before the EXIT is
            // handled creates none.
            let link = self.new_link(id, to);
            self.processes[id].links.push(link);
            self.fire_link(link, to, &Reason::NOPROC);
            return same("link with the dead", &Ok(()), &got);
        }
        same("link with the dead", &Err(LinkError::NoProc), &got)
    }

    /// Records an `unlink`.
    pub fn unlinked(&mut self, id: Id, to: Id) {
        if !self.is_dying(id) {
            self.cut(id, to);
        }
    }

    /// Checks the result of `monitor`, possibly with an alias.
    pub fn monitored(&mut self, id: Id, on: On, alias: Option<AliasMode>, got: Option<Reference>) -> Verdict {
        same("monitor", &!self.is_dying(id), &got.is_some())?;
        let Some(reference) = got else { return Ok(()) };
        ensure(!self.monitors.contains_key(&reference), || format!("{reference} was allocated twice"))?;
        if let Some(mode) = alias {
            self.processes[id].aliases.insert(reference, mode);
        }
        let target = match on {
            On::Process(target) => Some(target),
            On::Name(name) => self.names[name],
        };
        if target == Some(id) {
            return Ok(());
        }
        self.new_monitor(reference, id, on, target);
        match target {
            Some(target) if self.is_alive(target) => self.signal(target, Signal::MonitorRequest(reference)),
            Some(target) if self.tombstones => {
                let reason = self.processes[target].dead.clone().expect("it is dead");
                self.fire_monitor(reference, &reason, true);
            }
            _ => self.fire_monitor(reference, &Reason::NOPROC, false),
        }
        Ok(())
    }

    /// Checks the result of `demonitor`: was the monitor active?
    pub fn demonitored(&mut self, id: Id, monitor: Reference, flush: bool, got: bool) -> Verdict {
        let must = !self.is_dying(id) && self.end_monitor(id, monitor, flush);
        same("demonitor", &must, &got)
    }

    /// Checks the old value that `trap_exit` returned.
    pub fn trapped(&mut self, id: Id, trap: bool, old: bool) -> Verdict {
        same("trap_exit", &std::mem::replace(&mut self.processes[id].trap, trap), &old)
    }

    /// Records an `alias`.
    pub fn aliased(&mut self, id: Id, reply: bool, reference: Reference) {
        let mode = if reply { AliasMode::Reply } else { AliasMode::ExplicitUnalias };
        self.processes[id].aliases.insert(reference, mode);
    }

    /// Checks the result of `unalias`: was the alias active?
    pub fn unaliased(&mut self, id: Id, reference: Reference, got: bool) -> Verdict {
        same("unalias", &self.processes[id].aliases.remove(&reference).is_some(), &got)
    }

    /// Checks the result of `register`.
    pub fn registered(&mut self, id: Id, number: usize, who: Id, got: Result<(), RegisterError>) -> Verdict {
        let must = if self.is_dying(id) {
            Err(RegisterError::NoProc)
        } else if self.names[number].is_some() {
            Err(RegisterError::InUse)
        } else if !self.is_alive(who) {
            Err(RegisterError::NoProc)
        } else if self.processes[who].name.is_some() {
            Err(RegisterError::AlreadyNamed)
        } else {
            self.give_name(number, who);
            Ok(())
        };
        same("register", &must, &got)
    }

    /// Checks the result of `unregister`: did the name have a holder?
    pub fn unregistered(&mut self, id: Id, number: usize, got: bool) -> Verdict {
        let holder = if self.is_dying(id) { None } else { self.names[number].take() };
        if let Some(holder) = holder {
            self.processes[holder].name = None;
        }
        same("unregister", &holder.is_some(), &got)
    }

    /// Returns the holder of a name.
    pub fn whereis(&self, number: usize) -> Option<Id> {
        self.names[number]
    }

    /// Checks the result of `whereis`.
    pub fn found(&self, number: usize, got: Option<Pid>) -> Verdict {
        same("whereis", &self.whereis(number).map(|id| self.pid(id)), &got)
    }

    /// Checks an immediate answer of `is_alive`: the target has handled all signals sent to it.
    pub fn known_alive(&mut self, id: Id, to: Id, got: bool) -> Verdict {
        if got && id != to && self.is_alive(to) {
            self.fetch(to);
        }
        same("is_alive", &(self.is_alive(to) && !self.is_dying(to)), &got)
    }

    /// Records that `is_alive` had no immediate answer: the query is in transit.
    pub fn asked(&mut self, to: Id, question: u64) -> Verdict {
        ensure(self.is_alive(to), || format!("{to} is dead and got a query"))?;
        self.answers.insert(question, None);
        self.signal(to, Signal::Ask(question));
        Ok(())
    }

    /// Checks the answer to a query.
    pub fn answered(&mut self, to: Id, question: u64, alive: bool) -> Verdict {
        while self.answers[&question].is_none() && self.meet_next(to) {}
        same("is_alive's answer", &self.answers[&question], &Some(alive))
    }

    /// Checks a process's `info`, which it gives after it has handled its inbox.
    pub fn informed(&mut self, info: &ProcessInfo, now: u64) -> Verdict {
        let id = self.id(info.pid).ok_or_else(|| format!("{} belongs to no process", info.pid))?;
        self.fetch(id);
        if self.is_dying(id) {
            return Ok(());
        }
        let process = &self.processes[id];
        let in_force = |link: &&usize| self.links[**link].state == Tie::InForce;
        let mut links: Vec<Pid> =
            process.links.iter().filter(in_force).map(|link| self.pid(self.peer(*link, id))).collect();
        links.sort_unstable();
        links.dedup();
        same("links", &links, &info.links)?;
        let own = |watcher| self.monitors.values().filter(move |m| m.watcher == watcher && m.state == Tie::InForce);
        let mut monitors: Vec<String> = own(id).filter(|monitor| monitor.open).map(|m| self.show(m.on)).collect();
        let mut said: Vec<String> = info.monitors.iter().map(show_object).collect();
        monitors.sort_unstable();
        said.sort_unstable();
        same("monitors", &monitors, &said)?;
        let armed = process.watchers.iter().filter(|m| self.monitors[m].state == Tie::InForce);
        let mut watchers: Vec<Pid> = armed.map(|m| self.pid(self.monitors[m].watcher)).collect();
        let mut said = info.monitored_by.clone();
        watchers.sort_unstable();
        said.sort_unstable();
        same("monitored_by", &watchers, &said)?;
        same("name", &process.name.map(name), &info.name.as_ref().map(atropos_kernel::Name::as_str))?;
        same("trap_exit", &process.trap, &info.trap_exit)?;
        same("mailbox_limit", &process.limit, &info.mailbox_limit)?;
        same("dropped", &process.dropped, &info.dropped)?;
        let (least, most) = (process.queue.len(), process.queue.len() + self.may_have_rung(now));
        let len = info.message_queue_len;
        ensure((least..=most).contains(&len), || format!("{len} are queued at {id}, not {least} to {most}"))
    }

    fn show(&self, on: On) -> String {
        match on {
            On::Process(id) => self.pid(id).to_string(),
            On::Name(number) => name(number).to_owned(),
        }
    }

    /// Checks, while the cores are idle and no process is picky, that every process has handled and
    /// received all its signals.
    pub fn at_rest(&mut self) -> Verdict {
        for id in 0..self.count() {
            if !self.is_alive(id) {
                continue;
            }
            self.fetch(id);
            let process = &self.processes[id];
            ensure(process.dying.is_none(), || format!("{id} is alive, and must die of {:?}", process.dying))?;
            ensure(process.queue.is_empty(), || format!("{id} sleeps, and did not receive {:?}", process.queue))?;
            ensure(process.in_line.is_none(), || format!("{id} sleeps, and waits to send to {:?}", process.in_line))?;
        }
        Ok(())
    }

    /// Checks the same as [`Model::at_rest`], after the last timer has fired.
    pub fn at_the_end_of_time(&mut self) -> Verdict {
        self.at_rest()?;
        self.all_rang()
    }
}

fn show_object(object: &MonitorTarget) -> String {
    match object {
        MonitorTarget::Pid(pid) => pid.to_string(),
        MonitorTarget::Name(name) => name.to_string(),
    }
}
