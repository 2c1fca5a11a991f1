//! The plots, as SVG: bars of throughput and of the speed-up of two threads, distributions of
//! latencies, and the growth of costs.
//!
//! All scales are logarithmic except those of names and speed-ups: the values differ by orders of
//! magnitude, and a factor has the same length everywhere. Each colour stands for a number of
//! threads, as the page's legend says.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::growth::Curve;
use super::table::short;

/// Colours that most readers can distinguish, also in grey.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Returns the colour of the first, second ... number of threads.
fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// Returns the same colour in CSS.
pub fn css(number: usize) -> String {
    let RGBColor(red, green, blue) = colour(number);
    format!("rgb({red},{green},{blue})")
}

fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(fault)?;
        draw(&area)?;
        area.present().map_err(fault)?;
    }
    Ok(text)
}

fn fault(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot was not drawn: {error}")
}

/// Returns a range that contains all numbers, with a margin on a logarithmic scale.
fn around(numbers: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (mut least, mut most) = (f64::MAX, f64::MIN_POSITIVE);
    for number in numbers.filter(|number| number.is_finite() && *number > 0.0) {
        (least, most) = (least.min(number), most.max(number));
    }
    if least > most { 0.5..2.0 } else { least / 2.0..most * 2.0 }
}

/// The contents of a bar chart.
#[derive(Debug)]
pub struct Bars<'a> {
    /// The text under the axis.
    pub across: &'a str,
    /// The row names, from the top.
    pub names: &'a [&'a str],
    /// The values of each row, for each colour.
    pub series: &'a [Vec<Option<f64>>],
    /// `true` for a logarithmic scale, `false` for a linear one.
    pub logarithmic: bool,
    /// The position of a line across all rows.
    pub goal: Option<f64>,
}

/// Draws a row of bars for each name, with its number at the end.
pub fn bars(what: &Bars<'_>) -> Result<String> {
    let (rows, per_row) = (what.names.len(), what.series.len().max(1));
    let height = 64 + u32::try_from(rows * (per_row * 13 + 7))?;
    let numbers = || what.series.iter().flatten().flatten().copied();
    // Space for the numbers at the right.
    if what.logarithmic {
        let range = around(numbers());
        let axis = (range.start..range.end * 1.5).log_scale();
        svg((920, height), |area| draw_bars(area, what, axis, (range.start, range.end)))
    } else {
        // An outlier must not make the other bars small: its number gives its length.
        let most = numbers().fold(what.goal.unwrap_or(1.0), f64::max).min(4.0 * what.goal.unwrap_or(f64::MAX));
        svg((920, height), |area| draw_bars(area, what, 0.0..most * 1.1, (0.0, most)))
    }
}

fn draw_bars<X>(area: &Area<'_>, what: &Bars<'_>, axis: X, (from, most): (f64, f64)) -> Result<()>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let (rows, per_row) = (what.names.len(), what.series.len().max(1));
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(38)
        .y_label_area_size(130)
        .build_cartesian_2d(axis, 0.0..rows as f64)
        .map_err(fault)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().disable_y_axis().y_labels(0).x_label_formatter(&|x| short(*x)).x_desc(what.across);
    mesh.light_line_style(WHITE).label_style((FONT, 12)).draw().map_err(fault)?;
    let (text, thick) = (TextStyle::from((FONT, 12).into_font()), 0.84 / per_row as f64);
    for (row, name) in what.names.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(from, (rows - row) as f64 - 0.5));
        area.draw_text(name, &text, ((x - 125).max(0), y - 6)).map_err(fault)?;
    }
    for (number, values) in what.series.iter().enumerate() {
        let top = |row: usize| (rows - row) as f64 - 0.08 - number as f64 * thick;
        let values = || values.iter().enumerate().filter_map(|(row, value)| Some((row, (*value)?)));
        let bars = values().map(|(row, value)| {
            Rectangle::new([(from, top(row) - thick * 0.95), (value.min(most), top(row))], colour(number).filled())
        });
        chart.draw_series(bars).map_err(fault)?;
        let small = TextStyle::from((FONT, 11).into_font());
        for (row, value) in values() {
            let (x, y) = chart.backend_coord(&(value.min(most), top(row) - thick * 0.5));
            let number = if what.logarithmic { short(value) } else { format!("{value:.2}") };
            area.draw_text(&number, &small, (x + 4, y - 6)).map_err(fault)?;
        }
    }
    if let Some(goal) = what.goal {
        let line = [(goal, 0.0), (goal, rows as f64)];
        chart.draw_series(DashedLineSeries::new(line, 5, 4, BLACK.mix(0.7).into())).map_err(fault)?;
    }
    Ok(())
}

/// The points of a line, and the number of its colour.
pub type Coloured = (usize, Vec<(f64, f64)>);

/// Draws the latencies of one workload: the fraction of all operations on the horizontal axis,
/// microseconds on the vertical axis. `lines` hold fractions (0 to 1) and nanoseconds.
pub fn distribution(title: &str, lines: &[Coloured]) -> Result<String> {
    svg((450, 320), |area| {
        // The horizontal position of a fraction: one in this many operations is slower.
        let points = |line: &Coloured| -> Vec<(f64, f64)> {
            let tails = line.1.iter().filter(|(part, _)| *part < 1.0);
            tails.map(|(part, ns)| (1.0 / (1.0 - part), (ns / 1e3).max(0.001))).collect()
        };
        let across = lines.iter().flat_map(points).map(|(x, _)| x).fold(100.0, f64::max);
        let up = around(lines.iter().flat_map(points).map(|(_, y)| y));
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 15))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(38)
            .y_label_area_size(62)
            .build_cartesian_2d((1.0..across).log_scale(), up.log_scale())
            .map_err(fault)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("part of all that is within")
            .y_desc("µs")
            .x_label_formatter(&|one_in| percent(*one_in))
            .y_label_formatter(&|us| short(*us))
            .label_style((FONT, 12))
            .draw()
            .map_err(fault)?;
        for line in lines {
            chart.draw_series(LineSeries::new(points(line), colour(line.0).stroke_width(2))).map_err(fault)?;
        }
        Ok(())
    })
}

/// Returns the usual percentage for all but one in this many.
fn percent(one_in: f64) -> String {
    let percent = 100.0 - 100.0 / one_in;
    let digits = (one_in.log10().round() as usize).saturating_sub(2);
    format!("{percent:.digits$} %")
}

/// Draws a small plot of a workload's cost growth, with a line of each colour that a flat curve
/// stays under. Each cache is a vertical line with its name, at the size that fills it.
pub fn growth(across: &str, curves: &[(usize, &Curve)], caches: &[(&str, f64)]) -> Result<String> {
    let (title, unit) = curves.first().map_or(("", ""), |(_, curve)| (curve.name, curve.unit));
    svg((306, 236), |area| {
        let points = || curves.iter().flat_map(|(_, curve)| &curve.points);
        let sizes = around(points().map(|point| point.size as f64));
        let least = points().map(|point| point.cost).fold(f64::MAX, f64::min);
        let most = points().map(|point| point.cost).chain(curves.iter().map(|(_, c)| c.limit())).fold(least, f64::max);
        let (low, high) = ((least / 2.0).min(most / 10.0), most * 1.4);
        let mut chart = ChartBuilder::on(area)
            .caption(format!("{title}, {unit}"), (FONT, 14))
            .margin(6)
            .margin_right(14)
            .x_label_area_size(34)
            .y_label_area_size(46)
            .build_cartesian_2d(sizes.clone().log_scale(), (low..high).log_scale())
            .map_err(fault)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(5)
            .y_labels(12)
            .x_desc(across)
            .x_label_formatter(&|x| short_power(*x))
            .y_label_formatter(&|y| round(*y))
            .label_style((FONT, 11))
            .draw()
            .map_err(fault)?;
        for (name, size) in caches.iter().filter(|(_, size)| sizes.contains(size)) {
            let line = [(*size, low), (*size, high)];
            chart.draw_series(LineSeries::new(line, BLACK.mix(0.35).stroke_width(1))).map_err(fault)?;
            let (x, y) = chart.backend_coord(&(*size, low));
            let grey = BLACK.mix(0.6);
            let style = TextStyle::from((FONT, 10).into_font()).color(&grey);
            area.draw_text(name, &style, (x + 3, y - 13)).map_err(fault)?;
        }
        for (number, curve) in curves {
            let colour = colour(*number);
            let limit = [(sizes.start, curve.limit()), (sizes.end, curve.limit())];
            chart.draw_series(DashedLineSeries::new(limit, 4, 4, colour.mix(0.7).into())).map_err(fault)?;
            let points = || curve.points.iter().map(|point| (point.size as f64, point.cost));
            chart.draw_series(LineSeries::new(points(), colour.stroke_width(2))).map_err(fault)?;
            chart.draw_series(points().map(|at| Circle::new(at, 3, colour.filled()))).map_err(fault)?;
        }
        Ok(())
    })
}

/// Labels one, two and five of each power of ten: the space between them is too small for labels.
fn round(number: f64) -> String {
    let of_power = number / 10_f64.powf(number.log10().floor());
    let said = [1.0, 2.0, 5.0, 10.0].iter().any(|round| (of_power - round).abs() < 0.01);
    if said { short(number) } else { String::new() }
}

/// Returns an axis label for a power of ten.
fn short_power(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.0} M", n / 1e6),
        n if n >= 1e3 => format!("{:.0} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::growth::Point;

    fn texts(svg: &str) -> Vec<&str> {
        svg.split("<text").skip(1).filter_map(|text| text.split(['>', '<']).nth(1)).map(str::trim).collect()
    }

    #[test]
    fn parts_are_percent() {
        assert_eq!([1.0, 10.0, 100.0, 1000.0, 10_000.0].map(percent), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert_eq!([100.0, 10_000.0, 1e6].map(short_power), ["100", "10 k", "1 M"]);
        assert_eq!([100.0, 200.0, 300.0, 500.0, 900.0, 1000.0].map(round), ["100", "200", "", "500", "", "1000"]);
    }

    #[test]
    fn a_growth_has_a_limit_of_each_colour_and_its_caches() {
        let at = |size, cost| Point { size, cost, processes: size, peak: None };
        let of = |threads| Curve {
            name: "big",
            take_part: true,
            threads,
            unit: "ns",
            points: vec![at(100, 10.0), at(10_000, 30.0)],
        };
        let drawn = growth("processes", &[(0, &of(1)), (1, &of(2))], &[("L2", 2000.0), ("L3", 1e9)]).expect("a plot");
        let texts = texts(&drawn);
        assert!(texts.contains(&"big, ns") && texts.contains(&"processes") && texts.contains(&"L2"), "{texts:?}");
        assert!(!texts.contains(&"L3"), "it lies outside the plot");
        assert_eq!(drawn.matches("<circle").count(), 4);
    }

    #[test]
    fn bars_show_their_numbers() {
        let series = [vec![Some(5e6), None], vec![Some(1234.0), Some(10.0)]];
        let what = Bars { across: "in a second", names: &["a", "b"], series: &series, logarithmic: true, goal: None };
        let drawn = bars(&what).expect("a plot");
        let texts = texts(&drawn);
        assert!(
            ["a", "b", "in a second", "5.0 M", "1234", "10.0"].iter().all(|text| texts.contains(text)),
            "{texts:?}"
        );
        let what = Bars { logarithmic: false, goal: Some(1.6), ..what };
        assert!(bars(&what).is_ok_and(|drawn| drawn.contains("1234.00")));
    }
}
