//! The harness of the loom models. The models are in `tests/`, one file per structure.
//! `cargo xtask loom` runs them.
//!
//! [`model`] searches every interleaving (and every value that the memory orderings allow) up to a
//! given number of preemptions. It prints one line, and fails when the search was cut short.
//! [`mutant`] runs a model of a protocol with one fault in it, and passes only if the search finds
//! the fault: a model that cannot fail is not a test. `trace` prints the failing execution of
//! either. [`platform`] puts a whole kernel inside a model. Without `--cfg loom` the crate is
//! empty.
#![cfg(loom)]

pub mod host;
pub mod platform;
pub mod seen;
mod trace;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use loom::model::Builder;

use trace::Asked;

#[cfg(not(debug_assertions))]
compile_error!("the models rely on debug assertions: cargo xtask loom");

/// Longest time that a search may take before it counts as cut, unless `LOOM_MAX_DURATION` gives
/// another (in seconds). The largest takes half of it where two other programs share the cores.
const LONGEST: Duration = Duration::from_secs(600);

/// Executions between two checks of the time.
const CHECKPOINTS: usize = 500;

fn builder(bound: Option<usize>) -> Builder {
    let mut builder = Builder::new();
    // The environment takes precedence, so that a deeper search can be started by hand.
    builder.preemption_bound = builder.preemption_bound.or(bound);
    builder.max_branches = 20_000;
    builder.checkpoint_interval = CHECKPOINTS;
    // At a limit of permutations loom stops silently, as if the search were complete. Only the time
    // may cut a search, because a cut by time is reported.
    builder.max_permutations = None;
    builder.max_duration = builder.max_duration.or(Some(LONGEST));
    builder
}

/// The text that loom reports when one execution has more steps than [`builder`] allows, for
/// example a loop that waits without yielding.
const TOO_LONG: &str = "exceeded maximum number of branches";

/// Returns the text of a panic.
fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// Hides the panics by which loom ends its coroutines and, with `all` (for a mutant), all other
/// panics.
fn quiet_hook(all: bool) {
    std::panic::set_hook(Box::new(move |panic| {
        let of_a_coroutine = panic.location().is_some_and(|at| at.file().contains("generator"));
        if !all && !of_a_coroutine {
            eprintln!("{panic}");
        }
    }));
}

fn shown(bound: Option<usize>) -> String {
    bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string())
}

/// Searches until the model fails or the search ends. Returns the number of iterations, and the
/// panic of a failure.
fn searched(builder: Builder, f: Arc<dyn Fn() + Send + Sync>) -> (u64, Option<Box<dyn Any + Send>>) {
    let iterations = Arc::new(AtomicU64::new(0));
    let count = iterations.clone();
    let search = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            f();
        });
    }));
    (iterations.load(Ordering::Relaxed), search.err())
}

/// Searches a model completely, up to `bound` preemptions (`None`: without a bound).
///
/// # Panics
/// Panics when the model fails, or when the search was cut.
pub fn model(name: &str, bound: Option<usize>, f: impl Fn() + Sync + Send + 'static) {
    if !Asked::read().has_models() {
        return;
    }
    let (builder, f) = (builder(bound), Arc::new(f));
    let longest = builder.max_duration.unwrap_or(LONGEST);
    let shown = shown(builder.preemption_bound);
    let start = Instant::now();
    quiet_hook(false);
    let (iterations, failed) = searched(builder, f.clone());
    let took = start.elapsed();
    if let Some(panic) = failed {
        trace::replay_and_fail(name, bound, f, panic);
    }
    let cut = took >= longest;
    let end = if cut { "CUT" } else { "complete" };
    println!("model: {name:<44} bound {shown:<4} {iterations:>8} iterations {:>6.1} s  {end} ", took.as_secs_f64());
    assert!(!cut, "{name}: the search was cut after {took:?}: make the model smaller");
}

/// Searches a model of a faulty protocol until it fails.
///
/// # Panics
/// Panics when the search does not fail, or when all that loom found is that an execution takes too
/// many steps, which proves nothing about the protocol.
pub fn mutant(name: &str, bound: Option<usize>, f: impl Fn() + Sync + Send + 'static) {
    let asked = Asked::read();
    let is_asked = match &asked {
        Asked::Nothing => true,
        Asked::Models => false,
        Asked::Mutants(part) => name.contains(part),
    };
    if !is_asked {
        return;
    }
    let (builder, f) = (builder(bound), Arc::new(f));
    let shown = shown(builder.preemption_bound);
    quiet_hook(true);
    let start = Instant::now();
    let (iterations, failed) = searched(builder, f.clone());
    let took = start.elapsed();
    quiet_hook(false);
    let Some(panic) = failed else { panic!("{name}: {iterations} iterations did not catch the mutant") };
    if asked != Asked::Nothing {
        trace::replay(name, bound, f);
    }
    assert!(!text(&*panic).contains(TOO_LONG), "{name}: too many steps: the mutant is neither caught nor proved right");
    println!("model: {name:<44} bound {shown:<4} {iterations:>8} iterations {:>6.1} s  caught ", took.as_secs_f64());
}
