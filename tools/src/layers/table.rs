//! The storeys of each crate. This is the file to edit when a file moves, or when a folder is new.

/// The storeys of a crate.
#[derive(Debug)]
pub(crate) struct Table {
    /// The crate's source folder.
    pub(crate) src: &'static str,
    /// The folders of each storey, from the bottom to the top. A folder is the first part of a
    /// file's place; for a file beside `lib.rs` it is the file's name without `.rs`.
    pub(crate) storeys: &'static [&'static [&'static str]],
    /// Files that are judged as if they were at another place: those that are still to be moved
    /// there. An entry whose file is gone does nothing.
    pub(crate) places: &'static [(&'static str, &'static str)],
    /// Upward imports that must stay for now.
    pub(crate) debts: &'static [Debt],
}

/// Upward imports with one reason.
#[derive(Debug)]
pub(crate) struct Debt {
    pub(crate) why: &'static str,
    /// The places of the importing and of the imported file.
    pub(crate) imports: &'static [(&'static str, &'static str)],
}

impl Table {
    /// Returns the place of a file: where it is, unless it is still to be moved.
    pub(crate) fn place<'a>(&self, file: &'a str) -> &'a str {
        self.places.iter().find(|(from, _)| *from == file).map_or(file, |(_, place)| place)
    }

    /// Returns the folder of a file.
    pub(crate) fn folder<'a>(&self, file: &'a str) -> &'a str {
        let place = self.place(file);
        let first = place.split_once('/').map_or(place, |(folder, _)| folder);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Returns the number of a folder's storey, counted from the bottom.
    pub(crate) fn storey(&self, folder: &str) -> Option<usize> {
        self.storeys.iter().position(|storey| storey.contains(&folder))
    }
}

pub(crate) const TABLES: &[Table] = &[KERNEL, OTP, STD, DIST, FACILITY];

/// Leaves and memory know no process. `intrusive` and `reclaim` know no signal. `signal` and
/// `mailbox` know no process record. `process` holds words and decides; `kernel` holds what cores
/// share; `ops` acts on both; `sched` and `api` call `ops`.
const KERNEL: Table = Table {
    src: "kernel/src",
    storeys: &[
        &["sync"],
        &["config", "mutation"],
        &["pid"],
        &["memory"],
        &["reason"],
        &["intrusive"],
        &["reclaim"],
        &["runq", "timer"],
        &["signal"],
        &["mailbox"],
        &["process"],
        &["kernel"],
        &["ops"],
        &["sched"],
        &["api"],
        &["internals", "lib"],
    ],
    places: &[
        ("mutate.rs", "mutation.rs"),
        ("list.rs", "intrusive/list.rs"),
        ("roll.rs", "intrusive/sweep_list.rs"),
        ("set.rs", "intrusive/record_set.rs"),
        ("shares.rs", "intrusive/refcount.rs"),
        ("mailbox.rs", "mailbox/mod.rs"),
        ("signal/queue.rs", "mailbox/batch.rs"),
        ("room.rs", "mailbox/capacity.rs"),
        ("bound.rs", "mailbox/limit.rs"),
        ("process/private.rs", "process/owned.rs"),
        ("table.rs", "process/table.rs"),
        ("name.rs", "process/name.rs"),
        ("alias.rs", "process/alias.rs"),
        ("timer/record/mod.rs", "process/timer_record.rs"),
        ("timer/slot.rs", "process/timer_slot.rs"),
        ("reply/cell.rs", "process/request_cell.rs"),
        ("reply/watch.rs", "process/request_watch.rs"),
        ("link.rs", "process/relation/link.rs"),
        ("monitor.rs", "process/relation/monitor.rs"),
        ("watch.rs", "process/relation/watcher.rs"),
        ("watcher/mod.rs", "process/relation/mod.rs"),
        ("watcher/record.rs", "process/relation/host_watch.rs"),
        ("exit_queue.rs", "process/relation/exit_queue.rs"),
        ("kernel.rs", "kernel/mod.rs"),
        ("handle.rs", "kernel/handle.rs"),
        ("hand.rs", "kernel/kernel_cx.rs"),
        ("held.rs", "kernel/catch_drop.rs"),
        ("sched/local.rs", "kernel/core_local.rs"),
        ("sched/custody.rs", "kernel/custody.rs"),
        ("sched/pace.rs", "kernel/pace.rs"),
        ("cx/slice.rs", "kernel/slice.rs"),
        ("world.rs", "kernel/platform.rs"),
        ("task/waiters.rs", "ops/waiters.rs"),
        ("task/waker.rs", "ops/waker.rs"),
        ("send.rs", "ops/send.rs"),
        ("received.rs", "ops/received.rs"),
        ("info.rs", "ops/info.rs"),
        ("signal/ask.rs", "ops/query.rs"),
        ("proxy.rs", "ops/owner_op.rs"),
        ("process/fetch.rs", "ops/drain.rs"),
        ("process/ties.rs", "ops/relations.rs"),
        ("process/exit.rs", "ops/exit.rs"),
        ("process/at_once.rs", "ops/exit_inline.rs"),
        ("process/spawn/mod.rs", "ops/spawn/mod.rs"),
        ("process/spawn/options.rs", "ops/spawn/options.rs"),
        ("process/spawn/ties.rs", "ops/spawn/relations.rs"),
        ("timer/start.rs", "ops/timer.rs"),
        ("timer/record/outcome.rs", "ops/timer_outcome.rs"),
        ("watcher/handle.rs", "ops/host_watch.rs"),
        ("reply/mod.rs", "ops/request/mod.rs"),
        ("reply/answering.rs", "ops/request/reply.rs"),
        ("reply/arrivals.rs", "ops/request/arrivals.rs"),
        ("reply/asking.rs", "ops/request/call.rs"),
        ("reply/place.rs", "ops/request/call_site.rs"),
        ("reply/request.rs", "ops/request/open_request.rs"),
        ("process/body.rs", "api/body.rs"),
        ("cx/mod.rs", "api/cx/mod.rs"),
        ("cx/mail.rs", "api/cx/mail.rs"),
        ("cx/name.rs", "api/cx/name.rs"),
        ("cx/question.rs", "api/cx/query.rs"),
        ("cx/tie.rs", "api/cx/relation.rs"),
        ("cx/timer.rs", "api/cx/timer.rs"),
        ("behalf/mod.rs", "api/caller/mod.rs"),
        ("behalf/timer.rs", "api/caller/timer.rs"),
        ("behalf/watch.rs", "api/caller/monitor.rs"),
        ("dump.rs", "api/dump.rs"),
        ("host.rs", "api/host.rs"),
        ("in_line.rs", "api/send_reservation.rs"),
        ("task/mod.rs", "api/task/mod.rs"),
        ("task/context.rs", "api/task/context.rs"),
        ("task/coop.rs", "api/task/coop.rs"),
        ("task/future.rs", "api/task/future.rs"),
        ("task/receive.rs", "api/task/receive.rs"),
        ("task/waiting.rs", "api/task/send_wait.rs"),
    ],
    debts: &[
        Debt {
            why: "the kernel's end discards processes: it belongs to `ops`",
            imports: &[("kernel/mod.rs", "ops/exit.rs")],
        },
        Debt {
            why: "a fired watch is defined beside the handle",
            imports: &[
                ("kernel/platform.rs", "ops/host_watch.rs"),
                ("process/relation/exit_queue.rs", "ops/host_watch.rs"),
                ("process/relation/host_watch.rs", "ops/host_watch.rs"),
                ("process/relation/mod.rs", "ops/host_watch.rs"),
            ],
        },
        Debt {
            why: "records deliver signals and allocate through the whole `KernelCx`",
            imports: &[
                ("mailbox/limit.rs", "kernel/kernel_cx.rs"),
                ("process/owned.rs", "kernel/kernel_cx.rs"),
                ("process/relation/host_watch.rs", "kernel/kernel_cx.rs"),
                ("process/relation/link.rs", "kernel/kernel_cx.rs"),
                ("process/relation/monitor.rs", "kernel/kernel_cx.rs"),
                ("process/relation/watcher.rs", "kernel/kernel_cx.rs"),
                ("process/request_cell.rs", "kernel/kernel_cx.rs"),
                ("process/request_watch.rs", "kernel/kernel_cx.rs"),
                ("process/timer_record.rs", "kernel/kernel_cx.rs"),
                ("signal/exit_signal.rs", "kernel/kernel_cx.rs"),
                ("signal/message.rs", "kernel/kernel_cx.rs"),
            ],
        },
        Debt {
            why: "waking is an act of `ops`",
            imports: &[
                ("mailbox/limit.rs", "ops/waker.rs"),
                ("mailbox/limit.rs", "process/owned.rs"),
                ("process/request_cell.rs", "ops/waker.rs"),
                ("signal/exit_signal.rs", "ops/waker.rs"),
            ],
        },
        Debt {
            why: "the pool keeps timer slots for its core",
            imports: &[("memory/pool.rs", "process/timer_slot.rs")],
        },
        Debt {
            why: "names the kernel that a record belongs to: an opaque pointer would do",
            imports: &[
                ("mutation.rs", "kernel/mod.rs"),
                ("process/header.rs", "kernel/mod.rs"),
                ("process/name.rs", "kernel/mod.rs"),
                ("process/request_cell.rs", "kernel/mod.rs"),
                ("process/timer_record.rs", "kernel/mod.rs"),
                ("process/timer_slot.rs", "kernel/mod.rs"),
            ],
        },
        Debt {
            why: "the guard of the current process belongs beside the slice",
            imports: &[("ops/exit_inline.rs", "sched/turn.rs")],
        },
        Debt {
            why: "the body table is beside the typed body",
            imports: &[
                ("ops/spawn/mod.rs", "api/body.rs"),
                ("process/header.rs", "api/body.rs"),
                ("sched/turn.rs", "api/body.rs"),
            ],
        },
        Debt { why: "the send target is defined beside the context", imports: &[("ops/timer.rs", "api/cx/mod.rs")] },
        Debt { why: "the timer slots are a field of the pids", imports: &[("pid.rs", "process/timer_slot.rs")] },
        Debt {
            why: "the owner keeps wakers whose functions are in `ops`",
            imports: &[("process/owned.rs", "ops/waiters.rs")],
        },
        Debt {
            why: "a caller finds the running slice through the platform",
            imports: &[("process/request_cell.rs", "kernel/platform.rs")],
        },
        Debt { why: "only the models answer there", imports: &[("process/request_watch.rs", "ops/request/reply.rs")] },
        Debt {
            why: "a reason keeps the function that catches panics",
            imports: &[("reason.rs", "kernel/platform.rs")],
        },
        Debt {
            why: "the request message is defined beside plain messages",
            imports: &[
                ("signal/message.rs", "process/request_cell.rs"),
                ("signal/message.rs", "process/request_watch.rs"),
            ],
        },
    ],
};

/// Behaviours use `server`; `server` knows no supervisor.
const OTP: Table = Table {
    src: "otp/src",
    storeys: &[
        &["wait", "catch_unwind", "error", "restart_intensity"],
        &["call"],
        &["start"],
        &["report"],
        &["server"],
        &["supervisor"],
        &["event", "machine", "registry", "statem"],
        &["application", "group", "task"],
        &["lib"],
    ],
    places: &[("contained.rs", "catch_unwind.rs"), ("supervisor/intensity.rs", "restart_intensity.rs")],
    debts: &[
        Debt { why: "a report describes a child", imports: &[("report.rs", "supervisor/spec.rs")] },
        Debt {
            why: "the start error contains the error of a child specification",
            imports: &[("start.rs", "supervisor/spec.rs")],
        },
    ],
};

/// Leaves know no runtime; `platform` and what threads run are below `handle`, by which everything
/// else finds the runtime; `runtime` owns it.
const STD: Table = Table {
    src: "std-adapter/src",
    storeys: &[
        &["barrier", "clock", "epoch_participant", "fork", "lease", "panics", "role", "roots", "tracing"],
        &["alarm", "block_on", "callbacks", "watchdog"],
        &["platform"],
        &["blocking", "worker"],
        &["handle"],
        &["runtime"],
        &["trees"],
        &["ending", "exit_stream", "exit_watch"],
        &["behaviours", "builder", "otp_host", "requests", "scoped", "wait"],
        &["lib"],
    ],
    places: &[
        ("behaviours.rs", "otp_host.rs"),
        ("exits.rs", "exit_watch.rs"),
        ("join.rs", "block_on.rs"),
        ("participant.rs", "epoch_participant.rs"),
        ("stream.rs", "exit_stream.rs"),
        ("traced.rs", "tracing.rs"),
        ("watch.rs", "watchdog.rs"),
        ("world.rs", "platform.rs"),
    ],
    debts: &[
        Debt { why: "the platform publishes exits", imports: &[("platform.rs", "exit_stream.rs")] },
        Debt { why: "`Runtime::builder` returns it", imports: &[("runtime.rs", "builder.rs")] },
        Debt {
            why: "the handle and the owner of a runtime are one file",
            imports: &[("runtime.rs", "ending.rs"), ("runtime.rs", "scoped.rs")],
        },
        Debt { why: "stopping trees pauses as the end of the runtime does", imports: &[("trees.rs", "ending.rs")] },
    ],
};

/// Records and maps know no plane; the plane knows no connection.
const DIST: Table = Table {
    src: "dist-adapter/src",
    storeys: &[
        &["sync"],
        &["model"],
        &["account", "pid", "reference", "state", "table"],
        &["message", "watchers"],
        &["record", "sender"],
        &["local", "session"],
        &["batch"],
        &["plane"],
        &["inbound", "outbound"],
        &["cable", "facility", "relay"],
        &["lib"],
    ],
    places: &[("rules.rs", "model.rs"), ("work.rs", "batch.rs")],
    debts: &[Debt { why: "a batch applies itself to the plane", imports: &[("batch.rs", "plane.rs")] }],
};

/// The traits know no implementation.
const FACILITY: Table = Table {
    src: "facility/src",
    storeys: &[
        &["sync"],
        &["code", "link", "log", "output", "spawn", "supervision", "timer"],
        &["alias", "name"],
        &["bundle", "record"],
        &["mock", "native"],
        &["lib"],
    ],
    places: &[],
    debts: &[],
};
