//! The trace of a failing execution: `cargo xtask loom NAME --trace`.
//!
//! Loom runs thousands of executions, of which one fails. A trace of all of them would be slow and
//! unreadable. So a failing search is repeated from its last checkpoint, now with a checkpoint
//! before every execution. The last one leads to the failing execution, which then runs alone, with
//! loom's source locations and with a subscriber that prints its events.
//!
//! An access to one of the kernel's atomics is printed with its value and its line
//! (`atropos_kernel::sync`), the first also with the line that created the atomic. Other lines are
//! loom's. Cells have no events: loom names the two accesses of a violation.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::fs;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use loom::model::Builder;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::{CHECKPOINTS, quiet_hook, searched};

/// The mark of a line of the trace, for `cargo xtask loom`.
const MARK: &str = "trace| ";

/// What the environment asks to trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// No trace: all models and mutants run.
    Nothing,
    /// Only models run, and one that fails is traced.
    Models,
    /// Only mutants run whose names contain the text, and each is traced.
    Mutants(String),
}

impl Asked {
    /// Reads `ATROPOS_LOOM_TRACE`: `models`, or `mutants:` and a part of a mutant's name.
    pub(crate) fn read() -> Self {
        match std::env::var("ATROPOS_LOOM_TRACE") {
            Err(_) => Self::Nothing,
            Ok(asked) => asked.strip_prefix("mutants:").map_or(Self::Models, |name| Self::Mutants(name.to_owned())),
        }
    }

    /// Returns `true` if models run, and not only mutants.
    pub(crate) fn has_models(&self) -> bool {
        !matches!(self, Self::Mutants(_))
    }
}

fn line(text: &str) {
    println!("{MARK}{text}");
}

/// Finds the failing execution of a model that has just failed, runs it again and prints it.
pub(crate) fn replay(name: &str, bound: Option<usize>, f: Arc<dyn Fn() + Send + Sync>) {
    let file = Checkpoint::new();
    quiet_hook(true);
    // The search as it was, which leaves a checkpoint of at most `CHECKPOINTS` executions ago.
    let (iterations, failed) = searched(file.builder(bound, CHECKPOINTS), f.clone());
    // The last checkpoint of this search is the failing execution itself.
    let found = failed.and_then(|_| searched(file.builder(bound, 1), f.clone()).1);
    if found.is_none() {
        quiet_hook(false);
        line(&format!("{name}: the search did not fail again: the model is not deterministic"));
        return;
    }
    line("");
    line(&format!("{name}: execution {iterations} of the search fails"));
    let mut builder = file.builder(bound, usize::MAX);
    builder.location = true;
    let has_failed = Arc::new(AtomicBool::new(false));
    let lines = Lines { of_kernel: Mutex::default(), has_failed: has_failed.clone() };
    std::panic::set_hook(Box::new(move |panic| {
        let is_from = |library| panic.location().is_some_and(|at| at.file().contains(library));
        // By these panics loom ends its coroutines (`quiet_hook`).
        if is_from("generator") || has_failed.swap(true, Ordering::Relaxed) {
            return;
        }
        // A violation names the accesses; its own line is in loom.
        let is_violation = is_from("/loom-");
        panic.to_string().lines().skip(usize::from(is_violation)).for_each(line);
    }));
    let subscriber = tracing_subscriber::registry().with(lines);
    let (_, failed) = tracing::subscriber::with_default(subscriber, || searched(builder, f));
    quiet_hook(false);
    if failed.is_none() {
        line("the execution did not fail again: the model is not deterministic");
    }
}

/// Traces a failed model if a trace is asked for, and fails.
pub(crate) fn replay_and_fail(
    name: &str,
    bound: Option<usize>,
    f: Arc<dyn Fn() + Send + Sync>,
    panic: Box<dyn Any + Send>,
) -> ! {
    if Asked::read() != Asked::Nothing {
        replay(name, bound, f);
    }
    resume_unwind(panic)
}

/// A checkpoint's file, removed in the end.
struct Checkpoint(PathBuf);

impl Checkpoint {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("atropos-loom-{}.json", std::process::id())))
    }

    /// Returns a search from the checkpoint, or from the start if there is none yet.
    fn builder(&self, bound: Option<usize>, interval: usize) -> Builder {
        let mut builder = crate::builder(bound);
        builder.checkpoint_file = Some(self.0.clone());
        builder.checkpoint_interval = interval;
        builder
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // It is missing if the search failed before it was written.
        let _ = fs::remove_file(&self.0);
    }
}

/// A subscriber that prints the events of one execution.
struct Lines {
    /// The kernel's atomics: the number of each, and where it was created if that is not printed
    /// yet. The next object after each of them is its mark.
    of_kernel: Mutex<HashMap<u64, Option<String>>>,
    /// `true` after the failure: what is dropped then is of no interest.
    has_failed: Arc<AtomicBool>,
}

/// The number of a model's thread, kept with its span.
struct Thread(String);

/// The fields of an event or a span.
#[derive(Default)]
struct Fields {
    message: String,
    /// The source line, if the event has one.
    at: String,
    /// The number of the object, if the event has one.
    number: Option<u64>,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            // The place in the library where a value is dropped says nothing.
            "at" | "location" | "drop.location" if value.starts_with("/rustc/") => {}
            // A library is named by its own folder.
            "at" | "location" | "drop.location" => {
                let in_library = value.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
                self.at = in_library.map(|(_, file)| file.to_owned()).unwrap_or(value);
            }
            "word" | "state" | "id" => self.number = value.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok(),
            other => {
                let _ = write!(self.others, " {other}={value}");
            }
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(span), Some(number)) = (context.span(id), fields.number) {
            span.extensions_mut().insert(Thread(number.to_string()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.has_failed.load(Ordering::Relaxed) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let target = event.metadata().target();
        let mut of_kernel = self.of_kernel.lock().unwrap_or_else(PoisonError::into_inner);
        let object = fields.number.map(|number| format!("#{number} ")).unwrap_or_default();
        let mut created = None;
        if target.starts_with("atropos_kernel") {
            let Some(word) = fields.number else { return };
            if fields.message.contains(" new(") {
                of_kernel.insert(word, Some(fields.at));
                return;
            }
            created = of_kernel.get_mut(&word).and_then(Option::take);
        } else if is_noise(target, &fields.message) {
            return;
        } else if let Some(number) = fields.number
            && (of_kernel.contains_key(&number) || number > 0 && of_kernel.contains_key(&(number - 1)))
        {
            return;
        }
        let thread = context.event_scope(event).and_then(|mut scope| {
            scope.find_map(|span| span.extensions().get::<Thread>().map(|thread| format!("thread {}", thread.0)))
        });
        let Fields { message, at, others, .. } = fields;
        let created = created.map(|at| format!("  (created: {at})")).unwrap_or_default();
        let what = format!("{object}{message}{others}");
        line(format!("{:<9} {what:<64} {at}{created}", thread.unwrap_or_default()).trim_end());
    }
}

/// Returns `true` for events about loom's own scheduling, and for new atomics, which the kernel
/// reports itself.
fn is_noise(target: &str, message: &str) -> bool {
    let of_objects = target == "loom::rt::object" || message.contains("Atomic::new");
    of_objects || message == "branch" || message == "synchronize" || message.trim().is_empty()
}
