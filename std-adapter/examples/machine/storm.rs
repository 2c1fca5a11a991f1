//! The storm: thousands of bytecode processes, every second one a busy loop, are killed while async
//! processes go on answering.
//!
//! One process monitors all of them through the facilities, and counts their DOWNs. The async
//! processes, a client and a server, have high priority, as processes that serve human users would;
//! the bytecode processes have normal priority.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atropos::facility::{KernelFacilities, SupervisionFacility as _};
use atropos::{Context, Priority, Reason, Received, Runtime, SpawnOptions};

use super::assembler::assemble;
use super::services::Services;

const PROGRAM: &str = "
spin:
    push 1
    pop
    jump spin
wait:
    receive
    pop
    jump wait
";

/// The pause between an answer and the next question.
const PAUSE: Duration = Duration::from_micros(200);

/// The measurements.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// The number of bytecode processes.
    pub(crate) processes: usize,
    /// The time from the first kill to the last DOWN.
    pub(crate) killed_in: Duration,
    /// The latency from the moment when an async process is due to ask until it has its answer,
    /// sorted: while all loops ran, and while they were killed.
    pub(crate) answers: [Vec<Duration>; 2],
    /// The total time for which the threads waited for a CPU that other programs used, if the
    /// operating system reports it.
    pub(crate) waited: Option<Duration>,
    /// The number of DOWNs with the reason `killed`.
    pub(crate) downs: usize,
}

/// Returns the value below which this many of a thousand lie.
pub(crate) fn quantile(sorted: &[Duration], of_a_thousand: usize) -> Duration {
    let at = (sorted.len() * of_a_thousand / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// Returns the time for which the threads waited for a CPU, from Linux's statistics of each thread.
fn kept_waiting() -> Option<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanos += text.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

enum Ask {
    Question(atropos::Address<()>),
}

/// Starts `processes`, lets them run for a while, and kills them.
pub(crate) fn run(cores: usize, processes: usize, quantum: u32, calm: Duration) -> Result<Figures> {
    let runtime = Runtime::builder().cores(cores).build()?;
    let services = Services::new(runtime.handle(), assemble(PROGRAM)?, quantum, |_: u64, _: &[u8]| Ok(()));
    let urgent = SpawnOptions::new().priority(Priority::High);

    let (send, last) = channel();
    let watcher = runtime.spawn_with(&urgent, async move |cx: Context<()>| {
        let mut killed = 0;
        for _ in 0..processes {
            let Received::Down(down) = cx.recv().await else { continue };
            killed += usize::from(down.reason == Reason::KILLED);
        }
        let _ = send.send((Instant::now(), killed));
    })?;
    let answers = runtime.spawn_with(&urgent, async move |cx: Context<Ask>| {
        while let Received::Message(Ask::Question(from)) = cx.recv().await {
            let _ = cx.send(from, ());
        }
    })?;
    let took: Arc<Mutex<Vec<(Instant, Duration)>>> = Arc::default();
    let book = took.clone();
    runtime.spawn_with(&urgent, async move |cx: Context<()>| {
        loop {
            // From the moment when it is due to ask, so that waiting for a slice counts.
            let due = Instant::now() + PAUSE;
            cx.sleep(PAUSE).await;
            let _ = cx.send(answers, Ask::Question(cx.address()));
            cx.recv().await;
            book.lock().expect("no thread panics").push((due, due.elapsed()));
        }
    })?;

    let native = KernelFacilities::new(runtime.handle());
    let mut all = Vec::with_capacity(processes);
    for number in 0..processes {
        let function = if number % 2 == 0 { "spin" } else { "wait" };
        let pid = services.start(function, Vec::new()).context("the label exists")??;
        native.monitor(watcher.pid().to_raw(), pid.to_raw())?;
        all.push(pid);
    }
    let (stormy, waited) = (Instant::now(), kept_waiting());
    std::thread::sleep(calm);
    let first = Instant::now();
    for pid in &all {
        runtime.exit(*pid, Reason::KILL)?;
    }
    let (end, downs) = last.recv_timeout(Duration::from_secs(60)).context("not all processes die")?;
    let killed_in = end.saturating_duration_since(first);
    let waited = kept_waiting().zip(waited).map(|(after, before)| after.saturating_sub(before));
    ensure!(all.iter().all(|pid| !runtime.is_alive(*pid)), "a process has survived a kill");
    let took = std::mem::take(&mut *took.lock().expect("no thread panics"));
    let between = |from: Instant, to: Instant| {
        let within = took.iter().filter(|(asked, time)| *asked + *time >= from && *asked < to);
        let mut times: Vec<Duration> = within.map(|(_, time)| *time).collect();
        times.sort();
        times
    };
    runtime.shutdown(Duration::from_secs(5))?;
    Ok(Figures { processes, killed_in, answers: [between(stormy, first), between(first, end)], waited, downs })
}
