//! Detection of a forked child: [`Born`].
//!
//! A child process made by `fork` has a copy of the runtime's memory, and none of its threads. No
//! thread would carry out its requests, and a lock that another thread held at the fork is held for
//! ever. So using a runtime there panics with an explanation, and dropping one does nothing. (A
//! child that calls exec is not affected. A child that goes on builds a runtime of its own.)
//!
//! The operating system calls a function in the child that increments a counter, so a check costs
//! one load. (A child made without the C library's `fork`, by a raw system call, is not detected.)

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of forks between the first program and this one.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// The number of forks at which a runtime was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Born(usize);

impl Born {
    /// Returns the current number of forks.
    pub(crate) fn now() -> Self {
        watch();
        // Relaxed: the counter changes only in a child that has one thread.
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Returns `true` if this program is a forked child of the one that built the runtime.
    #[inline]
    pub(crate) fn is_gone(self) -> bool {
        // Relaxed: the counter changes only in a child that has one thread.
        FORKS.load(Ordering::Relaxed) != self.0
    }

    /// Checks that this is the program that built the runtime.
    ///
    /// # Panics
    /// Panics in a forked child of it.
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
            "this Atropos runtime was built before a `fork`: the child process has none of its threads, so no request to it \
             would ever be carried out. Build a runtime in the child, or exec."
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
        // SAFETY: the function only adds to an atomic, which is allowed in a forked child of a
        // threaded program. If the registration fails for lack of memory, forks are not detected,
        // and nothing else breaks.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
    });
}

#[cfg(not(unix))]
fn watch() {}
