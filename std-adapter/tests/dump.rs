//! The dump of a runtime: by a call, at a stalled shutdown, and by a signal.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::Dump;
use atropos::kernel::{CoreActivity, ProcessDump};
use atropos::prelude::*;

/// A timeout far longer than anything here takes, on any machine.
const LONG: Duration = Duration::from_secs(60);

/// Takes dumps until one is as expected.
#[track_caller]
fn until(runtime: &Runtime, expected: impl Fn(&Dump) -> bool) -> Dump {
    let end = Instant::now() + LONG;
    loop {
        let dump = runtime.dump().expect("memory");
        if expected(&dump) {
            return dump;
        }
        assert!(Instant::now() < end, "{dump}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[track_caller]
fn of<M>(dump: &Dump, process: Address<M>) -> &ProcessDump {
    dump.processes.iter().find(|dumped| dumped.pid == process.pid()).expect("a process in the dump")
}

#[test]
fn a_call_shows_what_blocks_and_what_waits() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let (release, released) = channel::<()>();
    let on = |core| SpawnOptions::new().core(core);
    let blocks = runtime
        .spawn_with(&on(0).name("blocks"), async move |_: Context<()>| {
            let _ = released.recv();
        })
        .expect("a process");
    let waits = runtime.spawn_with(&on(1), async |cx: Context<()>| drop(cx.recv().await)).expect("a process");
    let (_kept, job) = channel::<()>();
    let handle = runtime.handle();
    let awaits = runtime
        .spawn_with(&on(1), async move |_: Context<()>| {
            let _ = handle.blocking(move || job.recv()).await;
        })
        .expect("a process");
    until(&runtime, |dump| of(dump, blocks).runs_on == Some(0));
    let queued = runtime.spawn_with(&on(0), async |_: Context<()>| ()).expect("a process");
    let dump = until(&runtime, |dump| {
        of(dump, waits).doing == CoreActivity::Waits && of(dump, awaits).doing == CoreActivity::Waits
    });
    assert_eq!(dump.cores[0].running.map(|(_, pid)| pid), Some(blocks.pid()), "{dump}");
    assert_eq!((dump.cores[0].pinned, dump.cores[0].has_woken, dump.cores[1].pinned), (1, true, 0), "{dump}");
    assert_eq!((of(&dump, queued).runs_on, dump.queued), (None, 1), "{dump}");
    assert_eq!((of(&dump, waits).wakers, of(&dump, awaits).wakers > 0), (0, true), "{dump}");
    let text = dump.to_string();
    for line in [
        format!("  core 0: runs {} (slice ", blocks.pid()),
        ", 1 pinned to it are queued\n".to_owned(),
        format!("  {} \"blocks\" is runnable, runs on core 0, pinned\n", blocks.pid()),
        format!("  {} is runnable, waits for core 0, pinned\n", queued.pid()),
        format!("  {} waits for a signal, pinned to core 1\n", waits.pid()),
        format!("  {} waits for a signal or one of ", awaits.pid()),
    ] {
        assert!(text.contains(&line), "{line:?} is not in {text}");
    }
    drop(release);
    runtime.wait_blocking(queued, LONG).expect("it ends once the core is free");
}

/// Returns a runtime that collects the dumps of its stalled shutdown. The hook panics afterwards,
/// which must not matter.
fn collecting() -> (Runtime, Arc<Mutex<Vec<Dump>>>) {
    let dumps = Arc::new(Mutex::new(Vec::new()));
    let there = dumps.clone();
    let report = move |dump: &Dump| {
        there.lock().expect("no panic inside").push(dump.clone());
        std::panic::resume_unwind(Box::new("a panic of the hook"));
    };
    (Runtime::builder().cores(2).on_stalled_shutdown(report).build().expect("threads"), dumps)
}

#[test]
fn a_stalled_shutdown_passes_a_dump_to_the_hook() {
    // A process that ignores the request to shut down: the dump is made before the kill.
    let (runtime, dumps) = collecting();
    let ignores = runtime
        .spawn(async |cx: Context<()>| {
            cx.trap_exit(true);
            loop {
                cx.recv().await;
            }
        })
        .expect("a process");
    until(&runtime, |dump| of(dump, ignores).trap_exit);
    runtime.shutdown(Duration::from_millis(20)).expect("the kill ends it");
    let dumps = dumps.lock().expect("no panic inside");
    assert_eq!(dumps.len(), 1);
    assert!(of(&dumps[0], ignores).trap_exit && dumps[0].is_closing, "{}", dumps[0]);

    // A body that blocks: the shutdown abandons it, and the dump shows where it runs.
    let (runtime, dumps) = collecting();
    let (release, released) = channel::<()>();
    let blocks = runtime.spawn(async move |_: Context<()>| released.recv().unwrap_or_default()).expect("a process");
    until(&runtime, |dump| of(dump, blocks).runs_on.is_some());
    let error = runtime.shutdown(Duration::from_millis(20)).expect_err("the body does not yield");
    drop(release);
    assert_eq!(error.processes, 1);
    let dumps = dumps.lock().expect("no panic inside");
    assert_eq!(dumps.len(), 1);
    assert!(of(&dumps[0], blocks).runs_on.is_some(), "{}", dumps[0]);
}

#[test]
fn a_shutdown_in_time_makes_no_dump() {
    let (runtime, dumps) = collecting();
    runtime.spawn(async |cx: Context<()>| drop(cx.recv().await)).expect("a process");
    runtime.shutdown(LONG).expect("all ends");
    assert!(dumps.lock().expect("no panic inside").is_empty());
}

#[cfg(unix)]
mod signal {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::{Receiver, channel};

    use atropos::BuildError;

    use super::*;

    /// The variable that makes [`hangs_until_its_input_ends`] hang.
    const HANG: &str = "ATROPOS_TEST_HANG";

    /// The program that hangs: this test in a process of its own, in which a body blocks each core.
    #[test]
    fn hangs_until_its_input_ends() {
        if std::env::var_os(HANG).is_none() {
            return;
        }
        let runtime = Runtime::builder().cores(2).dump_on_signal(libc::SIGUSR1).build().expect("threads");
        let other = Runtime::builder().cores(1).dump_on_signal(libc::SIGUSR1).build().expect("a thread");
        let names = ["first", "second"];
        let ends: Vec<_> = (0..2)
            .map(|core| {
                let (end, ended) = channel::<()>();
                let options = SpawnOptions::new().core(core).name(names[core]);
                let process =
                    runtime.spawn_with(&options, async move |_: Context<()>| ended.recv().unwrap_or_default());
                until(&runtime, |dump| of(dump, *process.as_ref().expect("a process")).runs_on == Some(core));
                end
            })
            .collect();
        eprintln!("it hangs");
        std::io::stdin().read_to_end(&mut Vec::new()).expect("an input");
        drop(ends);
        other.shutdown(LONG).expect("nothing runs");
        runtime.shutdown(LONG).expect("all has ended");
        // The handler of a runtime that is gone writes nothing, and the signal does not end the
        // program.
        // SAFETY: the call takes a number and no pointer.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
        eprintln!("it ended");
    }

    /// Ends the program that hangs, also when a test fails.
    struct Ends(Child);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Reads lines up to one that is as expected.
    #[track_caller]
    fn read_until(lines: &Receiver<String>, expected: impl Fn(&str) -> bool) -> Vec<String> {
        let mut read = Vec::new();
        loop {
            match lines.recv_timeout(LONG) {
                Ok(line) => read.push(line),
                Err(error) => panic!("{error}, after {read:#?}"),
            }
            if read.last().is_some_and(|line| expected(line)) {
                return read;
            }
        }
    }

    #[test]
    fn a_signal_writes_a_dump_of_each_runtime() {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "signal::hangs_until_its_input_ends", "--nocapture"]).env(HANG, "1");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut program = Ends(command.spawn().expect("it starts"));
        let (write, lines) = channel();
        let errors = BufReader::new(program.0.stderr.take().expect("a pipe"));
        std::thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|line| write.send(line)));
        read_until(&lines, |line| line == "it hangs");
        let pid = i32::try_from(program.0.id()).expect("a process id");
        for _ in 0..2 {
            // SAFETY: the call takes two numbers and no pointer, and the child has not been waited
            // for, so the number is its own.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGUSR1) }, 0);
            // The two runtimes write in any order.
            let (mut dumped, mut text) = (0, String::new());
            while dumped < 2 || !text.contains("\"second\"") {
                let last = lines.recv_timeout(LONG).unwrap_or_else(|error| panic!("{error}, after {text}"));
                dumped += usize::from(last.starts_with(&format!("atropos: dump of a runtime in process {pid}, ")));
                text += &format!("{last}\n");
            }
            for line in ["  core 0: runs <", "  core 1: runs <", "\"first\" is runnable, runs on core 0, pinned\n"] {
                assert!(text.contains(line), "{line:?} is not in {text}");
            }
        }
        drop(program.0.stdin.take());
        let rest = read_until(&lines, |line| line == "it ended");
        assert!(!rest.iter().any(|line| line.contains("second")), "{rest:#?}");
        assert!(program.0.wait().expect("it ends").success());
    }

    #[test]
    fn a_signal_that_cannot_be_handled_is_refused() {
        for signal in [libc::SIGKILL, libc::SIGSEGV, -1, 10_000] {
            let refused = Runtime::builder().cores(1).dump_on_signal(signal).build();
            assert!(matches!(refused, Err(BuildError::Signal(_))), "{signal}: {refused:?}");
        }
    }
}
