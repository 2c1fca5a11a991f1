//! [`Roots`]: the tops of what a runtime was given to run, in the order of their starts.
//!
//! A root is a supervisor or server that was started from outside ([`crate::Handle::start_supervisor`],
//! [`crate::Handle::start_server`], so an application's manager as well). A shutdown ends them before everything else, the last started
//! first, each by its own rules (`ending`). When the shutdown begins the list is closed: what would become a root from then on is refused.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atropos_kernel::Pid;

/// A top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root {
    pub(crate) pid: Pid,
    /// For how long the others wait when it is told to end; `None`: as long as there is time.
    pub(crate) patience: Option<Duration>,
}

#[derive(Default)]
struct State {
    order: Vec<Root>,
    /// So many roots are looked through for dead ones.
    many: usize,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Roots(Mutex<State>);

/// Fewer are never looked through.
const FEW: usize = 64;

impl Roots {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing foreign runs under the lock, so a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether none is taken any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Adds a root that has just been started; false when the list has been closed. Now and then it forgets those that are dead, so it
    /// has at most about twice as many as live. Amortised O(1).
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

    /// From now on none is taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Takes the last one.
    pub(crate) fn pop(&self) -> Option<Root> {
        self.lock().order.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_comes_first_and_the_dead_are_forgotten() {
        let pid = |n: u64| Pid::from_raw((n + 1) << 32).expect("a pid");
        let roots = Roots::default();
        for n in 0..10_000 {
            // Every hundredth lives.
            assert!(roots.add(Root { pid: pid(n), patience: None }, |pid| (pid.to_raw() >> 32) % 100 == 1));
        }
        assert!(roots.lock().order.len() < 400, "{} roots", roots.lock().order.len());
        let order: Vec<_> = std::iter::from_fn(|| roots.pop()).map(|root| root.pid).collect();
        assert!(order.is_sorted_by(|a, b| a > b) && order[0] == pid(9_999));
        roots.close();
        assert!(!roots.add(Root { pid: pid(1), patience: None }, |_| true));
    }
}
