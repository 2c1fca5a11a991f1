//! [`Roots`]: the top processes of a runtime, in start order.
//!
//! A root is a supervisor or server that was started from outside
//! ([`crate::Handle::start_supervisor`], [`crate::Handle::start_server`], so also an application
//! manager). A shutdown stops the roots before everything else, last started first, each by its own
//! rules (`shutdown`). When the shutdown begins, the list is closed, and later roots are refused.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atropos_kernel::Pid;

/// A root process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root {
    pub(crate) pid: Pid,
    /// How long the shutdown waits for this root before it stops the next one; `None`: until its
    /// own deadline.
    pub(crate) patience: Option<Duration>,
}

#[derive(Default)]
struct State {
    order: Vec<Root>,
    /// The length of the list at which dead roots are removed next.
    many: usize,
    closed: bool,
}

/// The list of root processes.
#[derive(Default)]
pub(crate) struct Roots(Mutex<State>);

/// The length below which dead roots are never removed.
const FEW: usize = 64;

impl Roots {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of the user runs under the lock, so a poisoned value is intact.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if the list is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Adds a root that has just been started. Returns `false` if the list is closed. From time to
    /// time it removes dead roots, so that the list has at most about twice as many entries as live
    /// roots. Amortized O(1).
    pub(crate) fn add(&self, root: Root, is_alive: impl Fn(Pid) -> bool) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        if state.order.len() >= state.many.max(FEW) {
            state.order.retain(|root| is_alive(root.pid));
            state.many = state.order.len() * 2;
        }
        state.order.push(root);
        true
    }

    /// Closes the list: it refuses roots from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Removes and returns the root that was started last.
    pub(crate) fn pop(&self) -> Option<Root> {
        self.lock().order.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_root_comes_first_and_dead_roots_are_removed() {
        let pid = |n: u64| Pid::from_raw((n + 1) << 32).expect("a pid");
        let roots = Roots::default();
        for n in 0..10_000 {
            // Every hundredth process is alive.
            assert!(roots.add(Root { pid: pid(n), patience: None }, |pid| (pid.to_raw() >> 32) % 100 == 1));
        }
        assert!(roots.lock().order.len() < 400, "{} roots", roots.lock().order.len());
        let order: Vec<_> = std::iter::from_fn(|| roots.pop()).map(|root| root.pid).collect();
        assert!(order.is_sorted_by(|a, b| a > b) && order[0] == pid(9_999));
        roots.close();
        assert!(!roots.add(Root { pid: pid(1), patience: None }, |_| true));
    }
}
