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

pub(crate) const TABLES: &[Table] = &[KERNEL, OTP, STD, DIST, FACILITY, SIM, CONFORMANCE, REFERENCE, BENCH];

/// Leaves and memory know no process. `intrusive` and `reclaim` know no signal. `signal` and
/// `mailbox` know no process record. `process` holds words and decides; `kernel` holds what cores
/// share; `ops` acts on both; `sched` and `api` call `ops`.
const KERNEL: Table = Table {
    src: "kernel/src",
    storeys: &[
        &["kernel_ptr", "sync"],
        &["catch_drop", "config", "mutation", "shipped"],
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
        &["wait", "catch_unwind", "restart_intensity", "spec"],
        &["error"],
        &["call"],
        &["report"],
        &["start"],
        &["server"],
        &["supervisor"],
        &["event", "registry", "statem"],
        &["application", "group", "task"],
        &["lib"],
    ],
    places: &[],
    debts: &[],
};

/// Leaves know no runtime; `platform` and what threads run are below `handle`, by which everything
/// else finds the runtime; `runtime` owns it, and `builder` makes it.
const STD: Table = Table {
    src: "std-adapter/src",
    storeys: &[
        &["panics"],
        &[
            "clock",
            "deadline",
            "epoch_participant",
            "exit_ring",
            "fork",
            "forward",
            "lease",
            "membarrier",
            "role",
            "roots",
            "tracing_hook",
        ],
        &["alarm", "block_on", "callbacks", "subscribers", "watchdog"],
        &["platform"],
        &["blocking", "worker"],
        &["handle"],
        &["dump", "exit_stream", "exit_watch", "scoped", "trees"],
        &["otp_host", "shutdown", "wait"],
        &["requests", "runtime"],
        &["builder"],
        &["lib"],
    ],
    places: &[],
    debts: &[],
};

/// Records and maps know no plane; the plane knows no connection. Terms know no wire, and neither
/// knows the machine or the node.
const DIST: Table = Table {
    src: "dist-adapter/src",
    storeys: &[
        &["sync"],
        &["model"],
        &["pid", "quota", "reference", "state", "table", "term"],
        &["message", "hooks"],
        &["machine", "record", "sender", "wire"],
        &["local", "session"],
        &["batch"],
        &["control_plane"],
        &["inbound", "outbound"],
        &["facility", "loopback", "node", "relay"],
        &["lib"],
    ],
    places: &[],
    debts: &[],
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

/// The platform knows no environment, and neither knows the cores.
const SIM: Table = Table {
    src: "sim-adapter/src",
    storeys: &[
        &["closure_body", "current_slot", "leak_on_panic", "leaks", "panics"],
        &["platform"],
        &["environment"],
        &["sim"],
        &["lib"],
    ],
    places: &[],
    debts: &[],
};

/// A script knows no driver, and a driver no controller.
const CONFORMANCE: Table = Table {
    src: "conformance/src",
    storeys: &[
        &["case", "reason"],
        &["script"],
        &["driver"],
        &["facilitated"],
        &["simulated", "threads"],
        &["controller"],
        &["supervisor"],
        &["replay"],
        &["lib"],
    ],
    places: &[],
    debts: &[],
};

/// The rules know no kernel that they are compared with.
const REFERENCE: Table = Table {
    src: "reference/src",
    storeys: &[&["program"], &["model"], &["judge"], &["actor"], &["play"], &["lib"]],
    places: &[],
    debts: &[],
};

/// A workload does not know how it is measured.
const BENCH: Table =
    Table { src: "bench-harness/src", storeys: &[&["workloads"], &["measure"], &["lib"]], places: &[], debts: &[] };
