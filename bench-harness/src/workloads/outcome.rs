//! [`Outcome`]: the result of a workload. [`Line`]: its printed form.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Ask;
use super::times::Latencies;

/// The number of operations of a workload, and their time.
#[derive(Clone, Debug)]
pub struct Outcome {
    n: u64,
    time: Option<Duration>,
    /// `true` if the time per operation is meaningful.
    is_per_operation: bool,
    bytes_per_process: Option<f64>,
    latencies: Option<Latencies>,
}

impl Outcome {
    /// Creates the result of `n` operations that took this time.
    pub fn timed(n: u64, time: Duration) -> Self {
        Self { n, time: Some(time), is_per_operation: true, bytes_per_process: None, latencies: None }
    }

    /// Creates the result of a measurement of resident memory per process.
    pub fn bytes(n: u64, bytes_per_process: f64) -> Self {
        Self { n, time: None, is_per_operation: false, bytes_per_process: Some(bytes_per_process), latencies: None }
    }

    /// Adds a distribution of latencies.
    pub fn with(mut self, latencies: Latencies) -> Self {
        self.latencies = Some(latencies);
        self
    }

    /// Marks the time as the workload's own, not that of its operations.
    pub fn not_per_operation(mut self) -> Self {
        self.is_per_operation = false;
        self
    }

    /// Returns the distribution, if the workload has one.
    pub fn latencies(&self) -> Option<&Latencies> {
        self.latencies.as_ref()
    }

    /// Returns the line to print.
    pub fn line(&self, workload: &str, ask: &Ask) -> Line {
        self.line_of("atropos", concat!("atropos ", env!("CARGO_PKG_VERSION")), workload, ask)
    }

    /// Returns the line that another system's driver prints.
    pub fn line_of(&self, peer: &str, version: &str, workload: &str, ask: &Ask) -> Line {
        let at = |quantile| self.latencies.as_ref().map(|all| all.value_at_quantile(quantile));
        let seconds = self.time.map(|time| time.as_secs_f64());
        Line {
            peer: peer.to_owned(),
            version: version.to_owned(),
            workload: workload.to_owned(),
            n: self.n,
            threads: ask.threads,
            seconds,
            per_op_ns: seconds.filter(|_| self.is_per_operation).map(|seconds| seconds * 1e9 / self.n as f64),
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            bytes_per_process: self.bytes_per_process,
        }
    }
}

/// One run, as every driver of every system prints it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The system that ran the workload.
    pub peer: String,
    /// The system's version.
    pub version: String,
    /// The workload's name.
    pub workload: String,
    /// The number of operations.
    pub n: u64,
    /// The number of scheduler threads.
    pub threads: usize,
    /// The duration of the timed part.
    pub seconds: Option<f64>,
    /// The duration per operation.
    pub per_op_ns: Option<f64>,
    /// The median latency.
    pub p50_ns: Option<u64>,
    /// The 99th percentile of the latencies.
    pub p99_ns: Option<u64>,
    /// The 99.9th percentile of the latencies.
    pub p999_ns: Option<u64>,
    /// The resident memory of a waiting process.
    pub bytes_per_process: Option<f64>,
}

impl Line {
    /// Returns `true` if the workload measures throughput, and not tail latency or memory.
    pub fn is_throughput(&self) -> bool {
        self.figure().is_some_and(|(_, unit)| unit == "ns")
    }

    /// Returns the one figure that a table shows (smaller is better), and its unit.
    pub fn figure(&self) -> Option<(f64, &'static str)> {
        let tail = self.p99_ns.map(|ns| (ns as f64, "ns p99"));
        // These two workloads are about tail latencies.
        let by_tail = matches!(&*self.workload, "timer_fire" | "hog_latency");
        let cost = self.per_op_ns.filter(|_| !by_tail).map(|ns| (ns, "ns"));
        self.bytes_per_process.map(|bytes| (bytes, "B")).or(cost).or(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::super::times::Times;
    use super::*;

    fn one(time: u64) -> Latencies {
        let mut times = Times::new(1);
        times.note(time);
        times.latencies().expect("a histogram")
    }

    #[test]
    fn the_line_has_every_field_in_its_order() {
        let ask = Ask { n: 4, threads: 2, p: None, beside: 0 };
        let some = one(7);
        let line = Outcome::timed(4, Duration::from_nanos(10)).with(some).line("call", &ask);
        let text = serde_json::to_string(&line).expect("JSON");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            text,
            format!(
                "{{\"peer\":\"atropos\",\"version\":\"atropos {version}\",\"workload\":\"call\",\"n\":4,\"threads\":2,\
                 \"seconds\":1e-8,\"per_op_ns\":2.5,\"p50_ns\":7,\"p99_ns\":7,\"p999_ns\":7,\"bytes_per_process\":null}}"
            )
        );
        assert_eq!(serde_json::from_str::<Line>(&text).expect("read again"), line);
    }

    #[test]
    fn the_figure_matches_the_kind_of_workload() {
        let ask = Ask { n: 1000, threads: 1, p: None, beside: 0 };
        let bytes = Outcome::bytes(1000, 512.0).line("idle_memory", &ask);
        assert_eq!((bytes.seconds, bytes.figure()), (None, Some((512.0, "B"))));
        let some = one(9);
        let fire = Outcome::timed(1, Duration::from_secs(1)).with(some).not_per_operation().line("timer_fire", &ask);
        assert_eq!((fire.per_op_ns, fire.figure()), (None, Some((9.0, "ns p99"))));
    }
}
