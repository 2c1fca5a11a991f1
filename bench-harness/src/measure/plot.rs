//! The plots, as SVG: bars of what is done in a second, distributions of latencies, and how a cost grows.
//!
//! All scales but that of the bars' names are logarithmic: what is compared lies orders of magnitude apart, and a factor is the
//! same length everywhere.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::store::Distribution;
use super::table::short;

/// Told apart by most eyes, also in grey.
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

/// A name, and what is drawn for it.
pub type Series<T> = (String, Vec<T>);

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
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

/// The range that holds all numbers, with room around them on a logarithmic scale.
fn around(numbers: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (mut least, mut most) = (f64::MAX, f64::MIN_POSITIVE);
    for number in numbers.filter(|number| number.is_finite() && *number > 0.0) {
        (least, most) = (least.min(number), most.max(number));
    }
    if least > most { 0.5..2.0 } else { least / 2.0..most * 2.0 }
}

/// A bar for each name in each series: how many in a second.
pub fn bars(names: &[&str], series: &[Series<Option<f64>>]) -> Result<String> {
    let (rows, per_row) = (names.len(), series.len().max(1));
    let height = 60 + u32::try_from(rows * (per_row * 14 + 8))?;
    svg((900, height), |area| {
        let range = around(series.iter().flat_map(|(_, values)| values.iter().flatten().copied()));
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(30)
            .y_label_area_size(130)
            .build_cartesian_2d(range.clone().log_scale(), 0.0..rows as f64)
            .map_err(fault)?;
        let name =
            |at: &f64| names.get(rows.saturating_sub(1 + *at as usize)).map_or(String::new(), |n| (*n).to_owned());
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_label_formatter(&|rate| short(*rate))
            .x_desc("in a second")
            .label_style((FONT, 12))
            .draw()
            .map_err(fault)?;
        for row in 0..rows {
            let at = (rows - 1 - row) as f64;
            let style = TextStyle::from((FONT, 12).into_font());
            let (x, y) = chart.backend_coord(&(range.start, at + 0.65));
            area.draw_text(&name(&at), &style, ((x - 125).max(0), y)).map_err(fault)?;
        }
        for (number, (label, values)) in series.iter().enumerate() {
            let colour = colour(number);
            let thick = 0.8 / per_row as f64;
            let bars = values.iter().enumerate().filter_map(|(row, value)| {
                let top = (rows - row) as f64 - 0.1 - number as f64 * thick;
                value.map(|value| Rectangle::new([(range.start, top - thick), (value, top)], colour.filled()))
            });
            let drawn = chart.draw_series(bars).map_err(fault)?;
            drawn.label(label).legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], colour.filled()));
        }
        legend(&mut chart)
    })
}

fn legend<'a, X: Ranged, Y: Ranged>(chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>) -> Result<()> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 12))
        .draw()
        .map_err(fault)
}

/// Latencies of the slowest part: to the right, one in how many; upwards, how many microseconds it takes.
pub fn distributions(all: &[Distribution]) -> Result<String> {
    svg((900, 420), |area| {
        let points = |one: &Distribution| -> Vec<(f64, f64)> {
            let tails = one.points.iter().filter(|(part, _)| *part < 1.0);
            tails.map(|(part, ns)| (1.0 / (1.0 - part), (*ns as f64 / 1e3).max(0.001))).collect()
        };
        let across = around(all.iter().flat_map(points).map(|(x, _)| x));
        let up = around(all.iter().flat_map(points).map(|(_, y)| y));
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(60)
            .build_cartesian_2d((1.0..across.end).log_scale(), up.log_scale())
            .map_err(fault)?;
        chart
            .configure_mesh()
            .x_desc("the slowest one in so many")
            .y_desc("µs")
            .x_label_formatter(&|one_in| short(*one_in))
            .y_label_formatter(&|us| short(*us))
            .label_style((FONT, 12))
            .draw()
            .map_err(fault)?;
        for (number, one) in all.iter().enumerate() {
            let colour = colour(number);
            let line = LineSeries::new(points(one), colour.stroke_width(2));
            let label = format!("{}, {} threads", one.workload, one.threads);
            let drawn = chart.draw_series(line).map_err(fault)?;
            drawn.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], colour.stroke_width(2)));
        }
        legend(&mut chart)
    })
}

/// How a cost grows with a number: a small plot.
pub fn growth(title: &str, across: &str, unit: &str, series: &[Series<(f64, f64)>]) -> Result<String> {
    svg((300, 220), |area| {
        let points = || series.iter().flat_map(|(_, points)| points.iter().copied());
        let xs = around(points().map(|(x, _)| x));
        let ys = around(points().map(|(_, y)| y));
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 14))
            .margin(6)
            .x_label_area_size(32)
            .y_label_area_size(48)
            .build_cartesian_2d(xs.log_scale(), (ys.start / 2.0..ys.end * 2.0).log_scale())
            .map_err(fault)?;
        chart
            .configure_mesh()
            .x_labels(4)
            .y_labels(5)
            .x_desc(across)
            .y_desc(unit)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .label_style((FONT, 10))
            .draw()
            .map_err(fault)?;
        for (number, (_, points)) in series.iter().enumerate() {
            let colour = colour(number);
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2))).map_err(fault)?;
            chart.draw_series(points.iter().map(|at| Circle::new(*at, 3, colour.filled()))).map_err(fault)?;
        }
        Ok(())
    })
}
