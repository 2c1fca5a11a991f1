//! The page: the results as tables and plots in one self-contained file.
//!
//! Its parts are: the cost of one operation, the throughput, latencies, the gain from a second
//! thread (here), and growth (`flat`).

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::flat;
use super::machine::Machine;
use super::plot::{self, Bars, Coloured};
use super::store::{Distribution, Record, Store};
use super::table::{median, short, speed_up, threads, time};
use crate::workloads::{ALL, Line};

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:980px;margin:2em auto;padding:0 1em;color:#222}\
    h2{margin-top:2em;border-top:1px solid #ccc;padding-top:.6em}\
    table{border-collapse:collapse;font-size:13px;margin:.6em 0}td,th{padding:.15em .6em;border-bottom:1px solid #ddd;\
    text-align:right;white-space:nowrap}th{background:#f5f5f5;white-space:normal;vertical-align:bottom}\
    .l{text-align:left}.w{white-space:normal;text-align:left}.good{color:#006b45}.bad{color:#b03000;font-weight:bold}\
    .mild{color:#777}.small{display:flex;flex-wrap:wrap;gap:6px}svg{max-width:100%}code{background:#f3f3f3}\
    .key{display:inline-block;width:1em;height:.8em;margin:0 .4em 0 1em}.wide{overflow-x:auto}";

/// The expected speed-up of two threads for parallel work.
const SPEED_UP: f64 = 1.6;

/// The load average before the measurements above which the machine counts as busy.
const BUSY: f64 = 0.7;

/// The parallelism of each workload, which limits its speed-up.
const AT_ONCE: [(&str, &str); 19] = [
    (
        "spawn",
        "one process spawns, the children run on any core: spawning is serial, and a child's memory moves between cores",
    ),
    ("ping_pong", "one message is in transit: one process at a time"),
    ("ring", "one message is in transit: one process at a time"),
    ("fan_in", "one receiver, and both cores write its mailbox's cache line"),
    ("fan_out", "one sender, whose sends are serial; the receivers run on any core"),
    ("big", "all of the thousand processes"),
    ("call", "one server, and 64 clients beside it"),
    ("skynet", "the tree's branches"),
    ("monitor_churn", "one process"),
    ("link_churn", "one process"),
    ("down_fanout", "one death notifies all watchers, which run on any core"),
    ("down_collect", "one watcher and one killer; the others die on any core"),
    ("cascade_chain", "each death follows the one before it: one process at a time"),
    ("cascade_star", "one death notifies all linked processes, which die on any core"),
    ("restart_one", "a supervisor and its child, in turn"),
    ("restart_all", "a supervisor, which stops and starts one child after the other"),
    ("timer_churn", "one process"),
    ("selective_receive", "a caller and a server, in turn"),
    ("idle_memory", "nothing runs"),
];

/// Returns a number of threads in words.
pub fn label(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the legend: the colour of each number of threads.
fn key(threads: &[usize]) -> String {
    let mut text = String::from("<p>");
    for (number, threads) in threads.iter().enumerate() {
        let colour = plot::css(number);
        let _ = write!(text, "<span class=\"key\" style=\"background:{colour}\"></span>{}", label(*threads));
    }
    text + "</p>"
}

/// Returns the medians, as rows.
fn rows(records: &[Record], threads: &[usize]) -> String {
    let mut text =
        String::from("<div class=\"wide\"><table><tr><th class=\"l\">workload</th><th class=\"l\">one of it</th>");
    for threads in threads {
        let _ = write!(text, "<th>{}</th><th>p50</th><th>p99</th><th>p99.9</th>", label(*threads));
    }
    text.push_str("</tr>");
    for workload in ALL.iter().filter(|it| threads.iter().any(|t| median(records, it.name, *t).is_some())) {
        let (name, what) = (workload.name, escape(workload.what));
        let _ = write!(text, "<tr><td class=\"l\">{name}</td><td class=\"l\">{what}</td>");
        for threads in threads {
            let line = median(records, workload.name, *threads);
            let cost = line.and_then(|line| line.per_op_ns.map(|ns| format!("{} ns", short(ns))));
            let bytes = line.and_then(|line| line.bytes_per_process.map(|bytes| format!("{} B", short(bytes))));
            let tail = |of: fn(&Line) -> Option<u64>| line.and_then(of).map(|ns| time(ns as f64)).unwrap_or_default();
            let (p50, p99, p999) = (tail(|line| line.p50_ns), tail(|line| line.p99_ns), tail(|line| line.p999_ns));
            let cost = cost.or(bytes).unwrap_or_default();
            let _ = write!(text, "<td>{cost}</td><td>{p50}</td><td>{p99}</td><td>{p999}</td>");
        }
        text.push_str("</tr>");
    }
    text + "</table></div>"
}

fn throughput(records: &[Record], threads: &[usize]) -> Result<String> {
    let rate = |line: &Line| line.per_op_ns.filter(|_| line.is_throughput()).map(|ns| 1e9 / ns);
    let of = |name: &str, t: usize| median(records, name, t).and_then(rate);
    let names: Vec<&str> = ALL.iter().map(|workload| workload.name).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| threads.iter().any(|t| of(name, *t).is_some())).collect();
    let series: Vec<Vec<_>> = threads.iter().map(|t| names.iter().map(|name| of(name, *t)).collect()).collect();
    let across = "operations in a second";
    plot::bars(&Bars { across, names: &names, series: &series, logarithmic: true, goal: None })
}

/// Returns the section about the speed-up of the most threads over one.
fn second_thread(records: &[Record], threads: &[usize], machine: Option<&Machine>) -> Result<Option<String>> {
    let Some(most) = threads.last().copied().filter(|most| *most > 1 && threads.contains(&1)) else { return Ok(None) };
    let all: Vec<(&str, f64)> =
        ALL.iter().filter_map(|it| Some((it.name, speed_up(records, it.name, most)?))).collect();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let series = [all.iter().map(|(_, times)| Some(*times)).collect()];
    let across = format!("times as much on {} as on one", label(most));
    let what = Bars { across: &across, names: &names, series: &series, logarithmic: false, goal: Some(SPEED_UP) };
    let mut text = format!("<h2>What {} bring</h2>", label(most));
    if let Some(machine) = machine {
        let _ = write!(
            text,
            "<p>The machine itself: two threads of arithmetic that share no data do {:.2} times as much as one, and a line of \
             memory that one core has written reaches the other after {:.0} ns. A factor above {SPEED_UP} is as expected. For \
             a smaller one, the last column names the parallelism that the workload allows. A message to the other core bears the \
             transfer time in addition to its cost on one core.</p>",
            machine.speed_up, machine.hand_over_ns
        );
    }
    text.push_str(&plot::bars(&what)?);
    text.push_str(
        "<table><tr><th class=\"l\">workload</th><th>one thread</th><th>most</th><th>times</th>\
         <th class=\"l\">what can run at once</th></tr>",
    );
    for (name, times) in all {
        let cost =
            |threads| median(records, name, threads).and_then(|line| line.per_op_ns).map(short).unwrap_or_default();
        let at_once = AT_ONCE.iter().find(|(other, _)| *other == name).map_or("", |(_, at_once)| *at_once);
        let class = if times >= SPEED_UP { "good" } else { "mild" };
        let _ = write!(
            text,
            "<tr><td class=\"l\">{name}</td><td>{} ns</td><td>{} ns</td><td class=\"{class}\">{times:.2}</td>\
             <td class=\"w\">{at_once}</td></tr>",
            cost(1),
            cost(most)
        );
    }
    Ok(Some(text + "</table>"))
}

/// Returns the latest distribution of each workload on each number of threads, drawn by workload.
fn latencies(all: &[Distribution], threads: &[usize]) -> Result<String> {
    let mut text = String::from("<div class=\"small\">");
    for workload in ALL {
        let line = |(number, threads): (usize, &usize)| -> Option<Coloured> {
            let is_it = |one: &&Distribution| one.workload == workload.name && one.threads == *threads;
            let points = &all.iter().rev().find(is_it)?.points;
            Some((number, points.iter().map(|(part, ns)| (*part, *ns as f64)).collect()))
        };
        let lines: Vec<Coloured> = threads.iter().enumerate().filter_map(line).collect();
        if !lines.is_empty() {
            text.push_str(&plot::distribution(&format!("{}: {}", workload.name, workload.what), &lines)?);
        }
    }
    Ok(text + "</div>")
}

fn head(records: &[Record], machine: Option<&Machine>, failed: &[String]) -> String {
    let version = records.first().map(|record| record.line.version.clone()).unwrap_or_default();
    let cache = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
    let on = machine.map_or(String::new(), |it| {
        format!(", on {}, {} CPUs, L2 {}, L3 {}", escape(&it.model), it.cpus, cache(it.l2), cache(it.l3))
    });
    let mut text = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Atropos: measurements</title>\
         <style>{STYLE}</style></head><body><h1>Atropos: measurements</h1><p>{}{on}. {} runs, each in a process of its own; a \
         figure is the median of its runs. Compare times only between runs on one machine, made at one time.</p>",
        escape(&version),
        records.len()
    );
    if let Some(busy) = machine.filter(|machine| machine.load >= BUSY) {
        let _ = write!(
            text,
            "<p class=\"bad\">Before the first run the load average was {:.1}: the machine was not idle, and long runs \
             shared it with other programs. Neither growth nor speed-up can be trusted.</p>",
            busy.load
        );
    }
    if !failed.is_empty() {
        let list: String = failed.iter().map(|what| format!("<li>{}</li>", escape(what))).collect();
        let _ = write!(text, "<p class=\"bad\">These runs failed, and are in no figure:</p><ul>{list}</ul>");
    }
    text
}

/// Returns the page as text.
fn page(
    records: &[Record],
    distributions: &[Distribution],
    machine: Option<&Machine>,
    failed: &[String],
) -> Result<String> {
    let threads = threads(records);
    let key = key(&threads);
    let mut page = head(records, machine, failed);
    let _ = write!(page, "<h2>What one operation costs</h2>{}", rows(records, &threads));
    let _ = write!(page, "<h2>How much is done in a second</h2>{key}{}", throughput(records, &threads)?);
    if !distributions.is_empty() {
        let _ = write!(page, "<h2>Latencies</h2>{key}{}", latencies(distributions, &threads)?);
    }
    page.push_str(&second_thread(records, &threads, machine)?.unwrap_or_default());
    page.push_str(&flat::section(records, &threads, machine, &key)?);
    page.push_str("</body></html>\n");
    Ok(page)
}

/// Draws the page from the folder's results, with a list of the failed runs.
pub fn draw(store: &Store, failed: &[String]) -> Result<()> {
    let records = store.records()?;
    ensure!(!records.is_empty(), "there are no results to draw");
    let text = page(&records, &store.distributions()?, store.machine()?.as_ref(), failed)?;
    std::fs::write(store.page(), text)?;
    println!("{}", store.page().display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::store::Why;
    use crate::measure::table::tests::record;

    #[test]
    fn every_throughput_workload_has_its_parallelism() {
        for workload in ALL.iter().filter(|it| !matches!(it.name, "timer_fire" | "hog_latency")) {
            assert!(AT_ONCE.iter().any(|(name, _)| *name == workload.name), "{}", workload.name);
        }
    }

    #[test]
    fn a_page_has_all_its_parts() {
        let mut records = vec![record(30.0, Why::Figure)];
        for (n, cost) in [(100, 9.0), (10_000, 40.0)] {
            let mut grown = record(cost, Why::GrowthOfN);
            grown.line.n = n;
            records.push(grown);
        }
        let mut one_thread = record(60.0, Why::Figure);
        one_thread.line.threads = 1;
        records.push(one_thread);
        let latencies = [Distribution { workload: "call".into(), threads: 2, points: vec![(0.0, 5), (0.99, 900)] }];
        let text = page(&records, &latencies, None, &["x < y".into()]).expect("a page");
        for part in ["ring", "Latencies", "call: ", "What 2 threads bring", ">2.00<", "4.44", "x &lt; y", "grows"] {
            assert!(text.contains(part), "{part} is not on the page");
        }
    }
}
