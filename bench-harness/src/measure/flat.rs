//! The page's part about growth: a plot for each workload, and a table of the flat and growing
//! ones.

use std::fmt::Write as _;

use anyhow::Result;

use super::growth::{Curve, Verdict, WITHIN, curves};
use super::machine::Machine;
use super::plot;
use super::store::{Record, Why};
use super::table::short;
use crate::workloads::ALL;

/// A parameter that makes a workload larger.
struct Kind {
    why: Why,
    title: &'static str,
    across: &'static str,
    text: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        why: Why::GrowthOfN,
        title: "Growth with how much is done",
        across: "done in all (N)",
        text: "From a hundredth of each workload's size to its full size.",
    },
    Kind {
        why: Why::GrowthOfP,
        title: "Growth with the number of live processes",
        across: "live processes",
        text: "If the processes take part, all of them are visited. Once they outgrow a cache, each visit is a miss: \
               the vertical lines show where they fill it. If a workload has only a few processes, more of them wait \
               beside it, and should not affect any step.",
    },
];

/// Returns the page's sections about both kinds of growth.
pub(super) fn section(records: &[Record], threads: &[usize], machine: Option<&Machine>, key: &str) -> Result<String> {
    let mut text = String::new();
    for kind in &KINDS {
        let curves = curves(records, kind.why, threads);
        if curves.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "<h2>{}</h2><p>{} The dashed line is {WITHIN} times the cheapest point: a curve that stays under it is flat. \
             Microseconds that are spent once (a core's wake-up, the poll for the end) make small sizes expensive: a curve that \
             falls does not grow.</p>{key}",
            kind.title, kind.text
        );
        text.push_str("<div class=\"small\">");
        for workload in ALL {
            let of_it: Vec<(usize, &Curve)> = curves
                .iter()
                .filter(|curve| curve.name == workload.name)
                .filter_map(|curve| Some((threads.iter().position(|t| *t == curve.threads)?, curve)))
                .collect();
            if let Some((_, last)) = of_it.last() {
                let caches = if kind.why == Why::GrowthOfP { filled(last, machine) } else { Vec::new() };
                text.push_str(&plot::growth(kind.across, &of_it, &caches)?);
            }
        }
        let _ = write!(text, "</div>{}{}", summary(&curves), table(&curves, machine));
    }
    Ok(text)
}

/// Returns how many processes of a workload fill each cache.
fn filled(curve: &Curve, machine: Option<&Machine>) -> Vec<(&'static str, f64)> {
    let each = curve.bytes_each().filter(|each| curve.take_part && *each > 0.0);
    let Some((machine, each)) = machine.zip(each) else { return Vec::new() };
    let caches = [("L2", machine.l2), ("L3", machine.l3)];
    caches.into_iter().filter_map(|(name, bytes)| Some((name, bytes? as f64 / each))).collect()
}

/// Returns a sentence with the numbers of flat, falling and growing curves.
fn summary(curves: &[Curve]) -> String {
    let count = |verdict| curves.iter().filter(|curve| curve.verdict() == verdict).count();
    let mut grow: Vec<String> = Vec::new();
    for workload in ALL {
        let grows = |curve: &&Curve| curve.name == workload.name && curve.verdict() == Verdict::Grows;
        let on: Vec<String> = curves.iter().filter(grows).map(|curve| curve.threads.to_string()).collect();
        if !on.is_empty() {
            grow.push(format!("{} ({})", workload.name, on.join(" and ")));
        }
    }
    format!(
        "<p>Of {} curves {} are flat, {} fall, and {} grow{}{}.</p>",
        curves.len(),
        count(Verdict::Flat),
        count(Verdict::Falls),
        count(Verdict::Grows),
        if grow.is_empty() { "" } else { ", by workload and threads: " },
        grow.join(", ")
    )
}

/// Returns a table of costs by size, ratios and verdicts.
fn table(curves: &[Curve], machine: Option<&Machine>) -> String {
    let columns = curves.iter().map(|curve| curve.points.len()).max().unwrap_or(0);
    let mut text = format!(
        "<div class=\"wide\"><table><tr><th class=\"l\">workload</th><th>threads</th><th class=\"l\" colspan=\"{columns}\">cost, \
         from the smallest size to the largest</th><th>largest / smallest</th><th>dearest / cheapest</th><th>bytes of one</th>\
         <th>bytes of the largest</th><th>dearest / cheapest within L2</th><th class=\"l\">verdict</th></tr>"
    );
    for curve in curves {
        let _ = write!(text, "<tr><td class=\"l\">{}</td><td>{}</td>", curve.name, curve.threads);
        let cheapest = curve.points.iter().position(|point| point.cost <= curve.lowest()).unwrap_or(0);
        for place in 0..columns {
            let cell = curve.points.get(place).map(|point| {
                let limit = if place > cheapest && point.cost > curve.limit() { " class=\"bad\"" } else { "" };
                format!("<td{limit} title=\"{}\">{}</td>", point.size, short(point.cost))
            });
            text.push_str(&cell.unwrap_or_else(|| "<td></td>".to_owned()));
        }
        let (each, set, fits) = working_set(curve, machine);
        let (class, verdict) = match curve.verdict() {
            Verdict::Flat => ("good", "flat"),
            Verdict::Falls => ("mild", "falls"),
            Verdict::Grows if fits.as_ref().is_some_and(|(flat, _)| *flat) => ("mild", "flat in L2, grows beyond"),
            Verdict::Grows => ("bad", "grows"),
        };
        let fits = fits.map_or("–".to_owned(), |(_, ratio)| ratio);
        let _ = write!(
            text,
            "<td>{:.2}</td><td>{:.2}</td><td>{each}</td><td>{set}</td><td>{fits}</td><td class=\"l {class}\">{verdict}</td></tr>",
            curve.last_to_first(),
            curve.ratio()
        );
    }
    text + "</table></div>"
}

/// Returns the memory of one process and of all of them, and the cost ratio over the sizes that fit
/// into the level 2 cache: `true` if it is flat, and the ratio as text.
fn working_set(curve: &Curve, machine: Option<&Machine>) -> (String, String, Option<(bool, String)>) {
    let Some(each) = curve.bytes_each().filter(|_| curve.take_part) else {
        return ("–".into(), if curve.take_part { "–" } else { "a few processes" }.into(), None);
    };
    let all = curve.points.last().map_or(0.0, |last| last.processes as f64 * each);
    let ratio = machine.and_then(|machine| machine.l2).and_then(|bytes| curve.ratio_within(bytes));
    let fits = ratio.map(|ratio| (ratio <= WITHIN, format!("{ratio:.2}")));
    (format!("{each:.0} B"), format!("{}B", short(all)), fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::growth::Point;

    fn machine() -> Machine {
        let (l2, l3) = (Some(1_000_000), Some(32_000_000));
        Machine { model: "a".into(), cpus: 2, l2, l3, speed_up: 2.0, load: 0.0, hand_over_ns: 50.0 }
    }

    fn curve(name: &'static str, take_part: bool, costs: &[f64]) -> Curve {
        let point = |(i, cost): (usize, &f64)| {
            let processes = 10_u64.pow(i as u32 + 2);
            Point { size: processes, cost: *cost, processes, peak: Some(1_000_000 + 500 * processes) }
        };
        Curve { name, take_part, threads: 1, unit: "ns", points: costs.iter().enumerate().map(point).collect() }
    }

    #[test]
    fn a_table_distinguishes_a_cache_from_growth() {
        let of = |costs: &[f64]| table(&[curve("big", true, costs)], Some(&machine()));
        assert!(of(&[10.0, 11.0, 40.0, 90.0]).contains("flat in L2, grows beyond"));
        assert!(of(&[10.0, 20.0, 40.0, 90.0]).contains(">grows<"));
        assert!(of(&[10.0, 11.0, 12.0, 9.0]).contains(">flat<"));
        assert!(of(&[40.0, 11.0, 12.0, 9.0]).contains(">falls"));
        // 100,000 processes of 500 bytes.
        assert!(of(&[10.0, 11.0, 12.0, 9.0]).contains("<td>500 B</td><td>50.0 MB</td><td>1.10</td>"));
        let beside = table(&[curve("ping_pong", false, &[10.0, 11.0, 40.0, 90.0])], Some(&machine()));
        assert!(beside.contains("a few processes") && beside.contains(">grows<"));
    }

    #[test]
    fn a_cache_is_full_at_its_size_over_bytes_per_process() {
        let caches = filled(&curve("big", true, &[10.0, 11.0, 40.0]), Some(&machine()));
        assert_eq!(caches, [("L2", 2_000.0), ("L3", 64_000.0)]);
        assert!(filled(&curve("ping_pong", false, &[10.0, 11.0, 40.0]), Some(&machine())).is_empty());
    }

    #[test]
    fn the_summary_names_growing_workloads() {
        let text = summary(&[curve("big", true, &[1.0, 9.0]), curve("ring", true, &[1.0, 1.0])]);
        assert_eq!(text, "<p>Of 2 curves 1 are flat, 0 fall, and 1 grow, by workload and threads: big (1).</p>");
    }
}
