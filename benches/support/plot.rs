//! Curves over the number of engines, as SVG: both axes logarithmic, so that what grows like the engines is a straight diagonal,
//! and what grows like their logarithm is almost level.

use std::fmt::Write;

/// A chart: a title, the unit of its values, and the values by number of engines.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: &'static str,
    /// The unit of the values.
    pub unit: &'static str,
    /// Engines and value.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 250.0;
/// Left, right, top and bottom of a chart, without what is written around it.
const FRAME: [f64; 4] = [70.0, 20.0, 40.0, 40.0];

/// The charts, two in a row. Beside each curve a dashed line shows growth in proportion, from its first point.
pub fn svg(charts: &[Chart]) -> String {
    let rows = charts.len().div_ceil(2);
    let (width, height) = (2.0 * WIDTH, rows as f64 * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (number, chart) in charts.iter().enumerate() {
        let (x, y) = ((number % 2) as f64 * WIDTH, (number / 2) as f64 * HEIGHT);
        let _ = write!(svg, "<g transform=\"translate({x},{y})\">\n{}</g>\n", draw(chart));
    }
    svg + "</svg>\n"
}

fn draw(chart: &Chart) -> String {
    let Some((&first, &last)) = chart.points.first().zip(chart.points.last()) else { return String::new() };
    let values = || chart.points.iter().map(|point| point.1);
    let bottom = values().fold(f64::INFINITY, f64::min).log10().floor();
    let top = values().fold(0.0, f64::max).log10().ceil().max(bottom + 1.0);
    let (left, right) = (first.0.log10(), last.0.log10());
    let [margin_left, margin_right, margin_top, margin_bottom] = FRAME;
    let x = |engines: f64| {
        margin_left + (engines.log10() - left) / (right - left).max(1.0) * (WIDTH - margin_left - margin_right)
    };
    let y = |value: f64| {
        HEIGHT - margin_bottom - (value.log10() - bottom) / (top - bottom) * (HEIGHT - margin_top - margin_bottom)
    };
    let mut svg =
        format!("<text x=\"{margin_left}\" y=\"22\" font-size=\"13\">{} ({})</text>\n", chart.title, chart.unit);
    for power in bottom as i32..=top as i32 {
        let value = 10_f64.powi(power);
        let (from, to, at) = (margin_left, WIDTH - margin_right, y(value));
        let _ = writeln!(svg, "<path d=\"M{from},{at:.1}H{to}\" stroke=\"#ddd\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>", from - 6.0, at + 4.0);
    }
    for (engines, _) in &chart.points {
        let (at, under) = (x(*engines), HEIGHT - margin_bottom + 16.0);
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{under}\" text-anchor=\"middle\">{engines}</text>");
    }
    // As far as the chart goes.
    let highest = first.0 * 10_f64.powf(top) / first.1;
    let end = highest.min(last.0);
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1},{:.1}L{:.1},{:.1}\" stroke=\"#999\" stroke-dasharray=\"4\" fill=\"none\"/>",
        x(first.0),
        y(first.1),
        x(end),
        y(first.1 * end / first.0)
    );
    let curve: Vec<String> = chart.points.iter().map(|&(n, value)| format!("{:.1},{:.1}", x(n), y(value))).collect();
    let _ =
        writeln!(svg, "<polyline points=\"{}\" stroke=\"#06c\" stroke-width=\"2\" fill=\"none\"/>", curve.join(" "));
    for &(engines, value) in &chart.points {
        let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#06c\"/>", x(engines), y(value));
    }
    svg
}
