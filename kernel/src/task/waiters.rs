#![allow(unreachable_pub, reason = "in a field of what the models see")]
//! [`Waiters`], the wakers that a process's futures were polled with and that are not its own.
//!
//! A body is resumed for whatever comes, and a future that is polled with the process's own waker asks
//! again then: nothing is kept for it. A combinator that polls only what was woken
//! (`FuturesUnordered`, `join_all` of many) polls with wakers of its own. Such a waker is kept here,
//! with what its future waits for, and called when the body is resumed next and that has come.
//!
//! - **F1.** All of it is the owner's (`header`, P1): a future of a `Context` works only inside its
//!   process's slice, so whoever leaves a waker, and whoever takes it back, has the process. Nothing
//!   here is shared, and nothing is atomic.
//! - **F2.** A record is found by its key: the reference of the future's alarm, or one of its own. It is
//!   in one set: `mail`, `line` or `alarms`, by what it waits for, or `due` when that has come.
//! - **F3.** A record becomes due when mail has come that its future has not seen, when it is called from
//!   a line, or when its alarm rings; one that waits for the next slice is due at once. At each resume, before
//!   the body is polled, the due ones are taken out, all together, and called. So a waker is called only for a
//!   reason, and a waker's call that wakes the process again does not go round in a circle.
//! - **F4.** A waker is foreign. It is cloned, called and dropped while nothing is borrowed, and its call
//!   is contained. What comes between a look and the record that it leads to is looked for again.
//! - **F5.** A future that is dropped takes its record back. One that is dropped where its process does not run leaves
//!   it: it is called once for nothing, or dropped with the process.

use core::ptr::NonNull;
use core::task::Waker;

use crate::cx::Slice;
use crate::hand::KernelCx;
use crate::memory::{self, NoMemory};
use crate::pid::Reference;
use crate::process::header::Header;
use crate::process::private::OwnerState;
use crate::room;
use crate::set::{SetLinks, Member, RecordSet};
use crate::signal::queue::{Mark, Queue};
use crate::timer::start;

/// What a record's future waits for, besides its alarm.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// Nothing.
    Alarm,
    /// Mail that it has not seen.
    Mail(Mark),
    /// Its call from a line; the caller has a share of the record.
    Line(NonNull<room::Waiter>),
    /// The next slice.
    Slice,
}

/// One waker.
#[derive(Debug)]
pub struct Waiter {
    joint: SetLinks<Waiter>,
    key: u64,
    on: On,
    waker: Waker,
}

impl Member for Waiter {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        self.key
    }
}

/// See the module.
#[derive(Debug)]
pub struct Waiters {
    due: RecordSet<Waiter>,
    mail: RecordSet<Waiter>,
    line: RecordSet<Waiter>,
    alarms: RecordSet<Waiter>,
    /// No record in `mail` has seen less than this.
    oldest: Option<Mark>,
}

impl Waiters {
    const fn new() -> Self {
        Self { due: RecordSet::new(), mail: RecordSet::new(), line: RecordSet::new(), alarms: RecordSet::new(), oldest: None }
    }

    fn find(&mut self, key: u64) -> Option<NonNull<Waiter>> {
        let Self { due, mail, line, alarms, .. } = self;
        [alarms, mail, due, line].into_iter().find_map(|set| set.find(key))
    }

    /// Takes a record out of its set.
    fn take(&mut self, key: u64) -> Option<NonNull<Waiter>> {
        let Self { due, mail, line, alarms, .. } = self;
        [alarms, mail, due, line].into_iter().find_map(|set| {
            let record = set.find(key)?;
            // SAFETY: found there.
            unsafe { set.remove(record) };
            Some(record)
        })
    }

    /// Puts a record into the set of what it waits for.
    ///
    /// # Safety
    /// It is this owner's, and in no set.
    unsafe fn put(&mut self, record: NonNull<Waiter>) {
        // SAFETY: by contract live.
        let set = match unsafe { record.as_ref() }.on {
            On::Alarm => &mut self.alarms,
            On::Mail(mark) => {
                // Marks only grow, but for a new era's, which makes all of them old.
                self.oldest.get_or_insert(mark);
                &mut self.mail
            }
            On::Line(_) => &mut self.line,
            On::Slice => &mut self.due,
        };
        // SAFETY: by contract.
        unsafe { set.insert(record) };
    }

    /// An alarm has rung.
    pub(crate) fn ring(&mut self, alarm: Reference) {
        if let Some(record) = self.take(alarm.to_raw()) {
            // SAFETY: taken out just now.
            unsafe { self.due.insert(record) };
        }
    }

    /// All that is due (F3).
    fn gather(&mut self, queue: &Queue, era: u32) -> RecordSet<Waiter> {
        if self.oldest.is_some_and(|mark| queue.has_newer(mark, era)) {
            self.oldest = None;
            for record in self.mail.iter() {
                // SAFETY: in the set, so live.
                match unsafe { record.as_ref() }.on {
                    On::Mail(mark) if !queue.has_newer(mark, era) => _ = self.oldest.get_or_insert(mark),
                    _ => {
                        // SAFETY: the one that was returned last may be removed.
                        unsafe { self.mail.remove(record) };
                        // SAFETY: taken out just now.
                        unsafe { self.due.insert(record) };
                    }
                }
            }
        }
        for record in self.line.iter() {
            // SAFETY: in the set, so live.
            let On::Line(place) = unsafe { record.as_ref() }.on else { continue };
            // SAFETY: the record's share keeps it.
            if unsafe { place.as_ref() }.is_called() {
                // SAFETY: the one that was returned last may be removed.
                unsafe { self.line.remove(record) };
                // SAFETY: taken out just now.
                unsafe { self.due.insert(record) };
            }
        }
        core::mem::take(&mut self.due)
    }
}

/// Frees a record that is in no set; its waker.
///
/// # Safety
/// The caller has it, and does not use it again.
unsafe fn open(record: NonNull<Waiter>) -> Waker {
    // SAFETY: by contract whole and the caller's.
    let Waiter { on, waker, .. } = unsafe { record.read() };
    // SAFETY: moved out above; made by `memory::try_new`.
    unsafe { memory::free(record) };
    if let On::Line(place) = on {
        // SAFETY: the record's share.
        unsafe { room::Waiter::give_up(place) };
    }
    waker
}

/// Records that are on their way out: none is lost when something panics.
struct Leaving(RecordSet<Waiter>);

impl Leaving {
    fn next(&mut self) -> Option<Waker> {
        // SAFETY: taken out, and not used again.
        self.0.pop().map(|record| unsafe { open(record) })
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        while let Some(waker) = self.next() {
            drop(waker);
        }
    }
}

/// The owner's part. Not kept over anything foreign.
#[allow(clippy::mut_from_ref, reason = "rule P1 makes the reference unique")]
fn private<'s>(slice: &'s Slice<'_>) -> &'s mut OwnerState {
    // SAFETY: the slice has the process (P1), and each caller lets go before it runs foreign code (F4).
    unsafe { slice.process().private() }
}

/// Has `waker` called when `alarm` rings or what `on` says comes, instead of what was left by `key`.
pub(crate) fn listen(
    slice: &Slice<'_>,
    key: Reference,
    alarm: Option<Reference>,
    on: On,
    waker: &Waker,
) -> Result<(), NoMemory> {
    let raw = key.to_raw();
    let known = private(slice).waiters.as_mut().and_then(|waiters| waiters.find(raw));
    // SAFETY: found, so live; nothing foreign runs in `will_wake`.
    let known = known.is_some_and(|record| unsafe { record.as_ref() }.waker.will_wake(waker));
    // Foreign, and before anything is changed: a panic of the clone leaves all as it was.
    let fresh = (!known).then(|| waker.clone());
    if let On::Line(place) = on {
        // SAFETY: by contract shared.
        unsafe { place.as_ref() }.shares().add();
    }
    let fresh = match fresh {
        None => None,
        Some(waker) => {
            let record = Waiter { joint: SetLinks::new(), key: raw, on, waker };
            Some(memory::try_new(record).map_err(|record| {
                if let On::Line(place) = record.on {
                    // SAFETY: added above.
                    unsafe { room::Waiter::give_up(place) };
                }
                NoMemory
            })?)
        }
    };
    if private(slice).waiters.is_none() {
        let waiters = memory::try_box(Waiters::new());
        match waiters {
            Ok(waiters) => private(slice).waiters = Some(waiters),
            Err(NoMemory) => {
                // SAFETY: made above, and in no set.
                fresh.into_iter().for_each(|record| drop(unsafe { open(record) }));
                return Err(NoMemory);
            }
        }
    }
    let owner = private(slice);
    let Some(waiters) = &mut owner.waiters else { return Err(NoMemory) };
    let before = waiters.take(raw);
    let (record, old) = match (fresh, before) {
        (Some(fresh), before) => (fresh, before),
        (None, Some(mut before)) => {
            // SAFETY: taken out, the owner's.
            let last = core::mem::replace(&mut unsafe { before.as_mut() }.on, on);
            if let On::Line(place) = last {
                // SAFETY: the record's share of what it waited for so far.
                unsafe { room::Waiter::give_up(place) };
            }
            (before, None)
        }
        // It was there above, and nothing foreign has run since.
        (None, None) => return Ok(()),
    };
    // SAFETY: in no set.
    unsafe { waiters.put(record) };
    // What foreign code has let in since the future looked (F4).
    let rang = alarm.is_some_and(|alarm| start::read(slice.process(), &slice.hand, alarm).is_none());
    if rang {
        let owner = private(slice);
        if let Some(waiters) = &mut owner.waiters {
            waiters.ring(key);
        }
        owner.resume = true;
    }
    // SAFETY: taken out above, and not used again. Foreign, and the last.
    old.into_iter().for_each(|record| drop(unsafe { open(record) }));
    Ok(())
}

/// Takes a record back.
pub(crate) fn forget(slice: &Slice<'_>, key: Reference) {
    let record = private(slice).waiters.as_mut().and_then(|waiters| waiters.take(key.to_raw()));
    // SAFETY: taken out, and not used again. Foreign, and the last.
    record.into_iter().for_each(|record| drop(unsafe { open(record) }));
}

/// Calls all that is due. Before the body is polled, and within its slice.
#[cold]
pub(crate) fn wake(slice: &Slice<'_>) {
    let due = {
        let OwnerState { waiters, queue, era, .. } = private(slice);
        let Some(waiters) = waiters else { return };
        waiters.gather(queue, *era)
    };
    let mut due = Leaving(due);
    while let Some(waker) = due.next() {
        call(&slice.hand, waker, Waker::wake);
    }
}

/// A death's part: all that is left is dropped, and nobody called.
#[inline]
pub(crate) fn end(process: &Header, hand: &KernelCx<'_>) {
    // SAFETY: the caller is the owner.
    if let Some(waiters) = unsafe { process.private() }.waiters.take() {
        drop_all(*waiters, hand);
    }
}

#[cold]
fn drop_all(waiters: Waiters, hand: &KernelCx<'_>) {
    let Waiters { due, mail, line, alarms, .. } = waiters;
    for set in [due, mail, line, alarms] {
        let mut leaving = Leaving(set);
        leaving.0.forget_index();
        while let Some(waker) = leaving.next() {
            call(hand, waker, drop);
        }
    }
}

/// Foreign code, whose panic is no reason not to go on.
fn call(hand: &KernelCx<'_>, waker: Waker, with: impl FnOnce(Waker)) {
    hand.catch_panic(|| with(waker));
}
