//! [`Account`]: what one peer has this node keep, counted against its quota.
//!
//! A peer chooses what it asks for, how fast, and when it withdraws it. Some of what it has made outlives the withdrawal: a
//! record that a thread or the backlog still holds, a watch that the runtime has not taken back yet. So the account does
//! not count what is in a map. It counts what exists:
//!
//! - **A1.** A record of the peer's ([`crate::record::Inbound`]) holds a [`Charge`] from before it is made until it is freed.
//! - **A2.** A process that is watched for peers has a record of one of them or an idle charge (`local`). The idle charge is
//!   made when the last record is taken away, on that record's account. It is paid until the runtime has taken the watch back
//!   ([`crate::ControlPlane::release`]) or has reported the process's end.
//! - **A3.** [`Account::claim`] takes a charge only below the limit, by one compare-exchange. So two threads cannot both take
//!   the last place. Only A2's idle charge is taken without a look at the limit: the record that it replaces is freed
//!   at once, so the account is above its limit by at most one for each thread that is withdrawing.
//! - **A4.** The account belongs to the node, not to the connection: a peer that connects anew finds its old charges. The
//!   plane drops an account that no session and no charge holds (`ControlPlane::connected`).
//!
//! What follows from a charge follows it in number. A watch has at most one order on its way to the runtime for its
//! beginning and one for its end (`local`), so what waits for a slow runtime is bounded too. Notices that wait to be
//! sent are the [`crate::Sender`]'s, which bounds them by ending the connection.

use alloc::sync::Arc;

use crate::rules::Rules;
use crate::sync::{AtomicUsize, Ordering};

/// The count of one node's charges; see the module.
#[derive(Debug)]
pub(crate) struct Account {
    limit: usize,
    charges: AtomicUsize,
}

/// One thing that is kept for a peer, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge(Arc<Account>);

impl Account {
    /// An account without charges.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, charges: AtomicUsize::new(0) }
    }

    /// Takes a charge, if the quota has room for it. Lock-free.
    pub(crate) fn claim<R: Rules>(self: &Arc<Self>) -> Option<Charge> {
        let up = |charges| (charges < self.limit).then_some(charges + 1);
        // Relaxed, here and below: the count orders nothing but itself, A3 needs the exchange only.
        if R::CLAIM_AT_ONCE {
            self.charges.fetch_update(Ordering::Relaxed, Ordering::Relaxed, up).ok()?;
        } else {
            self.charges.store(up(self.charges.load(Ordering::Relaxed))?, Ordering::Relaxed);
        }
        Some(Charge(self.clone()))
    }

    /// How many charges there are.
    pub(crate) fn charges(&self) -> usize {
        self.charges.load(Ordering::Relaxed)
    }
}

impl Charge {
    /// Another one on the same account, whatever its limit (A3).
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
    use crate::rules::Shipped;

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
