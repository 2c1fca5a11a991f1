//! Whether this is still the program that built a runtime: [`Born`].
//!
//! A child process that was made by `fork` has a copy of the runtime's memory and none of its threads: whatever it asks, nobody
//! will do, and a lock that another thread held at that moment is held for ever. So the use of a runtime there panics and says so,
//! and dropping one does nothing. (A child that execs has nothing to do with it; one that goes on builds a runtime of its own.)
//!
//! The operating system calls back in the child, where a count goes up: a look at it costs one load. (A child that was made past
//! the C library's `fork`, by a system call of the program's own, is not found out.)

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many forks lie between the first program and this one.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// When, counted in forks, a runtime was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Born(usize);

impl Born {
    /// Now.
    pub(crate) fn now() -> Self {
        watch();
        // Relaxed: it changes only in a child that has one thread.
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this program is a child of the one that built the runtime.
    #[inline]
    pub(crate) fn is_gone(self) -> bool {
        // Relaxed: as above.
        FORKS.load(Ordering::Relaxed) != self.0
    }

    /// Goes on in the program that built the runtime.
    ///
    /// # Panics
    /// In a child of it.
    #[inline]
    #[track_caller]
    pub(crate) fn check(self) {
        if self.is_gone() {
            Self::is_another();
        }
    }

    #[cold]
    #[track_caller]
    fn is_another() -> ! {
        panic!(
            "this Atropos runtime was built before a `fork`: the child process has none of its threads, so nothing that is asked \
             of it would ever be done. Build a runtime in the child, or exec."
        )
    }
}

#[cfg(unix)]
fn watch() {
    use std::sync::Once;

    static WATCHED: Once = Once::new();

    unsafe extern "C" fn in_the_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    WATCHED.call_once(|| {
        // SAFETY: the function only adds to an atomic, which is allowed in a child of a program with threads. Without memory for
        // the registration forks are not found out, and nothing else is wrong.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
    });
}

#[cfg(not(unix))]
fn watch() {}
