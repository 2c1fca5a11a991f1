//! A driver for beamr 0.21 with its native processes: Rust handlers that are scheduled like
//! processes of its interpreter. Messages are small integers, which take no space on its heaps,
//! since a native slice collects no garbage. Links and kills come from the host; a call blocks a
//! thread.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Result, ensure};
use atropos_bench::workloads::{Ask, Outcome};
use atropos_peers::common::{drained, settle};
use atropos_peers::{Flow, Message, Role, Special, System, drive, ready};
use beamr::atom::AtomTable;
use beamr::ets::OwnedTerm;
use beamr::module::ModuleRegistry;
use beamr::native::BifRegistryImpl;
use beamr::native::native_process::{NativeContext, NativeHandler, NativeHandlerFactory, NativeOutcome};
use beamr::process::ExitReason;
use beamr::scheduler::{Scheduler, SchedulerConfig};
use beamr::term::Term;

/// The context of the running slice, for steps within the slice; null outside.
type Running = std::cell::Cell<*mut NativeContext<'static>>;

thread_local! {
    static RUNNING: Running = const { std::cell::Cell::new(std::ptr::null_mut()) };
}

/// Calls `f` with the context of the running slice, if there is one.
fn running<R>(f: impl FnOnce(Option<&mut NativeContext<'static>>) -> R) -> R {
    // The context is taken out during the call and put back, so that a nested call cannot use it.
    let context = RUNNING.replace(std::ptr::null_mut());
    // SAFETY: the pointer is null, or `slice` has set it on this thread; its context lives until
    // `slice` clears it.
    let result = f(unsafe { context.as_mut() });
    RUNNING.set(context);
    result
}

/// Calls `f`, and makes the context available to the steps in it.
fn slice<R>(context: &mut NativeContext<'_>, f: impl FnOnce() -> R) -> R {
    RUNNING.set(std::ptr::from_mut(context).cast());
    let result = f();
    RUNNING.set(std::ptr::null_mut());
    result
}

#[derive(Clone)]
struct Beamr(Arc<Scheduler>);

/// Encodes a message: three bits are its kind, the others its word.
fn encode(message: &Message<u64>) -> Term {
    let (kind, word) = match *message {
        Message::Go => (0, 0),
        Message::Number(number) => (1, number),
        Message::Ping(from) => (2, from),
        Message::Pong => (3, 0),
        Message::Next(next) => (4, next),
    };
    Term::try_small_int((word << 3 | kind) as i64).expect("a word is small")
}

fn decode(term: Term) -> Message<u64> {
    let bits = term.as_small_int().expect("a small integer") as u64;
    match bits & 7 {
        0 => Message::Go,
        1 => Message::Number(bits >> 3),
        2 => Message::Ping(bits >> 3),
        3 => Message::Pong,
        _ => Message::Next(bits >> 3),
    }
}

/// A process that plays a role.
struct Player(Beamr, Role<Beamr>);

impl NativeHandler for Player {
    fn handle(&mut self, context: &mut NativeContext<'_>) -> NativeOutcome {
        let own = context.self_pid();
        while let Some(message) = context.recv() {
            let Self(system, role) = self;
            if slice(context, || ready(role.step(system, &own, decode(message)))) == Flow::Stop {
                return NativeOutcome::Stop(ExitReason::Normal);
            }
        }
        NativeOutcome::Wait
    }
}

/// A process that runs a closure once, and ends.
struct Once<F>(Option<F>);

impl<F: FnOnce() + Send + 'static> NativeHandler for Once<F> {
    fn handle(&mut self, context: &mut NativeContext<'_>) -> NativeOutcome {
        if let Some(job) = self.0.take() {
            slice(context, job);
        }
        NativeOutcome::Stop(ExitReason::Normal)
    }
}

struct Waits;

impl NativeHandler for Waits {
    fn handle(&mut self, _: &mut NativeContext<'_>) -> NativeOutcome {
        NativeOutcome::Wait
    }
}

/// Returns a factory for one handler: nothing here is restarted.
fn factory<H: NativeHandler>(handler: H) -> NativeHandlerFactory {
    let handler = Mutex::new(Some(handler));
    Box::new(move || {
        let handler = handler.lock().ok().and_then(|mut handler| handler.take());
        handler.map_or_else(|| Box::new(Waits) as Box<dyn NativeHandler>, |handler| Box::new(handler))
    })
}

impl Beamr {
    fn spawn(&self, factory: NativeHandlerFactory) -> u64 {
        running(|context| match context {
            Some(context) => context.spawn_native(factory, None).expect("it starts"),
            None => self.0.spawn_native(factory).expect("it starts"),
        })
    }
}

impl System for Beamr {
    type Address = u64;

    async fn start(&self, role: Role<Self>) -> u64 {
        self.spawn(factory(Player(self.clone(), role)))
    }

    async fn once(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.spawn(factory(Once(Some(job))));
    }

    fn send(&self, to: &u64, message: Message<u64>) {
        let term = encode(&message);
        running(|context| match context {
            Some(context) => context.send(*to, term),
            None => self.0.send_to_mailbox(*to, OwnedTerm::immediate(term)).expect("the receiver lives"),
        });
    }

    fn alive(&self) -> u64 {
        self.0.process_count() as u64
    }
}

impl Special for Beamr {
    const PEER: &'static str = "beamr";
    const VERSION: &'static str = "beamr 0.21.1";

    async fn special(&self, workload: &str, ask: &Ask) -> Option<Result<Outcome>> {
        let is_star = match workload {
            "cascade_star" => true,
            "cascade_chain" => false,
            _ => return None,
        };
        Some(self.cascade(ask, is_star).await)
    }
}

impl Beamr {
    async fn cascade(&self, ask: &Ask, is_star: bool) -> Result<Outcome> {
        let base = self.alive();
        let hub = self.spawn(factory(Waits));
        let mut above = hub;
        let others = if is_star { ask.n } else { ask.n - 1 };
        for _ in 0..others {
            let next = self.0.spawn_native_link(above, factory(Waits)).expect("it starts");
            if !is_star {
                above = next;
            }
        }
        settle().await;
        ensure!(self.alive() - base == others + 1, "{} live", self.alive() - base);
        let begun = Instant::now();
        self.0.terminate_process(hub, ExitReason::Error);
        let end = drained(self, base).await?;
        Ok(Outcome::timed(ask.n, end - begun))
    }
}

fn main() -> ExitCode {
    drive(
        |threads| {
            let config = SchedulerConfig {
                thread_count: Some(threads),
                dirty_cpu_threads: Some(0),
                dirty_io_threads: Some(0),
                ..Default::default()
            };
            let atoms = Arc::new(AtomTable::with_common_atoms());
            let natives = Arc::new(BifRegistryImpl::new());
            let scheduler = Scheduler::with_code_server(config, Arc::new(ModuleRegistry::new()), atoms, natives);
            Beamr(Arc::new(scheduler.unwrap_or_else(|error| panic!("no scheduler: {error}"))))
        },
        // This runtime runs the driver's own task only; the scheduler has threads of its own.
        |_, future| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future),
    )
}
