//! The table of results: the median of each workload on each number of threads.

use std::fmt::Write as _;

use super::store::{Record, Why};
use crate::workloads::{ALL, Line};

/// Returns the numbers of threads in the results, in order.
pub fn threads(records: &[Record]) -> Vec<usize> {
    let mut all: Vec<usize> = records.iter().map(|record| record.line.threads).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Returns the median of a workload's runs for its figure.
pub fn median<'r>(records: &'r [Record], workload: &str, threads: usize) -> Option<&'r Line> {
    let mut lines: Vec<&Line> = records
        .iter()
        .filter(|record| record.why == Why::Figure)
        .map(|record| &record.line)
        .filter(|line| line.workload == workload && line.threads == threads)
        .collect();
    let figure = |line: &Line| line.figure().map_or(f64::MAX, |(figure, _)| figure);
    lines.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    lines.get(lines.len() / 2).copied()
}

/// Returns the median of some numbers.
pub fn middle(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// Returns the throughput on the most threads over that on one, for workloads with a cost per
/// operation.
pub fn speed_up(records: &[Record], workload: &str, most: usize) -> Option<f64> {
    let cost = |threads| median(records, workload, threads).filter(|line| line.is_throughput())?.per_op_ns;
    Some(cost(1)? / cost(most)?)
}

/// Returns a number in short form.
pub fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1} G", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e5 => format!("{:.0} k", n / 1e3),
        n if n >= 100.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

/// Returns nanoseconds in short form.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        ns if ns >= 1e4 => format!("{:.0} µs", ns / 1e3),
        ns if ns >= 1e3 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

fn cell(line: Option<&Line>) -> String {
    let Some((figure, unit)) = line.and_then(Line::figure) else { return String::new() };
    let tail = line.and_then(|line| line.p99_ns).filter(|_| unit == "ns");
    let tail = tail.map(|ns| format!(", p99 {}", time(ns as f64)));
    format!("{} {unit}{}", short(figure), tail.unwrap_or_default())
}

/// Returns the table as Markdown.
pub fn markdown(records: &[Record]) -> String {
    let threads = threads(records);
    let mut text = String::from("| workload | what one is |");
    for threads in &threads {
        let _ = write!(text, " {threads} thread{} |", if *threads == 1 { "" } else { "s" });
    }
    let _ = writeln!(text, "\n| --- | --- |{}", " ---: |".repeat(threads.len()));
    for workload in ALL {
        let cells: Vec<String> = threads.iter().map(|t| cell(median(records, workload.name, *t))).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            let _ = writeln!(text, "| {} | {} | {} |", workload.name, workload.what, cells.join(" | "));
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::measure) fn record(per_op_ns: f64, why: Why) -> Record {
        let line = Line {
            peer: "atropos".into(),
            version: String::new(),
            workload: "ring".into(),
            n: 1,
            threads: 2,
            seconds: Some(1.0),
            per_op_ns: Some(per_op_ns),
            p50_ns: None,
            p99_ns: None,
            p999_ns: None,
            bytes_per_process: None,
        };
        Record { why, p: None, beside: 0, peak: None, line }
    }

    #[test]
    fn the_median_is_of_the_figures_only() {
        let records: Vec<Record> = [5.0, 1.0, 3.0]
            .map(|ns| record(ns, Why::Figure))
            .into_iter()
            .chain([record(0.1, Why::GrowthOfN), record(0.2, Why::GrowthOfP)])
            .collect();
        assert_eq!(median(&records, "ring", 2).and_then(|line| line.per_op_ns), Some(3.0));
        assert!(median(&records, "ring", 1).is_none());
        assert_eq!(middle([2.0, 3.0, 1.0].into_iter()), Some(2.0));
        assert_eq!(middle(std::iter::empty()), None);
        assert!(markdown(&records).contains("| ring | a hop of a token in a ring | 3.0 ns |"));
    }

    #[test]
    fn only_throughput_workloads_have_a_speed_up() {
        let on = |workload: &str, threads, ns| {
            let mut record = record(ns, Why::Figure);
            (record.line.workload, record.line.threads) = (workload.into(), threads);
            record
        };
        let records = [on("big", 1, 100.0), on("big", 2, 50.0), on("hog_latency", 1, 9.0), on("hog_latency", 2, 9.0)];
        assert_eq!(speed_up(&records, "big", 2), Some(2.0));
        assert_eq!((speed_up(&records, "hog_latency", 2), speed_up(&records, "ring", 2)), (None, None));
    }

    #[test]
    fn numbers_are_short() {
        let shown = [1.0, 99.9, 100.4, 99_999.0, 100_000.0, 1_234_567.0, 2e9].map(short);
        let times = [31.0, 1_240.0, 97_400.0, 4.23e6].map(time);
        assert_eq!(times, ["31 ns", "1.2 µs", "97 µs", "4.2 ms"]);
        assert_eq!(shown, ["1.0", "99.9", "100", "99999", "100 k", "1.2 M", "2.0 G"]);
    }
}
