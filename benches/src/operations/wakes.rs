//! Wake-ups of a waiting process: by a waker, and by messages. Each goes from the wake through a
//! slice to sleep again. Not for: other cores, or waking a parked core.

use std::sync::{Arc, Mutex};
use std::task::Waker;

use atropos_kernel::{BodyPoll, Pid, Received};

use super::{Operation, Run};
use crate::core::{Bench, does};

/// A wake by a waker.
pub const WAKES: &[Operation] = &[Operation { name: "wake by a waker, a slice, sleep", make: by_waker }];

/// Wakes by messages.
pub const MESSAGES: &[Operation] = &[
    Operation { name: "send to itself, receive", make: to_itself },
    Operation { name: "a round trip of two processes", make: round_trip },
];

fn by_waker() -> Run {
    let mut bench = Bench::default();
    let place: Arc<Mutex<Option<Waker>>> = Arc::default();
    let given = place.clone();
    bench.spawn(does(move |cx| {
        let mut place = given.lock().expect("no thread panics");
        place.get_or_insert_with(|| cx.waker());
        BodyPoll::Wait
    }));
    bench.run();
    let waker = place.lock().expect("no thread panics").clone().expect("the process has run");
    Box::new(move |count| {
        for _ in 0..count {
            waker.wake_by_ref();
            bench.run();
        }
    })
}

fn to_itself() -> Run {
    super::of_process(
        |_| {},
        |cx, _| {
            cx.send(cx.pid(), cx.pid()).expect("alive");
            assert!(cx.receive().is_some());
        },
    )
}

fn round_trip() -> Run {
    let mut bench = Bench::default();
    let ponger = bench.spawn(does(|cx| {
        while let Some(Received::Message(from)) = cx.receive() {
            cx.send(from, cx.pid()).expect("alive");
        }
        BodyPoll::Wait
    }));
    let times = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (todo, mut left) = (times.clone(), 0);
    let pinger: Pid = bench.spawn(does(move |cx| {
        while let Some(Received::Message(from)) = cx.receive() {
            // Its own pid comes from the host, and starts the given number of round trips.
            left = if from == cx.pid() { todo.load(std::sync::atomic::Ordering::Relaxed) } else { left - 1 };
            if left > 0 {
                cx.send(ponger, cx.pid()).expect("alive");
            }
        }
        BodyPoll::Wait
    }));
    bench.run();
    Box::new(move |count| {
        times.store(count, std::sync::atomic::Ordering::Relaxed);
        bench.host(|host| host.send(pinger, pinger)).expect("alive");
        bench.run();
    })
}
