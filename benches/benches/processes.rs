//! What do the operations of a process cost, on one core, in a batch of a thousand? Each figure is for the thousand. Not for:
//! several cores, or comparing with other systems.

use atropos_benches::{Bench, does};
use atropos_kernel::{Pid, Reason, Received, Resumed, SpawnOptions};
use criterion::{Criterion, criterion_group, criterion_main};

const BATCH: usize = 1000;

/// A process that waits.
fn sleeper(bench: &mut Bench) -> Pid {
    let pid = bench.spawn(does(|_| Resumed::Wait));
    bench.run();
    pid
}

fn measure(
    criterion: &mut Criterion,
    name: &str,
    operation: impl Fn(&atropos_kernel::Cx<'_, Pid>, Pid) + Copy + Send + 'static,
) {
    criterion.bench_function(name, |bencher| {
        let mut bench = Bench::default();
        let target = sleeper(&mut bench);
        let actor = bench.spawn(does(move |cx| {
            if let Some(Received::Message(target)) = cx.receive() {
                for _ in 0..BATCH {
                    operation(cx, target);
                }
            }
            Resumed::Wait
        }));
        bench.run();
        bencher.iter(|| {
            bench.host(|host| host.send(actor, target)).expect("alive");
            bench.run();
        });
    });
}

fn operations(criterion: &mut Criterion) {
    measure(criterion, "1000 × monitor, demonitor", |cx, target| {
        let monitor = cx.monitor(target).expect("memory");
        assert!(cx.demonitor(monitor, true));
    });
    measure(criterion, "1000 × link, unlink", |cx, target| {
        cx.link(target).expect("alive");
        cx.unlink(target);
    });
    measure(criterion, "1000 × start a far timer, cancel", |cx, _| {
        let timer = cx.alarm(std::time::Duration::from_secs(1000)).expect("memory");
        assert!(cx.cancel_timer(timer).is_some());
    });
    measure(criterion, "1000 × spawn, exit", |cx, _| {
        cx.spawn(&SpawnOptions::new(), does(|_| Resumed::Exit(Reason::NORMAL))).expect("room");
    });
}

fn ping_pong(criterion: &mut Criterion) {
    criterion.bench_function("1000 × a round trip of two processes", |bencher| {
        let mut bench = Bench::default();
        let ponger = bench.spawn(does(|cx| {
            while let Some(Received::Message(from)) = cx.receive() {
                cx.send(from, cx.pid()).expect("alive");
            }
            Resumed::Wait
        }));
        let mut left = 0;
        let pinger = bench.spawn(does(move |cx| {
            while let Some(Received::Message(from)) = cx.receive() {
                left = if from == cx.pid() { BATCH } else { left - 1 };
                if left > 0 {
                    cx.send(ponger, cx.pid()).expect("alive");
                }
            }
            Resumed::Wait
        }));
        bench.run();
        bencher.iter(|| {
            bench.host(|host| host.send(pinger, pinger)).expect("alive");
            bench.run();
        });
    });
}

criterion_group!(benches, operations, ping_pong);
criterion_main!(benches);
