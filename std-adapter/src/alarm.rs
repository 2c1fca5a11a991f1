//! [`Alarms`]: the time, for who is no process and has no timer of its own.
//!
//! A thread of a runtime's that sleeps until the next of them is due. It is started by the first, and ends when there has been
//! none for a while. It needs no core: an ask's patience ends in time although the server's process keeps the only one. Locks are fine
//! here, because no process waits for one.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::panics::catch_panic;

/// For so long a thread without anything to do stays.
const KEEP: Duration = Duration::from_secs(5);

/// When, and which of those.
type Key = (Instant, u64);

/// What is to be done.
enum Due {
    Wake(Waker),
    Act(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
struct State {
    due: BTreeMap<Key, Due>,
    next: u64,
    runs: bool,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Alarms {
    state: Mutex<State>,
    changed: Condvar,
}

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing foreign runs under the lock, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(self: &Arc<Self>, key: Option<Key>, at: Instant, due: Due) -> Option<Key> {
        let mut state = self.lock();
        let key = key.unwrap_or_else(|| {
            state.next += 1;
            (at, state.next)
        });
        let before = state.due.insert(key, due);
        if !state.runs {
            let alarms = self.clone();
            let named = thread::Builder::new().name("atropos-alarm".into());
            if named.spawn(move || alarms.work()).is_err() {
                let due = state.due.remove(&key);
                drop(state);
                let _ = catch_panic(|| drop(before));
                let _ = catch_panic(|| drop(due));
                return None;
            }
            state.runs = true;
        }
        let is_next = state.due.first_key_value().is_some_and(|(first, _)| *first == key);
        drop(state);
        if is_next {
            self.changed.notify_all();
        }
        // Foreign: dropped without the lock.
        let _ = catch_panic(|| drop(before));
        Some(key)
    }

    /// Has something done later; by which it is cancelled. `None`: there is no thread for it.
    pub(crate) fn act(self: &Arc<Self>, at: Instant, act: impl FnOnce() + Send + 'static) -> Option<Key> {
        self.set(None, at, Due::Act(Box::new(act)))
    }

    /// Whether it was still to come.
    pub(crate) fn cancel(&self, key: Key) -> bool {
        let due = self.lock().due.remove(&key);
        let was_set = due.is_some();
        // Foreign: dropped without the lock, and its panic is not the canceller's.
        let _ = catch_panic(|| drop(due));
        was_set
    }

    /// Whether it is still to come.
    pub(crate) fn is_set(&self, key: Key) -> bool {
        self.lock().due.contains_key(&key)
    }

    /// Of a runtime that has ended: what was to be done there is not done any more. Who sleeps is woken in time.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped: Vec<Key> =
            state.due.iter().filter(|(_, due)| matches!(due, Due::Act(_))).map(|(key, _)| *key).collect();
        let dropped: Vec<_> = dropped.iter().map(|key| state.due.remove(key)).collect();
        drop(state);
        self.changed.notify_all();
        // Foreign: dropped without the lock, and each by itself: a second panic in one unwinding would end the program.
        dropped.into_iter().for_each(|due| {
            let _ = catch_panic(|| drop(due));
        });
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            let first = state.due.first_key_value().map(|(key, _)| *key);
            let now = Instant::now();
            if let Some(key) = first
                && key.0 <= now
            {
                let due = state.due.remove(&key);
                drop(state);
                // Foreign; its panic is its own, and has been printed.
                let _ = catch_panic(|| match due {
                    Some(Due::Wake(waker)) => waker.wake(),
                    Some(Due::Act(act)) => act(),
                    None => {}
                });
                state = self.lock();
                continue;
            }
            if first.is_none() && state.closed {
                break;
            }
            let wait = first.map_or(KEEP, |key| key.0 - now);
            let (after, waited) = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
            state = after;
            if waited.timed_out() && state.due.is_empty() {
                break;
            }
        }
        state.runs = false;
    }
}

/// Waits until a moment, on any executor: a future. `None` never comes. Dropping it leaves nothing behind.
pub(crate) struct Sleep {
    alarms: Arc<Alarms>,
    until: Option<Instant>,
    key: Option<Key>,
}

impl Sleep {
    pub(crate) fn new(alarms: Arc<Alarms>, until: Option<Instant>) -> Self {
        Self { alarms, until, key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else { return Poll::Pending };
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        // Wakers are foreign: none is cloned under the lock.
        let waker = task.waker().clone();
        self.key = self.alarms.set(self.key, until, Due::Wake(waker));
        // Without a thread that would wake it, the time is over.
        if self.key.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.alarms.cancel(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::{wait, wait_until};

    #[test]
    fn sleepers_wake_in_their_order_and_leave_nothing() {
        let alarms = Arc::new(Alarms::default());
        let begin = Instant::now();
        let sleep = |ms| Sleep::new(alarms.clone(), begin.checked_add(Duration::from_millis(ms)));
        let never = Sleep::new(alarms.clone(), begin.checked_add(Duration::MAX));
        let (long, short) = (sleep(3_600_000), sleep(20));
        assert!(wait_until(long, Some(begin + Duration::from_millis(10))).is_none());
        wait(short);
        assert!(begin.elapsed() >= Duration::from_millis(20));
        assert!(wait_until(never, Some(begin + Duration::from_millis(30))).is_none());
        assert!(alarms.lock().due.is_empty(), "what was dropped is not waited for");
        let (tell, told) = std::sync::mpsc::channel();
        let act = alarms.act(Instant::now() + Duration::from_millis(5), move || tell.send(()).expect("waited for"));
        assert!(act.is_some_and(|key| told.recv().is_ok() && !alarms.cancel(key)));
        let act = alarms.act(begin + Duration::from_secs(3600), || ()).expect("a thread");
        assert!(alarms.is_set(act));
        alarms.close();
        assert!(!alarms.is_set(act));
        while alarms.lock().runs {
            thread::yield_now();
        }
    }
}
