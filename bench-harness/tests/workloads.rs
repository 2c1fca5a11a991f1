//! Every workload at a small size, on one thread and on two, and with other processes beside it.
//! The workloads check their own results, so this test keeps them correct.

use atropos_bench::workloads::{ALL, Ask, Workload};

fn check(name: &str, n: u64, p: Option<u64>) {
    let workload = Workload::of(name).expect("a workload with this name");
    for (threads, beside) in [(1, 0), (2, 0), (2, 30)] {
        let ask = Ask { n, threads, p, beside };
        let outcome = workload.run(&ask).unwrap_or_else(|error| panic!("{name} on {threads} threads: {error:#}"));
        let line = outcome.line(name, &ask);
        assert_eq!((line.workload.as_str(), line.n, line.threads), (name, n, threads));
        assert!(line.figure().is_some(), "{name} has a figure");
        // A workload with a distribution has its quantiles in its line, in order.
        let tails = [line.p50_ns, line.p99_ns, line.p999_ns];
        assert!(tails.is_sorted() && tails.iter().all(|tail| tail.is_some() == line.p50_ns.is_some()), "{tails:?}");
    }
}

macro_rules! tiny {
    ($($name:ident: $n:literal $(, $p:literal)?;)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), $n, None$(.or(Some($p)))?);
            }
        )*

        #[test]
        fn all_have_a_test() {
            let names = [$(stringify!($name)),*];
            assert!(ALL.iter().map(|workload| workload.name).eq(names));
        }
    };
}

tiny! {
    spawn: 500;
    idle_memory: 200;
    ping_pong: 300;
    ring: 300, 10;
    fan_in: 640, 8;
    fan_out: 500, 50;
    big: 400, 20;
    call: 200, 4;
    skynet: 100;
    monitor_churn: 5000;
    link_churn: 5000;
    down_fanout: 100;
    down_collect: 200;
    cascade_chain: 200;
    cascade_star: 200;
    restart_one: 20;
    restart_all: 5, 10;
    timer_churn: 3000;
    timer_fire: 100;
    selective_receive: 50, 100;
    hog_latency: 50;
}
