//! Plots as SVG.
//!
//! Guarantee: a plot is one file without scripts, fonts or references; whatever is plotted lies within its frame.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Distinguishable for everybody (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// More points than pixels show nothing more.
const MOST_POINTS: usize = 600;

/// One line of a plot.
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points, in the order of x.
    pub points: Vec<(f64, f64)>,
}

/// A plot of lines.
pub struct Plot {
    /// Above it.
    pub title: String,
    /// What x is.
    pub x: &'static str,
    /// What y is.
    pub y: &'static str,
    /// Whether both axes are logarithmic.
    pub log: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

struct Axis {
    from: f64,
    to: f64,
    log: bool,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite() && (!log || *value > 0.0)) {
            (from, to) = (from.min(value), to.max(value));
        }
        if from > to {
            (from, to) = (1.0, 10.0);
        }
        if log {
            return Self {
                from: 10_f64.powf(from.log10().floor()),
                to: 10_f64.powf((to.log10()).ceil().max(from.log10().floor() + 1.0)),
                log,
            };
        }
        let step = step((to - from.min(0.0)).max(1e-9));
        Self { from: (from.min(0.0) / step).floor() * step, to: ((to / step).ceil() * step).max(step), log }
    }

    /// In 0..1.
    fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from).log10() - self.from.log10()) / (self.to.log10() - self.from.log10())
        } else {
            (value - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let (from, to) = (self.from.log10().round() as i32, self.to.log10().round() as i32);
            return (from..=to).map(|power| 10_f64.powi(power)).collect();
        }
        let step = step(self.to - self.from);
        let count = ((self.to - self.from) / step).round() as usize;
        (0..=count).map(|tick| self.from + step * tick as f64).collect()
    }
}

/// A round step of which about five make the span.
fn step(span: f64) -> f64 {
    let rough = span / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough).unwrap_or(power)
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{} M", value / 1e6),
        size if size >= 1e4 => format!("{} k", value / 1e3),
        size if size >= 1.0 || size == 0.0 => format!("{value}"),
        _ => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Plot {
    /// The file.
    pub fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| line.points.iter());
        let x = Axis::over(all().map(|point| point.0), self.log);
        let y = Axis::over(all().map(|point| point.1), self.log);
        let (inner_w, inner_h) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let at = |point: (f64, f64)| (LEFT + x.place(point.0) * inner_w, TOP + (1.0 - y.place(point.1)) * inner_h);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
            escaped(&self.title)
        );
        let mut draw = |piece: String| {
            // Writing into a String cannot fail.
            let _ = writeln!(svg, "{piece}");
        };
        for tick in x.ticks() {
            let (place, _) = at((tick, y.from));
            let foot = HEIGHT - BOTTOM;
            draw(format!("<line x1=\"{place:.1}\" y1=\"{TOP}\" x2=\"{place:.1}\" y2=\"{foot}\" stroke=\"#e5e5e5\"/>"));
            let below = foot + 18.0;
            draw(format!("<text x=\"{place:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", number(tick)));
        }
        for tick in y.ticks() {
            let (_, place) = at((x.from, tick));
            let (end, beside) = (WIDTH - RIGHT, LEFT - 8.0);
            draw(format!("<line x1=\"{LEFT}\" y1=\"{place:.1}\" x2=\"{end}\" y2=\"{place:.1}\" stroke=\"#e5e5e5\"/>"));
            let middle = place + 4.0;
            draw(format!("<text x=\"{beside}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>", number(tick)));
        }
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let every = line.points.len().div_ceil(MOST_POINTS).max(1);
            let points: Vec<String> = line
                .points
                .iter()
                .step_by(every)
                .map(|point| at(*point))
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let points = points.join(" ");
            draw(format!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"));
            let (from, row) = (WIDTH - RIGHT + 12.0, TOP + 14.0 + 20.0 * index as f64);
            let (to, beside) = (from + 18.0, from + 24.0);
            draw(format!(
                "<line x1=\"{from}\" y1=\"{row}\" x2=\"{to}\" y2=\"{row}\" stroke=\"{colour}\" stroke-width=\"3\"/>"
            ));
            draw(format!("<text x=\"{beside}\" y=\"{}\">{}</text>", row + 4.0, escaped(&line.name)));
        }
        let (middle, foot, half) = (LEFT + inner_w / 2.0, HEIGHT - 12.0, TOP + inner_h / 2.0);
        draw(format!("<text x=\"{middle}\" y=\"{foot}\" text-anchor=\"middle\">{}</text>", escaped(self.x)));
        draw(format!(
            "<text x=\"18\" y=\"{half}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {half})\">{}</text>",
            escaped(self.y)
        ));
        svg.push_str("</svg>\n");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plotted_lies_in_the_frame_and_names_are_text() {
        let points = (0..2_000).map(|n| (f64::from(n), f64::from(n % 97) * 3.3)).collect();
        for log in [false, true] {
            let line = Line { name: "a < b".into(), points: Vec::clone(&points) };
            let empty = Line { name: "none".into(), points: Vec::new() };
            let svg = Plot { title: "A & B".into(), x: "x", y: "y", log, lines: vec![line, empty] }.svg();
            assert!(svg.contains("A &amp; B") && svg.contains("a &lt; b") && svg.trim_end().ends_with("</svg>"));
            let drawn = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            let drawn: Vec<&str> = drawn.split(' ').collect();
            assert!((300..=MOST_POINTS).contains(&drawn.len()), "{}", drawn.len());
            for point in drawn {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
            }
        }
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([step(10.0), step(7.0), step(123.0), step(0.4)], [2.0, 2.0, 50.0, 0.1]);
    }
}
