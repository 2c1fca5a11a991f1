//! [`Builder`]: the settings of a runtime.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use atropos_kernel::{Dump, Kernel, Limits, MAX_CORES, Options, Reason};

use crate::blocking::Pool;
use crate::callbacks::{CallbackPanic, Callbacks, Report as CallbackReport};
use crate::dump::{SignalDump, StallHook};
use crate::fork::Born;
use crate::handle::{Handle, Inner};
use crate::lease::{self, Lease};
use crate::panics::DROPS;
use crate::platform::{PanicHook, ThreadPlatform};
use crate::roots::Roots;
use crate::runtime::Runtime;
use crate::shutdown::{Ending, Observers};
use crate::watchdog::{LongSlice, Report, Watchdog};
use crate::{epoch_participant, worker};

/// The default stack size of a worker, in bytes: see [`Builder::stack_size`].
const STACK: usize = 16 << 20;

/// A builder of a [`Runtime`]. Defaults: one core per CPU, not pinned, 50 µs of spinning before a
/// worker parks.
pub struct Builder {
    options: Options,
    pin: bool,
    spin: Duration,
    stack_size: usize,
    blocking_threads: usize,
    // Each hook is wrapped: the runtime drops them one after the other at its end.
    on_unhandled_panic: PanicHook,
    callback_panic: CallbackReport,
    callback_stack_size: Option<usize>,
    long_slice: Option<(Duration, Report)>,
    stalled_shutdown: Option<StallHook>,
    dump_signal: Option<i32>,
    #[cfg(feature = "tokio")]
    tokio: Option<tokio::runtime::Handle>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Error of a runtime that could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of cores is zero, or above the kernel's limit.
    Cores(usize),
    /// The operating system refused a thread.
    Thread(std::io::Error),
    /// The operating system refused the handler of [`Builder::dump_on_signal`], or its thread.
    Signal(std::io::Error),
    /// More than 2,900 runtimes are alive, so that no pids are left for another one.
    TooManyRuntimes,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores(cores) => write!(f, "{cores} cores: ask for 1 to {MAX_CORES}"),
            Self::Thread(error) => write!(f, "no thread for a core: {error}"),
            Self::Signal(error) => write!(f, "no dump by a signal: {error}"),
            Self::TooManyRuntimes => f.write_str("no pids left: thousands of runtimes, or handles to them, are alive"),
        }
    }
}

impl std::error::Error for BuildError {}

impl Runtime {
    /// Returns a builder with the default settings.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Builder {
    fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_CORES));
        Self {
            options: Options { cores, ..Options::default() },
            pin: false,
            spin: Duration::from_micros(50),
            stack_size: STACK,
            blocking_threads: 64,
            on_unhandled_panic: DROPS
                .catch_drop(Box::new(|reason| eprintln!("atropos: a destructor panicked: {reason}"))),
            callback_panic: DROPS.catch_drop(Box::new(|panic| match panic.pid {
                Some(pid) => eprintln!("atropos: the callback for the exit of {pid} panicked: {}", panic.text),
                None => eprintln!("atropos: a callback panicked: {}", panic.text),
            })),
            callback_stack_size: None,
            long_slice: None,
            stalled_shutdown: None,
            dump_signal: None,
            #[cfg(feature = "tokio")]
            tokio: None,
        }
    }

    /// Sets the number of cores, each with one thread.
    pub fn cores(mut self, cores: usize) -> Self {
        self.options.cores = cores;
        self
    }

    /// Pins each worker to a CPU of its own, as far as there are enough.
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Sets how long an idle worker spins before it parks.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Sets the stack size of a worker, in bytes. All bodies of a core run on its worker's stack,
    /// one after the other, so it needs the depth of the deepest of them. Untouched pages cost
    /// address space, and no memory. The default is 16 MiB: a body moves large values (a message, a
    /// newly made future) over the stack, several times in an unoptimized build.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Sets the limits on processes, names and timers.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Sets whether a monitor of a dead process delivers its exit reason, while its slot remembers
    /// it.
    pub fn tombstones(mut self, tombstones: bool) -> Self {
        self.options.tombstones = tombstones;
        self
    }

    /// Sets the largest number of threads for blocking work.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// Sets the hook for a destructor's panic that cannot be reported to any process or caller.
    pub fn on_unhandled_panic(mut self, report: impl Fn(&Reason) + Send + Sync + 'static) -> Self {
        self.on_unhandled_panic = DROPS.catch_drop(Box::new(report));
        self
    }

    /// Sets the hook for the panic of a callback ([`crate::Handle::on_exit`]). The other callbacks
    /// run regardless.
    pub fn on_callback_panic(mut self, report: impl Fn(&CallbackPanic) + Send + Sync + 'static) -> Self {
        self.callback_panic = DROPS.catch_drop(Box::new(report));
        self
    }

    /// Sets the stack size of the callback thread, in bytes; the default is that of any thread of
    /// the program.
    pub fn callback_stack_size(mut self, bytes: usize) -> Self {
        self.callback_stack_size = Some(bytes);
        self
    }

    /// Sets the hook for a body that has occupied its core for longer than `threshold`.
    pub fn on_long_slice(mut self, threshold: Duration, report: impl Fn(LongSlice) + Send + Sync + 'static) -> Self {
        self.long_slice = Some((threshold, DROPS.catch_drop(Box::new(report))));
        self
    }

    /// Sets the hook for a shutdown whose deadline has passed while processes were left. The hook
    /// gets a dump that was made at that moment, before the shutdown kills them. It also gets one
    /// if all processes have ended, and a worker is stuck in a destructor. The shutdown calls the
    /// hook at most once, on its own thread, and waits for it. If there is no memory for the dump,
    /// the shutdown does not call it.
    ///
    /// There is no hook by default: [`crate::Runtime::shutdown`] reports in its error what it had
    /// to abandon, and a short timeout is a usual way to kill what does not end by itself.
    ///
    /// ```
    /// # use atropos::prelude::*;
    /// # use std::time::Duration;
    /// let builder = Runtime::builder().cores(1);
    /// let runtime = builder.on_stalled_shutdown(|dump| eprintln!("it has stalled: {dump}")).build()?;
    /// runtime.spawn(async |cx: Context<()>| {
    ///     cx.trap_exit(true);
    ///     loop {
    ///         cx.recv().await; // It ignores the request to shut down, and dies of the kill.
    ///     }
    /// })?;
    /// runtime.shutdown(Duration::from_millis(20))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_stalled_shutdown(mut self, report: impl Fn(&Dump) + Send + Sync + 'static) -> Self {
        self.stalled_shutdown = Some(DROPS.catch_drop(Box::new(report)));
        self
    }

    /// Lets a signal of the operating system, `libc::SIGUSR1` for example, write a dump of the
    /// runtime to standard error ([`Handle::dump`]), until the runtime's shutdown has ended. The
    /// handler only notifies a thread, which the runtime has for this purpose. Each runtime of the
    /// program that has this setting writes its own dump. A later call replaces the signal.
    ///
    /// The handler stays installed after the last runtime is gone: the signal then has no effect,
    /// rather than the system's default effect. A forked child that does not exec shares the
    /// handler: a signal to the child makes its parent write the dump.
    ///
    /// # Errors
    /// [`Builder::build`] returns [`BuildError::Signal`] for a signal that cannot be handled.
    #[cfg(all(unix, feature = "signal"))]
    pub fn dump_on_signal(mut self, signal: i32) -> Self {
        self.dump_signal = Some(signal);
        self
    }

    /// Lets the workers enter this Tokio runtime, so that bodies may use its I/O and timers.
    #[cfg(feature = "tokio")]
    pub fn tokio(mut self, handle: tokio::runtime::Handle) -> Self {
        self.tokio = Some(handle);
        self
    }

    /// Starts the workers, and returns the runtime.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let cores = self.options.cores;
        if !(1..=MAX_CORES).contains(&cores) {
            return Err(BuildError::Cores(cores));
        }
        let callbacks = Callbacks::new(self.callback_stack_size, self.callback_panic);
        let lease = Lease::take().ok_or(BuildError::TooManyRuntimes)?;
        let options =
            Options { generations: lease.generations(), references: Some(lease::references()), ..self.options };
        let world = Arc::new(ThreadPlatform::new(cores, self.on_unhandled_panic, callbacks, lease));
        let kernel = Kernel::new(options, epoch_participant::domain(), world.clone());
        let watchdog = match self.long_slice {
            Some((threshold, report)) => {
                Some(Watchdog::start(kernel.clone(), threshold, report).map_err(BuildError::Thread)?)
            }
            None => None,
        };
        let shared = Arc::new(worker::Shared {
            stop: AtomicBool::new(false),
            wakeups: AtomicU64::new(0),
            spin: self.spin,
            bell: watchdog.as_ref().and_then(Watchdog::bell),
        });
        let inner = Inner {
            kernel,
            world,
            shared,
            pool: Pool::new(self.blocking_threads, Duration::from_secs(10)),
            roots: Roots::default(),
            alarms: Arc::default(),
            born: Born::now(),
        };
        let handle = Handle::new(inner);
        let signal = self.dump_signal.map(|signal| SignalDump::start(signal, handle.downgrade()));
        let signal = signal.transpose().map_err(BuildError::Signal)?;
        let observers = Observers { watchdog, signal, stalled: self.stalled_shutdown };
        let mut ending = Ending::new(handle.clone(), observers);
        let cpus = if self.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
        for id in 0..cores {
            let inner = handle.inner().clone();
            let cpu = cpus.get(id).copied();
            #[cfg(feature = "tokio")]
            let tokio = self.tokio.clone();
            let named = thread::Builder::new().name(format!("atropos-{id}")).stack_size(self.stack_size);
            let started = named.spawn(move || {
                if let Some(cpu) = cpu {
                    core_affinity::set_for_current(cpu);
                }
                #[cfg(feature = "tokio")]
                let _entered = tokio.as_ref().map(tokio::runtime::Handle::enter);
                worker::run(inner.kernel.clone(), &inner.world, id, &inner.shared);
            });
            match started {
                Ok(thread) => ending.add_thread(thread),
                Err(error) => {
                    // The runtime's destructor stops the workers that were started.
                    drop(Runtime::new(handle, ending));
                    return Err(BuildError::Thread(error));
                }
            }
        }
        Ok(Runtime::new(handle, ending))
    }
}
