//! A thread's membership in the kernel's epoch reclamation, made once per thread.
//!
//! All runtimes of a program share one domain, so a thread needs one membership, however many
//! runtimes it uses.

use std::sync::LazyLock;

use atropos_kernel::reclaim::{Domain, Participant};

static DOMAIN: LazyLock<Domain> = LazyLock::new(Domain::new);

thread_local! {
    static PARTICIPANT: Participant = DOMAIN.register();
}

pub(crate) fn domain() -> Domain {
    DOMAIN.clone()
}

/// Calls `f` with this thread's membership. A thread that is ending makes one for the call.
pub(crate) fn with<R>(f: impl FnOnce(&Participant) -> R) -> R {
    let mut f = Some(f);
    let done = PARTICIPANT.try_with(|participant| f.take().map(|f| f(participant)));
    match (done, f) {
        (Ok(Some(result)), _) => result,
        (_, Some(f)) => f(&DOMAIN.register()),
        _ => unreachable!("one of the two ran `f`"),
    }
}
