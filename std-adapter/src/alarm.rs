//! [`Alarms`]: timers for code outside any process, which has no timer of its own.
//!
//! A thread of the runtime sleeps until the next alarm is due. The first alarm starts it, and it
//! ends after a while without alarms. It needs no core: the timeout of a call fires on time even if
//! the server's process occupies the only core. A lock is acceptable here, because no process waits
//! for one.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::panics::catch_panic;

/// How long the thread stays without an alarm.
const KEEP: Duration = Duration::from_secs(5);

/// The due time of an alarm, and a number that makes the key unique.
type Key = (Instant, u64);

/// The action of an alarm.
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

/// The alarms of a runtime, and their thread.
#[derive(Default)]
pub(crate) struct Alarms {
    state: Mutex<State>,
    changed: Condvar,
}

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of the user runs under the lock, so a poisoned value is intact.
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
        // User code: dropped without the lock.
        let _ = catch_panic(|| drop(before));
        Some(key)
    }

    /// Schedules an action, and returns the key that cancels it; `None` if the system gives no
    /// thread.
    pub(crate) fn act(self: &Arc<Self>, at: Instant, act: impl FnOnce() + Send + 'static) -> Option<Key> {
        self.set(None, at, Due::Act(Box::new(act)))
    }

    /// Cancels an alarm. Returns `true` if it was still pending.
    pub(crate) fn cancel(&self, key: Key) -> bool {
        let due = self.lock().due.remove(&key);
        let was_set = due.is_some();
        // User code: dropped without the lock, and its panic must not reach the caller.
        let _ = catch_panic(|| drop(due));
        was_set
    }

    /// Returns `true` if the alarm is still pending.
    pub(crate) fn is_set(&self, key: Key) -> bool {
        self.lock().due.contains_key(&key)
    }

    /// Drops all actions when the runtime has ended. Futures that sleep are still woken on time.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped: Vec<Key> =
            state.due.iter().filter(|(_, due)| matches!(due, Due::Act(_))).map(|(key, _)| *key).collect();
        let dropped: Vec<_> = dropped.iter().map(|key| state.due.remove(key)).collect();
        drop(state);
        self.changed.notify_all();
        // User code: dropped without the lock, and one by one, since a second panic during an
        // unwind would abort the program.
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
                // User code: its panic must not end this thread, and has been printed.
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

/// A future that resolves at a point in time, on any executor; `None` never resolves. Dropping it
/// cancels the alarm.
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
        // Wakers are user code: none is cloned under the lock.
        let waker = task.waker().clone();
        self.key = self.alarms.set(self.key, until, Due::Wake(waker));
        // Without a thread that would wake it, the future resolves early.
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
    use crate::block_on::{wait, wait_until};

    #[test]
    fn alarms_fire_in_order_and_leave_nothing() {
        let alarms = Arc::new(Alarms::default());
        let begin = Instant::now();
        let sleep = |ms| Sleep::new(alarms.clone(), begin.checked_add(Duration::from_millis(ms)));
        let never = Sleep::new(alarms.clone(), begin.checked_add(Duration::MAX));
        let (long, short) = (sleep(3_600_000), sleep(20));
        assert!(wait_until(long, Some(begin + Duration::from_millis(10))).is_none());
        wait(short);
        assert!(begin.elapsed() >= Duration::from_millis(20));
        assert!(wait_until(never, Some(begin + Duration::from_millis(30))).is_none());
        assert!(alarms.lock().due.is_empty(), "a dropped sleep leaves no alarm");
        let (tell, told) = std::sync::mpsc::channel();
        let act = alarms.act(Instant::now() + Duration::from_millis(5), move || tell.send(()).expect("the test waits"));
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
