//! Supervisor reports as `tracing` events.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::prelude::*;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// A subscriber that keeps each event as a line.
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").expect("a string takes all");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "atropos::otp"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().expect("not poisoned").push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_supervisors_life_as_events() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(Lines(lines.clone())).expect("the only one");
    let runtime = Runtime::builder().cores(1).build().expect("a thread");
    let child = ChildSpec::worker("short", |starter: &mut ChildStarter<'_>| {
        starter.spawn(|cx: Context<()>| async move {
            cx.sleep(Duration::from_millis(1)).await;
            Reason::value("done for")
        })
    });
    let supervisor = Supervisor::one_for_one().on_report(atropos::tracing_hook()).child(child);
    let supervisor = runtime.start_supervisor(supervisor).expect("up");
    let patience = Instant::now() + Duration::from_secs(60);
    while runtime.is_alive(supervisor) {
        assert!(Instant::now() < patience, "it gives up at the second death");
        std::thread::sleep(Duration::from_millis(1));
    }
    let lines = lines.lock().expect("not poisoned").clone();
    let starts: Vec<&str> = lines.iter().map(|line| line.split(" supervisor").next().expect("a level")).collect();
    assert_eq!(
        starts,
        [
            "INFO message=progress",
            "WARN message=child_terminated",
            "INFO message=progress",
            "WARN message=child_terminated",
            "ERROR message=reached_max_restart_intensity",
        ]
    );
    assert!(lines[1].contains("id: Some(\"short\")") && lines[1].contains("done for"), "{}", lines[1]);
}
