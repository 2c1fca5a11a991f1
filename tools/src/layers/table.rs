//! The layers of each crate. This is the file to edit when a file moves, or when a folder is new.

/// The layers of a crate.
#[derive(Debug)]
pub(crate) struct Table {
    /// The crate's source folder.
    pub(crate) src: &'static str,
    /// The folders of each layer, from the bottom to the top. A folder is the first part of a
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

    /// Returns the number of a folder's layer, counted from the bottom.
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
        &["kernel_ptr", "sync"],
        &["catch_drop", "config", "mutation"],
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
    places: &[],
    debts: &[],
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
        &["event", "registry", "statem"],
        &["application", "group", "task"],
        &["lib"],
    ],
    places: &[("supervisor/intensity.rs", "restart_intensity.rs")],
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
        &["clock", "epoch_participant", "fork", "lease", "membarrier", "panics", "role", "roots", "tracing_hook"],
        &["alarm", "block_on", "callbacks", "watchdog"],
        &["platform"],
        &["blocking", "worker"],
        &["handle"],
        &["runtime"],
        &["trees"],
        &["dump"],
        &["exit_stream", "exit_watch", "shutdown"],
        &["builder", "otp_host", "requests", "scoped", "wait"],
        &["lib"],
    ],
    places: &[],
    debts: &[
        Debt { why: "the platform publishes exits", imports: &[("platform.rs", "exit_stream.rs")] },
        Debt { why: "`Runtime::builder` returns it", imports: &[("runtime.rs", "builder.rs")] },
        Debt {
            why: "the handle and the owner of a runtime are one file",
            imports: &[("runtime.rs", "shutdown.rs"), ("runtime.rs", "scoped.rs")],
        },
        Debt { why: "stopping trees pauses as the end of the runtime does", imports: &[("trees.rs", "shutdown.rs")] },
    ],
};

/// Records and maps know no plane; the plane knows no connection.
const DIST: Table = Table {
    src: "dist-adapter/src",
    storeys: &[
        &["sync"],
        &["model"],
        &["pid", "quota", "reference", "state", "table"],
        &["message", "watchers"],
        &["record", "sender"],
        &["local", "session"],
        &["batch"],
        &["control_plane"],
        &["inbound", "outbound"],
        &["facility", "loopback", "relay"],
        &["lib"],
    ],
    places: &[],
    debts: &[Debt { why: "a batch applies itself to the plane", imports: &[("batch.rs", "control_plane.rs")] }],
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
