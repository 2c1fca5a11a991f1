//! The storm: bytecode processes by the thousand, every second one a busy loop, are killed while async processes answer.
//!
//! All of them are watched through the facilities by one process, which counts their DOWNs. The async processes, a pair
//! that ask and answer, are of high priority, as who answers people would be; the bytecode is of normal priority.

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

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_micros(200);

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Bytecode processes.
    pub(crate) processes: usize,
    /// From the first kill to the last DOWN.
    pub(crate) killed_in: Duration,
    /// The time from when an async process was to wake and ask another to when it had its answer, sorted: while all loops ran,
    /// and while they were killed.
    pub(crate) answers: [Vec<Duration>; 2],
    /// For how long in all the operating system had the threads wait for a processor that others used, if it says so.
    pub(crate) waited: Option<Duration>,
    /// DOWNs with the reason `killed`.
    pub(crate) downs: usize,
}

/// The value below which so many of a thousand lie.
pub(crate) fn quantile(sorted: &[Duration], of_a_thousand: usize) -> Duration {
    let at = (sorted.len() * of_a_thousand / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// What Linux keeps of each thread: the time that it ran, and that it waited for its turn.
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
            // From when it wanted to ask: what it has to wait for its turn counts.
            let due = Instant::now() + PAUSE;
            cx.sleep(PAUSE).await;
            let _ = cx.send(answers, Ask::Question(cx.address()));
            cx.recv().await;
            book.lock().expect("nobody panics").push((due, due.elapsed()));
        }
    })?;

    let native = KernelFacilities::new(runtime.handle());
    let mut all = Vec::with_capacity(processes);
    for number in 0..processes {
        let function = if number % 2 == 0 { "spin" } else { "wait" };
        let pid = services.start(function, Vec::new()).context("there is such a label")??;
        native.monitor(watcher.pid().to_raw(), pid.to_raw())?;
        all.push(pid);
    }
    let (stormy, waited) = (Instant::now(), kept_waiting());
    std::thread::sleep(calm);
    let first = Instant::now();
    for pid in &all {
        runtime.exit(*pid, Reason::KILL)?;
    }
    let (end, downs) = last.recv_timeout(Duration::from_secs(60)).context("they do not die")?;
    let killed_in = end.saturating_duration_since(first);
    let waited = kept_waiting().zip(waited).map(|(after, before)| after.saturating_sub(before));
    ensure!(all.iter().all(|pid| !runtime.is_alive(*pid)), "somebody has outlived a kill");
    let took = std::mem::take(&mut *took.lock().expect("nobody panics"));
    let between = |from: Instant, to: Instant| {
        let within = took.iter().filter(|(asked, time)| *asked + *time >= from && *asked < to);
        let mut times: Vec<Duration> = within.map(|(_, time)| *time).collect();
        times.sort();
        times
    };
    runtime.shutdown(Duration::from_secs(5))?;
    Ok(Figures { processes, killed_in, answers: [between(stormy, first), between(first, end)], waited, downs })
}
