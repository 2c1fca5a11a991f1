//! Code that runs in a panic scope inside a process's slice while a future has its context: a
//! filter of messages that panics.

mod common;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use atropos_kernel::{Context, Options, PanicScope, Received, SpawnOptions};

use common::Stage;

/// A message that records when it is dropped.
#[derive(Debug)]
struct Counted(u32, Arc<Mutex<Vec<u32>>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

type Told = Arc<Mutex<Vec<String>>>;

/// Filters the messages that arrive, and panics on message 2. The future is polled in a panic
/// scope. Records the outcome of each poll that ended.
async fn sorts(cx: Context<Counted>, told: Told) {
    let container = cx.panic_catcher();
    for _ in 0..3 {
        let mut receive = pin!(async {
            cx.recv_with(|received| match received {
                Received::Message(message) if message.0 == 2 => panic!("two"),
                Received::Message(message) => message.0,
                other => panic!("{other:?} came"),
            })
            .await
        });
        let came = poll_fn(|task| match container.catch_panic(|| receive.as_mut().poll(task)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(number)) => Poll::Ready(format!("{number}")),
            Err(reason) => Poll::Ready(format!("{reason}")),
        });
        let came = came.await;
        told.lock().unwrap().push(came);
    }
}

#[test]
fn filter_that_panics_loses_its_message_and_no_other() {
    let mut stage = Stage::new(Options::default());
    let (told, dropped) = (Told::default(), Arc::new(Mutex::new(Vec::new())));
    let inner = told.clone();
    let sorter = stage.host().spawn_async(&SpawnOptions::new(), |cx| sorts(cx, inner)).unwrap();
    stage.settle();
    for number in 1..=3 {
        stage.host().send(sorter.pid(), Counted(number, dropped.clone())).map_err(|_| ()).unwrap();
    }
    stage.settle();
    assert_eq!(*told.lock().unwrap(), ["1", "crash: two", "3"]);
    assert_eq!(*dropped.lock().unwrap(), [1, 2, 3]);
    assert_eq!(stage.kernel.process_count(), 0);
}

#[test]
fn panic_scope_runs_no_code_outside_its_slice() {
    let mut stage = Stage::new(Options::default());
    let kept: Arc<Mutex<Option<PanicScope<()>>>> = Arc::default();
    let inner = kept.clone();
    let body = move |cx: Context<()>| async move {
        *inner.lock().unwrap() = Some(cx.panic_catcher());
        cx.recv().await;
    };
    stage.host().spawn_async(&SpawnOptions::new(), body).unwrap();
    stage.settle();
    let container = kept.lock().unwrap().take().expect("it has run");
    let mut ran = false;
    let outside = catch_unwind(AssertUnwindSafe(|| container.catch_panic(|| ran = true)));
    assert!(outside.is_err() && !ran);
}
