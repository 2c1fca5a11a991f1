//! [`Curve`]: how the cost of one operation changes when the workload is larger.
//!
//! A point is the median of its runs. A curve is flat if its most expensive point is within
//! [`WITHIN`] times its cheapest. A curve can be steeper for two reasons, which the page
//! distinguishes. If small sizes are expensive, fixed costs dominate (a core's wake-up, the poll
//! for the end): that is no growth. If large sizes are expensive, either each operation does more
//! work, or the memory of all processes has outgrown a cache. So the curve also gives its ratio
//! over the sizes that fit.

use super::store::{Record, Why};
use super::table::middle;
use crate::workloads::{ALL, Crowd, Workload};

/// The maximum ratio of the most expensive point to the cheapest in a flat curve.
pub const WITHIN: f64 = 1.5;

/// The measurements of one size.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// The number of operations, or of live processes.
    pub size: u64,
    /// The median cost of one operation.
    pub cost: f64,
    /// The number of processes that take part.
    pub processes: u64,
    /// The median of the maximum resident memory.
    pub peak: Option<u64>,
}

/// A workload at growing sizes, on one number of threads.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// The workload's name.
    pub name: &'static str,
    /// `true` if the processes that make the workload larger take part in it; `false` if they only
    /// wait.
    pub take_part: bool,
    /// The number of scheduler threads.
    pub threads: usize,
    /// The unit of a cost.
    pub unit: &'static str,
    /// The points, by size.
    pub points: Vec<Point>,
}

/// The shape of a curve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All points are within 1.5 times the cheapest.
    Flat,
    /// Small sizes are expensive: fixed costs dominate.
    Falls,
    /// Large sizes are expensive.
    Grows,
}

impl Curve {
    fn of(workload: &'static Workload, threads: usize, records: &[&Record], size: fn(&Record) -> u64) -> Option<Self> {
        let mut sizes: Vec<u64> = records.iter().map(|record| size(record)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let unit = records.first()?.cost()?.1;
        let point = |at: u64| {
            let runs = || records.iter().filter(|record| size(record) == at);
            let cost = middle(runs().filter_map(|record| record.cost()).map(|(cost, _)| cost))?;
            let peak = middle(runs().filter_map(|record| record.peak).map(|peak| peak as f64));
            Some(Point { size: at, cost, processes: runs().next()?.processes(), peak: peak.map(|peak| peak as u64) })
        };
        let points: Vec<Point> = sizes.into_iter().filter_map(point).collect();
        let take_part = !matches!(workload.crowd, Crowd::Few(_));
        (points.len() > 1).then_some(Self { name: workload.name, take_part, threads, unit, points })
    }

    fn costs(&self) -> impl Iterator<Item = f64> {
        self.points.iter().map(|point| point.cost)
    }

    /// Returns the lowest cost.
    pub fn lowest(&self) -> f64 {
        self.costs().fold(f64::MAX, f64::min)
    }

    /// Returns the limit that no point of a flat curve exceeds.
    pub fn limit(&self) -> f64 {
        self.lowest() * WITHIN
    }

    /// Returns the highest cost over the lowest.
    pub fn ratio(&self) -> f64 {
        self.costs().fold(0.0, f64::max) / self.lowest()
    }

    /// Returns the largest size's cost over the smallest size's.
    pub fn last_to_first(&self) -> f64 {
        match (self.points.first(), self.points.last()) {
            (Some(first), Some(last)) => last.cost / first.cost,
            _ => 1.0,
        }
    }

    /// Returns the curve's shape: flat, falling or growing.
    pub fn verdict(&self) -> Verdict {
        let last = self.points.last().map_or(0.0, |last| last.cost);
        match self.ratio() {
            ratio if ratio <= WITHIN => Verdict::Flat,
            _ if last <= self.limit() => Verdict::Falls,
            _ => Verdict::Grows,
        }
    }

    /// Returns the memory of one process in bytes, with all that it owns. It is computed from the
    /// growth of memory between the smallest and the largest size, if that is large enough.
    pub fn bytes_each(&self) -> Option<f64> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let more = last.processes.checked_sub(first.processes).filter(|more| *more >= 5_000)?;
        Some(last.peak?.checked_sub(first.peak?)? as f64 / more as f64)
    }

    /// Returns the ratio over the sizes whose processes fit into this many bytes, if there are at
    /// least two.
    pub fn ratio_within(&self, bytes: u64) -> Option<f64> {
        let each = self.bytes_each()?;
        let fits = |point: &&Point| point.processes as f64 * each <= bytes as f64;
        let some = Self { points: self.points.iter().filter(fits).copied().collect(), ..self.clone() };
        (some.points.len() > 1).then(|| some.ratio())
    }
}

/// Returns the curves of all workloads, in their order, by threads.
pub fn curves(records: &[Record], why: Why, threads: &[usize]) -> Vec<Curve> {
    let size: fn(&Record) -> u64 = match why {
        Why::GrowthOfP => |record| record.processes() + record.beside,
        _ => |record| record.line.n,
    };
    let mut all = Vec::new();
    for workload in ALL {
        for threads in threads {
            let of_it = |record: &&Record| {
                record.why == why && record.line.workload == workload.name && record.line.threads == *threads
            };
            let records: Vec<&Record> = records.iter().filter(of_it).collect();
            all.extend(Curve::of(workload, *threads, &records, size));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::table::tests::record;

    fn grown(name: &str, n: u64, cost: f64, p: Option<u64>, beside: u64, peak: u64) -> Record {
        let mut record = record(cost, Why::GrowthOfP);
        (record.line.workload, record.line.n, record.p) = (name.into(), n, p);
        (record.beside, record.peak) = (beside, Some(peak));
        record
    }

    fn curve(costs: &[f64]) -> Curve {
        let records: Vec<Record> = costs
            .iter()
            .enumerate()
            .map(|(i, cost)| grown("ring", 5, *cost, Some(10_u64.pow(i as u32 + 2)), 0, 1_000_000))
            .collect();
        curves(&records, Why::GrowthOfP, &[2]).remove(0)
    }

    #[test]
    fn a_flat_curve_stays_within_1_5_times() {
        let flat = curve(&[10.0, 14.9, 12.0]);
        assert_eq!((flat.verdict(), flat.ratio(), flat.lowest()), (Verdict::Flat, 1.49, 10.0));
        assert_eq!(curve(&[30.0, 11.0, 10.0]).verdict(), Verdict::Falls);
        assert_eq!(curve(&[10.0, 10.0, 15.1]).verdict(), Verdict::Grows);
        // Expensive in between and at the end: it grows, whatever the first point costs.
        assert_eq!(curve(&[20.0, 10.0, 16.0]).verdict(), Verdict::Grows);
        assert_eq!(curve(&[10.0, 10.0, 20.0]).last_to_first(), 2.0);
    }

    #[test]
    fn a_point_is_the_median_of_its_runs() {
        let runs = [9.0, 100.0, 10.0].map(|cost| grown("ring", 5, cost, Some(100), 0, 1));
        let more = grown("ring", 5, 11.0, Some(1000), 0, 1);
        let curves = curves(&[&runs[..], &[more]].concat(), Why::GrowthOfP, &[1, 2]);
        assert_eq!(curves.len(), 1);
        assert_eq!(
            curves[0].points.iter().map(|point| (point.size, point.cost)).collect::<Vec<_>>(),
            [(100, 10.0), (1000, 11.0)]
        );
    }

    #[test]
    fn sizes_count_the_processes_of_each_kind_of_workload() {
        let of = |records: &[Record]| curves(records, Why::GrowthOfP, &[2]).remove(0);
        let sizes = |curve: &Curve| curve.points.iter().map(|point| point.size).collect::<Vec<_>>();
        let beside = of(&[100, 1000].map(|beside| grown("ping_pong", 7, 5.0, None, beside, 1)));
        assert_eq!((sizes(&beside), beside.take_part), (vec![102, 1002], false));
        let done = of(&[100, 1000].map(|n| grown("cascade_star", n, 5.0, None, 0, 1)));
        assert_eq!((sizes(&done), done.take_part), (vec![100, 1000], true));
        // The cost of a group's restart is divided by its children.
        let group = of(&[10, 1000].map(|p| grown("restart_all", 1, 50.0 * p as f64, Some(p), 0, 1)));
        assert_eq!(group.points.iter().map(|point| point.cost).collect::<Vec<_>>(), [50.0, 50.0]);
    }

    #[test]
    fn outgrowing_a_cache_is_distinct_from_growth() {
        let records: Vec<Record> = [(100, 10.0), (1000, 10.5), (100_000, 40.0)]
            .map(|(p, cost)| grown("big", 5, cost, Some(p), 0, 1_000_000 + p * 500))
            .to_vec();
        let curve = curves(&records, Why::GrowthOfP, &[2]).remove(0);
        assert_eq!((curve.verdict(), curve.bytes_each()), (Verdict::Grows, Some(500.0)));
        assert_eq!(curve.ratio_within(1_000_000), Some(1.05));
        assert_eq!(curve.ratio_within(60_000), None);
    }
}
