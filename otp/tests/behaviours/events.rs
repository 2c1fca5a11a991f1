//! Tests of event managers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Reason};
use atropos_otp::event::{AddError, EventHandler, EventManager, HandlerNext, RemovedHandler};
use atropos_otp::{Server, Task};

use crate::common::{Bed, crash, lock};

struct Counting(&'static str, Arc<Mutex<Vec<String>>>, u32);

impl EventHandler<u32> for Counting {
    fn event(&mut self, event: &u32) -> HandlerNext {
        lock(&self.1).push(format!("{} {event}", self.0));
        self.2 += event;
        match event {
            99 if self.0 == "leaves" => HandlerNext::Leave,
            99 if self.0 == "panics" => crash("in a handler"),
            _ => HandlerNext::Stay,
        }
    }

    fn terminate(&mut self, why: &RemovedHandler) {
        lock(&self.1).push(format!("{} goes: {why:?}", self.0));
    }
}

#[test]
fn handlers_are_added_and_removed_and_their_panics_are_contained() {
    let mut bed = Bed::new(2, 1);
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let inner = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let handler = |name| Counting(name, inner.clone(), 0);
        let events = EventManager::<u32>::new().start().trap_exit(true).start(&cx).await.expect("up");
        events.add(&cx, "stays", handler("stays")).await.expect("new");
        events.add(&cx, "leaves", handler("leaves")).await.expect("new");
        let removed = events.add_supervised(&cx, "panics", handler("panics")).await.expect("new");
        assert_eq!(events.add(&cx, "stays", handler("twin")).await, Err(AddError::Taken));
        assert_eq!(events.which(&cx).await.expect("alive"), ["panics", "leaves", "stays"]);
        events.notify(&cx, 1).expect("alive");
        events.sync_notify(&cx, 99).await.expect("alive");
        assert_eq!(events.which(&cx).await.expect("alive"), ["stays"]);
        assert_eq!(removed.await, Ok(RemovedHandler::Crashed(Reason::crash("in a handler"))));
        let sum = events.with_handler(&cx, "stays", |counting: &mut Counting| counting.2).await;
        assert_eq!(sum, Ok(Some(100)));
        let wrong = events.with_handler(&cx, "stays", |_: &mut Other| ()).await;
        assert_eq!(wrong, Ok(None));
        assert_eq!(events.swap(&cx, "stays", "new", handler("new")).await, Ok(true));
        assert_eq!(events.swap(&cx, "stays", "newer", handler("newer")).await, Ok(false));
        // A supervised handler is removed when its supervising process dies.
        let shared = inner.clone();
        let task = Task::start(&cx, move |cx| async move {
            let added = events.add_supervised(&cx, "orphan", Counting("orphan", shared, 0)).await;
            added.map(drop).expect("new");
        });
        task.expect("space").join(&cx, None).await.expect("added");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(events.which(&cx).await.expect("alive"), ["new"]);
        assert_eq!(events.delete(&cx, "new").await, Ok(true));
        assert_eq!(events.delete(&cx, "new").await, Ok(false));
        events.add(&cx, "last", handler("last")).await.expect("new");
        cx.exit(events, Reason::SHUTDOWN).expect("memory");
    });
    bed.settle();
    let log = lock(&log).clone();
    let expected = [
        "panics 1",
        "leaves 1",
        "stays 1",
        "panics 99",
        "panics goes: Crashed(crash: in a handler)",
        "leaves 99",
        "leaves goes: Left",
        "stays 99",
        "stays goes: Swapped",
        "orphan goes: Orphaned(normal)",
        "new goes: Deleted",
        "last goes: Stopped(shutdown)",
    ];
    assert_eq!(log, expected);
}

struct Other;

impl EventHandler<u32> for Other {
    fn event(&mut self, _: &u32) -> HandlerNext {
        HandlerNext::Stay
    }
}
