//! The state of a runtime that hangs: [`Handle::dump`], and the dumps that are made without a call.
//!
//! A dump reads the words of the cores and processes (`atropos_kernel::Kernel::dump`). No core and
//! no process takes part in it, so a dump is complete even if nothing moves. Two events of the
//! runtime also make a dump, if the program asks for it:
//! - a signal of the operating system ([`crate::Builder::dump_on_signal`], feature `signal`): the
//!   thread `atropos-dump` writes the dump to standard error (`signal`);
//! - a shutdown whose deadline has passed ([`crate::Builder::on_stalled_shutdown`]): the shutdown
//!   passes the dump to a hook before it kills what is left (`shutdown`).
//!
//! Both are off by default. A runtime changes the program's signal handlers, and writes to standard
//! error, only if the program says so, and [`crate::ShutdownError`] reports a shutdown that had to
//! abandon something in any case.

#[cfg(all(unix, feature = "signal"))]
mod signal;

use atropos_kernel::{CatchDrop, Dump, NoMemory};

use crate::handle::Handle;
use crate::panics::catch_panic;

#[cfg(not(all(unix, feature = "signal")))]
pub(crate) use self::none::SignalDump;
#[cfg(all(unix, feature = "signal"))]
pub(crate) use self::signal::SignalDump;

/// The hook that receives the dump of a stalled shutdown.
pub(crate) type StallHook = CatchDrop<Box<dyn Fn(&Dump) + Send + Sync>>;

impl Handle {
    /// Returns a snapshot of the cores and processes, for a program that hangs. It is read without
    /// stopping or querying any of them, so it also shows a body that never yields. Its `Display`
    /// writes a line for each core and each process. Any thread may call it.
    ///
    /// ```
    /// use atropos::prelude::*;
    /// let runtime = Runtime::builder().cores(1).build()?;
    /// let name = SpawnOptions::new().name("waits");
    /// let waits = runtime.spawn_with(&name, async |cx: Context<()>| drop(cx.recv().await))?;
    /// while !runtime.is_quiescent() {
    ///     std::thread::yield_now();
    /// }
    /// let dump = runtime.dump()?;
    /// assert_eq!(dump.processes[0].pid, waits.pid());
    /// assert!(dump.to_string().contains("\"waits\" waits for a signal"), "{dump}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`NoMemory`] when there is no memory for the lists.
    ///
    /// # Panics
    /// Panics in a forked child of the program that built the runtime.
    #[track_caller]
    pub fn dump(&self) -> Result<Dump, NoMemory> {
        self.host(|host| host.dump())
    }

    /// Calls the hook with a dump, if there is a hook, and memory for the dump.
    pub(crate) fn report_stall(&self, hook: Option<&StallHook>) {
        if let Some(hook) = hook
            && let Ok(dump) = self.dump()
        {
            // User code: its panic must not end the shutdown, and has been printed.
            let _ = catch_panic(|| hook(&dump));
        }
    }
}

#[cfg(not(all(unix, feature = "signal")))]
mod none {
    use std::io;

    use crate::handle::Remote;

    /// The dump by a signal, which this build does not have.
    pub(crate) enum SignalDump {}

    impl SignalDump {
        pub(crate) fn start(_: i32, _: Remote) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
