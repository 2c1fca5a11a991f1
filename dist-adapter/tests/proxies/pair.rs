//! Two nodes, and the worker that the scenarios act on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use atropos::{Address, Context, Pid, Reason, Received, Runtime};
use atropos_dist::node::{Arguments, Incoming, Node, NodeCx, Options, ProcessId, Raised, Running, reason_of};
use atropos_dist::term::{Atom, ErlPid, Term};
use serde::{Deserialize, Serialize};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a worker is told.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(crate) enum Word {
    /// Answer with this number, and the bytes of the other field are ballast.
    Ping { from: ErlPid, n: u32, ballast: Vec<u8> },
    /// Answer so often, with ballast, and end.
    Burst { from: ErlPid, times: u32, ballast: usize },
    /// End with this reason.
    Die(Atom),
    /// Link with a process.
    Link(ErlPid),
    /// End the link.
    Unlink(ErlPid),
    /// Send an exit signal.
    Exit(ErlPid, Atom),
    /// Trap exits, and tell this process of them.
    Trap(ErlPid),
}

/// What a scenario's process is told.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Pong(u32),
    Ballast(u32, Vec<u8>),
    Exited(ErlPid, Term),
}

pub(crate) fn atom(text: &str) -> Atom {
    Atom::new(text).expect("short")
}

/// The body of a worker of a node: an ordinary process.
pub(crate) async fn worker(node: Node, cx: Context<Word>) -> Reason {
    let pid_of = |pid: &ErlPid| node.remote_pid(&node.process(pid.as_ref())).expect("a proxy");
    let mut observer = None;
    loop {
        match cx.recv().await {
            Received::Message(Word::Ping { from, n, .. }) => {
                let to = node.remote::<Heard>(node.process(from.as_ref())).expect("a proxy");
                cx.send(to, Heard::Pong(n)).expect("it lives");
            }
            Received::Message(Word::Burst { from, times, ballast }) => {
                let to = node.remote::<Heard>(node.process(from.as_ref())).expect("a proxy");
                for n in 0..times {
                    let heard = Heard::Ballast(n, vec![1; if n % 4 == 3 { ballast } else { 0 }]);
                    cx.send_wait(to, heard, None).await.expect("it lives");
                }
                return Reason::NORMAL;
            }
            Received::Message(Word::Die(reason)) => return reason_of(&Term::from(&reason)),
            Received::Message(Word::Link(pid)) => cx.link(pid_of(&pid)).expect("it lives"),
            Received::Message(Word::Unlink(pid)) => cx.unlink(pid_of(&pid)),
            Received::Message(Word::Exit(pid, reason)) => {
                let reason = if reason.as_str() == "kill" { Reason::KILL } else { reason_of(&Term::from(&reason)) };
                cx.exit(pid_of(&pid), reason).expect("memory");
            }
            Received::Message(Word::Trap(pid)) => {
                cx.trap_exit(true);
                observer = Some(node.remote::<Heard>(node.process(pid.as_ref())).expect("a proxy"));
            }
            Received::Exit(exit) => {
                // The host's: the runtime ends.
                let Some(from) = exit.from else { return exit.reason };
                let from = match node.process_of(from) {
                    ProcessId::Local(pid) => node.external(pid),
                    ProcessId::Remote(pid) => pid,
                };
                let heard = Heard::Exited(from, atropos_dist::node::term_of(&exit.reason));
                // The observer may be out of reach, or the one that has ended.
                let _ = observer.map(|observer| cx.send(observer, heard));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until it is ended. A function that peers may spawn.
fn waits<'a>(cx: &'a mut NodeCx, _: &'a Arguments) -> Running<'a> {
    Box::pin(async move {
        loop {
            if let Incoming::Message(reason) = cx.recv().await {
                return Err(Raised::Exit(reason));
            }
        }
    })
}

/// Two nodes, the second of which knows where the first is. The scenarios run at the second.
pub(crate) struct Pair {
    pub(crate) tokio: tokio::runtime::Runtime,
    pub(crate) there: Runtime,
    pub(crate) here: Runtime,
    pub(crate) first: Node,
    pub(crate) second: Node,
}

pub(crate) fn options() -> Options {
    // Hidden: the groups and global names of visible nodes monitor each other, which would count.
    Options { listen: Ipv4Addr::LOCALHOST.into(), epmd: false, hidden: true, ..Options::default() }
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(options())
    }

    pub(crate) fn with(second: Options) -> Self {
        Self::with_both(options(), second)
    }

    pub(crate) fn with_both(first_options: Options, second: Options) -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let tokio = tokio.expect("threads");
        let here = Runtime::builder().cores(2).build().expect("threads");
        let there = Runtime::builder().cores(1).build().expect("threads");
        let (first, second) = tokio.block_on(async {
            let builder = |name: &str| Node::builder(name).cookie("c").export("tests", "waits", 0, Arc::new(waits));
            let first = builder("first@127.0.0.1").options(first_options).start(&there.handle()).await;
            let first = first.expect("a free port");
            let peers = BTreeMap::from([("first@127.0.0.1".to_owned(), ("127.0.0.1".to_owned(), first.port()))]);
            let second = builder("second@127.0.0.1").options(Options { peers, ..second });
            (first, second.start(&here.handle()).await.expect("a free port"))
        });
        Self { tokio, there, here, first, second }
    }

    /// Starts a worker at a node, and returns its pid there.
    pub(crate) fn worker_at(node: &Node) -> ErlPid {
        let at = node.clone();
        let address = node.runtime().spawn(move |cx| worker(at, cx)).expect("a process");
        node.export(address).expect("it is watched")
    }

    /// Runs a process of the second node, and returns what it returns.
    pub(crate) fn run<T, M, F>(&self, body: impl FnOnce(Context<M>) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        M: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (done, result) = mpsc::channel();
        let start = move |cx| {
            let body = body(cx);
            async move { drop(done.send(body.await)) }
        };
        self.here.spawn(start).expect("a process");
        result.recv_timeout(PATIENCE).expect("the process ends in time")
    }

    /// Runs a scenario with a worker of its own node, and with one of the other. Both must see the
    /// same.
    pub(crate) fn both<T, F>(&self, scenario: impl Fn(Context<Heard>, Stage) -> F + Clone + Send + 'static) -> T
    where
        T: Send + PartialEq + std::fmt::Debug + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let [here, there] = [&self.second, &self.first].map(|node| {
            let worker = Self::worker_at(node);
            let (node, scenario) = (self.second.clone(), scenario.clone());
            self.run(async move |cx: Context<Heard>| {
                let stage = Stage::new(node, &cx, worker);
                scenario(cx, stage).await
            })
        });
        assert_eq!(here, there, "with a process of this node, and with one of the other");
        here
    }

    /// Ends both nodes, and asserts that nothing is left.
    pub(crate) fn stop(self) {
        for node in [&self.first, &self.second] {
            eventually(|| node.proxy_count() == 0 || node.counts().connections > 0);
        }
        self.tokio.block_on(async {
            self.second.stop().await;
            self.first.stop().await;
        });
        for node in [&self.first, &self.second] {
            eventually(|| node.proxy_count() == 0 && node.open_calls() == 0);
            // A proxy is no longer counted a moment before the machine forgets it.
            eventually(|| {
                let counts = node.counts();
                (counts.links, counts.monitors, counts.monitored_by) == (0, 0, 0)
            });
        }
        self.here.shutdown(PATIENCE).expect("all processes end");
        self.there.shutdown(PATIENCE).expect("all processes end");
    }
}

/// Waits until something holds, with patience that only a failure uses up.
#[track_caller]
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "it does not come to hold");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a scenario has.
pub(crate) struct Stage {
    pub(crate) node: Node,
    /// The worker, by an ordinary address.
    pub(crate) worker: Address<Word>,
    /// Its pid at its own node.
    pub(crate) worker_pid: ErlPid,
    /// The scenario's process, as the worker knows it.
    pub(crate) own: ErlPid,
}

impl Stage {
    fn new(node: Node, cx: &Context<Heard>, worker_pid: ErlPid) -> Self {
        let own = node.export(cx.address()).expect("it is watched");
        let worker = node.remote::<Word>(node.process(worker_pid.as_ref())).expect("a proxy");
        Self { node, worker, worker_pid, own }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.worker.pid()
    }

    /// Sends a word to the worker.
    pub(crate) fn tell(&self, cx: &Context<impl Send + 'static>, word: Word) {
        cx.send(self.worker, word).expect("the worker lives");
    }

    /// Returns once the worker has handled what came before.
    pub(crate) async fn sync(&self, cx: &Context<Heard>) {
        self.tell(cx, Word::Ping { from: self.own.clone(), n: u32::MAX, ballast: Vec::new() });
        cx.recv_match(|peek| matches!(peek, atropos::Peek::Message(Heard::Pong(u32::MAX)))).await;
    }
}
