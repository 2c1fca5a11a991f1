//! [`Account`]: the resources that this node keeps for one peer, counted against a quota.
//!
//! A peer chooses what it requests, how fast, and when it withdraws a request. Some of what it
//! created outlives the withdrawal: a record that a thread or the backlog still holds, or a watch
//! that the runtime has not dropped yet. So the account does not count what is in a map. It counts
//! what exists:
//!
//! - **A1.** A record that a peer requested ([`crate::record::Inbound`]) holds a [`Charge`] from
//!   before its creation until it is freed.
//! - **A2.** A process that is watched for peers has a peer's record or an idle charge (`local`).
//!   The removal of the last record creates the idle charge, on that record's account. The idle
//!   charge is held until the runtime has dropped the watch ([`crate::ControlPlane::release`]) or
//!   has reported the process's end.
//! - **A3.** [`Account::claim`] takes a charge only below the limit, by one compare-exchange. So
//!   two threads cannot both take the last one. Only A2's idle charge ignores the limit: the record
//!   that it replaces is freed at once, so the account exceeds its limit by at most one charge for
//!   each thread that is withdrawing a monitor.
//! - **A4.** The account belongs to the node, not to the connection: a peer that reconnects finds
//!   its old charges. The plane drops an account that no session and no charge holds
//!   (`ControlPlane::connected`).
//!
//! Charges also bound the work that follows from them. A watch has at most two orders on their way
//! to the runtime, one for its start and one for its end (`local`). So the orders that wait for a
//! slow runtime are bounded too. Exit notices that wait for transmission belong to the
//! [`crate::Sender`], which bounds them by ending the connection.

use alloc::sync::Arc;

use crate::model::PlaneRules;
use crate::sync::{AtomicUsize, Ordering};

/// The number of charges on one peer node, and their limit.
#[derive(Debug)]
pub(crate) struct Account {
    limit: usize,
    charges: AtomicUsize,
}

/// One resource kept for a peer, counted until this value is dropped.
#[derive(Debug)]
pub(crate) struct Charge(Arc<Account>);

impl Account {
    /// Creates an account without charges.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, charges: AtomicUsize::new(0) }
    }

    /// Takes a charge, or returns `None` if the quota is used up. Lock-free.
    pub(crate) fn claim<R: PlaneRules>(self: &Arc<Self>) -> Option<Charge> {
        let up = |charges| (charges < self.limit).then_some(charges + 1);
        // Relaxed, here and below: the count orders no other data, and A3 needs only the exchange.
        if R::CLAIM_AT_ONCE {
            self.charges.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up).ok()?;
        } else {
            self.charges.store(up(self.charges.load(Ordering::Relaxed))?, Ordering::Relaxed);
        }
        Some(Charge(self.clone()))
    }

    /// Returns the number of charges.
    pub(crate) fn charges(&self) -> usize {
        self.charges.load(Ordering::Relaxed)
    }
}

impl Charge {
    /// Takes another charge on the same account without a check of the limit (A3).
    pub(crate) fn another(&self) -> Self {
        self.0.charges.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.charges.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::model::Shipped;

    #[test]
    fn a_charge_is_counted_until_it_is_dropped() {
        let account = Arc::new(Account::new(2));
        let (first, second) = (account.claim::<Shipped>(), account.claim::<Shipped>());
        assert!(account.claim::<Shipped>().is_none());
        let idle = second.as_ref().expect("below the limit").another();
        assert_eq!(account.charges(), 3);
        drop((first, second));
        assert_eq!(account.charges(), 1);
        drop(idle);
        assert_eq!(account.charges(), 0);
        assert!(Arc::new(Account::new(0)).claim::<Shipped>().is_none());
    }
}
