//! The page: what was measured, as tables and plots in one file that needs nothing else.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::plot::{self, Series};
use super::store::{Distribution, Record, Store, Why};
use super::table::{median, short, threads};
use crate::workloads::{ALL, Line};

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}\
    table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}\
    td:first-child,td:nth-child(2),th:first-child,th:nth-child(2){text-align:left}\
    .small{display:flex;flex-wrap:wrap;gap:8px}svg{max-width:100%}code{background:#f3f3f3}";

fn label(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": a machine");
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, {cpus} CPUs", model.trim_start_matches(['\t', ' ', ':']))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The medians, as rows.
fn rows(records: &[Record], threads: &[usize]) -> String {
    let mut text = String::from("<table><tr><th>workload</th><th>one of it</th>");
    for threads in threads {
        let _ = write!(text, "<th>{}</th><th>p50</th><th>p99</th><th>p99.9</th>", label(*threads));
    }
    text.push_str("</tr>");
    let micro = |ns: Option<u64>| ns.map(|ns| format!("{} µs", short(ns as f64 / 1e3))).unwrap_or_default();
    for workload in ALL {
        let _ = write!(text, "<tr><td>{}</td><td>{}</td>", workload.name, escape(workload.what));
        for threads in threads {
            let line = median(records, workload.name, *threads);
            let cost = line.and_then(|line| line.per_op_ns.map(|ns| format!("{} ns", short(ns))));
            let bytes = line.and_then(|line| line.bytes_per_process.map(|bytes| format!("{} B", short(bytes))));
            let tail = |of: fn(&Line) -> Option<u64>| micro(line.and_then(of));
            let (p50, p99, p999) = (tail(|line| line.p50_ns), tail(|line| line.p99_ns), tail(|line| line.p999_ns));
            let _ = write!(
                text,
                "<td>{}</td><td>{p50}</td><td>{p99}</td><td>{p999}</td>",
                cost.or(bytes).unwrap_or_default()
            );
        }
        text.push_str("</tr>");
    }
    text + "</table>"
}

fn throughput(records: &[Record], threads: &[usize]) -> Result<String> {
    let rate = |line: &Line| line.per_op_ns.map(|ns| 1e9 / ns);
    let names: Vec<&str> = ALL
        .iter()
        .map(|workload| workload.name)
        .filter(|name| threads.iter().any(|t| median(records, name, *t).and_then(rate).is_some()))
        .collect();
    let series: Vec<Series<Option<f64>>> = threads
        .iter()
        .map(|t| (label(*t), names.iter().map(|name| median(records, name, *t).and_then(rate)).collect()))
        .collect();
    plot::bars(&names, &series)
}

/// A small plot for each workload that was run with growing sizes.
fn growths(records: &[Record], why: Why, across: &str, at: fn(&Record) -> Option<u64>) -> Result<String> {
    let mut text = String::from("<div class=\"small\">");
    for workload in ALL {
        let mut unit = "";
        let mut series: Vec<Series<(f64, f64)>> = Vec::new();
        for threads in threads(records) {
            let of_it = |record: &&Record| {
                record.why == why && record.line.workload == workload.name && record.line.threads == threads
            };
            let mut points: Vec<(f64, f64)> = Vec::new();
            for record in records.iter().filter(of_it) {
                if let (Some(x), Some((y, counted_in))) = (at(record), record.line.figure()) {
                    unit = counted_in;
                    // The latest run of a size is what counts.
                    points.retain(|(other, _)| *other != x as f64);
                    points.push((x as f64, y));
                }
            }
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !points.is_empty() {
                series.push((label(threads), points));
            }
        }
        if series.iter().any(|(_, points)| points.len() > 1) {
            text.push_str(&plot::growth(workload.name, across, unit, &series)?);
        }
    }
    Ok(text + "</div>")
}

/// The latest of each workload on each number of threads.
fn latest(all: Vec<Distribution>) -> Vec<Distribution> {
    let mut kept: Vec<Distribution> = Vec::new();
    for one in all {
        kept.retain(|other| (&other.workload, other.threads) != (&one.workload, one.threads));
        kept.push(one);
    }
    kept
}

/// Draws the page of what is in the folder.
pub fn draw(store: &Store) -> Result<()> {
    let records = store.records()?;
    ensure!(!records.is_empty(), "there are no results to draw");
    let threads = threads(&records);
    let version = records.first().map(|record| record.line.version.clone()).unwrap_or_default();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Atropos: measurements</title>\
         <style>{STYLE}</style><h1>Atropos: measurements</h1><p>{}, on {}. {} runs; a figure is the median of its runs. \
         Times say little by themselves: compare runs on one machine, made at one time.</p>",
        escape(&version),
        escape(&machine()),
        records.len()
    );
    let keys: Vec<String> = threads.iter().map(|t| label(*t)).collect();
    let _ = write!(page, "<h2>What one operation costs</h2>{}", rows(&records, &threads));
    let _ = write!(page, "<h2>How much is done in a second</h2>{}", throughput(&records, &threads)?);
    let distributions = latest(store.distributions()?);
    if !distributions.is_empty() {
        let _ = write!(page, "<h2>Latencies</h2>{}", plot::distributions(&distributions)?);
    }
    let _ = write!(
        page,
        "<h2>Growth with how much is done</h2><p>A flat line is what is wanted: the cost of one does not depend on how many \
         there are. Colours, in their order: {}.</p>{}",
        keys.join(", "),
        growths(&records, Why::GrowthOfN, "n", |record| Some(record.line.n))?
    );
    let _ = write!(
        page,
        "<h2>Growth with the number of processes</h2>{}",
        growths(&records, Why::GrowthOfP, "processes", |record| record.p)?
    );
    page.push_str("</html>\n");
    std::fs::write(store.page(), page)?;
    println!("{}", store.page().display());
    Ok(())
}
