//! A supervisor-like process restarts a crashing worker 1,000 times, and a linked pair dies
//! together, on a machine with only the kernel. `cargo xtask bare` checks the output.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::sync::Arc;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use atropos_bare::{clock, heap, platform};
use atropos_kernel::reclaim::Domain;
use atropos_kernel::{
    Address, Context, Core, Host, Kernel, Limits, MonitorTarget, Options, Reason, Received, SpawnOptions,
};
use cortex_m_semihosting::{debug, hprintln};

#[global_allocator]
static HEAP: heap::Heap = heap::Heap::new();

#[panic_handler]
fn panic(panic: &PanicInfo<'_>) -> ! {
    hprintln!("{}", panic);
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::bkpt();
    }
}

const RESTARTS: u32 = 1000;
/// Number of rounds before the heap is measured.
const WARM: u32 = 20;
/// Number of rounds in each of the two measurements: the rounds before the reported round, and the
/// rounds from the reported one on.
const LOOKS: u32 = 12;

/// Bytes per round that count as a leak: the size of the smallest block.
const LEAST_LEAK: usize = 16;

/// Counters that the processes report.
static DOWNS: AtomicU32 = AtomicU32::new(0);
static PAIR: AtomicU32 = AtomicU32::new(0);
static SLEPT: AtomicU32 = AtomicU32::new(0);

/// Starts a worker that crashes on its first message, waits for its end, and starts it again.
async fn supervise(cx: Context<()>) {
    for round in 0..RESTARTS {
        let worker = async |cx: Context<u32>| -> Result<(), &'static str> {
            match cx.recv().await {
                Received::Message(_) => Err("the worker's bug"),
                _ => Ok(()),
            }
        };
        let (worker, monitor) = cx.spawn_monitor(worker).expect("room for a worker");
        cx.send(worker, round).expect("the worker lives");
        match cx.recv().await {
            Received::Down(down) => {
                assert_eq!(down.reference, monitor);
                assert_eq!(down.target, MonitorTarget::Pid(worker.pid()));
                assert_eq!(down.reason, Reason::crash("the worker's bug"));
                DOWNS.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("expected the DOWN, got {other:?}"),
        }
    }
    cx.sleep(Duration::from_millis(5)).await;
    SLEPT.fetch_add(1, Ordering::Relaxed);
}

/// Watches a linked pair. One of the two ends with a reason that the other does not trap.
async fn watch_a_pair(cx: Context<()>) {
    let first = async |cx: Context<()>| {
        cx.spawn_with::<(), _, _>(&SpawnOptions::new().link().name("second"), async |cx: Context<()>| -> Reason {
            loop {
                cx.recv().await;
            }
        })
        .expect("room for the second");
        cx.recv().await;
        Reason::value("together")
    };
    let (first, one) = cx.spawn_monitor(first).expect("room for the first");
    while cx.whereis("second").is_none() {
        cx.yield_now().await;
    }
    let two = cx.monitor_name("second").expect("memory");
    cx.send(first, ()).expect("the first lives");
    for _ in 0..2 {
        match cx.recv().await {
            Received::Down(down) if down.reference == one || down.reference == two => {
                assert_eq!(down.reason, Reason::value("together"));
                PAIR.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("expected a DOWN, got {other:?}"),
        }
    }
}

/// Runs as long as the image, and starts both tests at each message.
async fn root(cx: Context<()>) -> Reason {
    loop {
        cx.recv().await;
        cx.spawn(supervise).expect("room for a supervisor");
        cx.spawn(watch_a_pair).expect("room for a watcher");
    }
}

fn round(core: &mut Core, root: Address<()>) {
    let kernel = core.kernel().clone();
    let participant = kernel.register();
    Host::new(&kernel, &participant).send(root.pid(), ()).expect("the root lives");
    platform::run_until_idle(core);
    assert_eq!(kernel.process_count(), 1, "no process but the root is left");
}

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: [u64; heap::SIZE / 8] = [0; heap::SIZE / 8];
    // SAFETY: called once, before the first allocation. cortex-m-rt gives `main` exclusive access
    // to `MEMORY`.
    unsafe { HEAP.init(MEMORY.as_mut_ptr() as usize, heap::SIZE) };
    clock::start(cortex_m::Peripherals::take().expect("taken once").SYST);

    let limits = Limits { processes: 16, names: 4, timers: 16, nodes: 64, kept: 1024 };
    let kernel = Kernel::new(Options { limits, ..Options::default() }, Domain::new(), Arc::new(platform::Bare));
    let mut core = Core::new(kernel.clone(), 0);
    let participant = kernel.register();
    let root = Host::new(&kernel, &participant).spawn_async(&SpawnOptions::new(), root).expect("room for the root");

    // Warm-up rounds: each slot keeps the reason of its last process until the slot is reused. The
    // number of reasons grows until all slots have been used, for about 13 rounds. From then on the
    // heap use varies with the blocks that the core and the depot keep for reuse (`Limits::kept`).
    // Slices are bounded in time, so the board's clock decides how many dead processes are
    // reclaimed at once, and whether a batch of 64 blocks is kept. A leak occurs in every round, so
    // the test compares the minimum of some rounds with the minimum of as many further rounds. The
    // two may differ by less than a block per round, because reasons differ in length.
    for _ in 0..WARM {
        round(&mut core, root);
    }
    let least = |core: &mut Core, rounds: u32| {
        let used = (0..rounds).map(|_| {
            round(core, root);
            HEAP.used()
        });
        used.min().unwrap_or(0)
    };
    let start = least(&mut core, LOOKS);
    let before = (DOWNS.load(Ordering::Relaxed), PAIR.load(Ordering::Relaxed), SLEPT.load(Ordering::Relaxed));
    let began = clock::now();
    round(&mut core, root);
    let took = clock::now() - began;
    let end = HEAP.used();

    let restarts = DOWNS.load(Ordering::Relaxed) - before.0;
    let pair = PAIR.load(Ordering::Relaxed) - before.1;
    hprintln!("restarts after a crash: {}", restarts);
    hprintln!("of a linked pair, dead together: {}", pair);
    hprintln!("sleeps: {}", SLEPT.load(Ordering::Relaxed) - before.2);
    hprintln!("milliseconds of the board's clock: {}", took / 1_000_000);
    let end = end.min(least(&mut core, LOOKS - 1));
    hprintln!("heap used after {} rounds: {} bytes at least", LOOKS, start);
    hprintln!("heap used after {} more: {} bytes at least", LOOKS, end);
    hprintln!("heap used at most: {} bytes of {}", HEAP.peak(), heap::SIZE);
    let ok = restarts == RESTARTS && pair == 2 && end < start + LEAST_LEAK * LOOKS as usize;
    hprintln!("atropos-bare: {}", if ok { "ok" } else { "FAILED" });
    debug::exit(if ok { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}
