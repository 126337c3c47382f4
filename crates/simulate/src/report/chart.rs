//! Outcomes as a drawing (SVG): cost against hits, and machines and waiting claims over time.

use std::fmt::Write as _;

use super::{Case, cheapest};
use crate::outcome::Sample;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 820.0;
/// Colors of policies, told apart also without color vision.
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];
/// What the stacked areas show, from the bottom: name, color.
const AREAS: [(&str, &str); 3] = [("of claims", "#0072b2"), ("ready", "#009e73"), ("booting", "#e69f00")];

/// A rectangle of the drawing, and the values at its edges.
struct Panel {
    top: f64,
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
}

const LEFT: f64 = 80.0;
const INNER: f64 = WIDTH - LEFT - 40.0;

impl Panel {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let share = |value: f64, (least, most): (f64, f64)| (value - least) / (most - least).max(f64::EPSILON);
        (INNER.mul_add(share(x, self.x), LEFT), self.height.mul_add(1.0 - share(y, self.y), self.top))
    }

    /// The frame, with lines and numbers.
    fn frame(&self, title: &str, (x_name, y_name): (&str, &str)) -> String {
        let (bottom, mut text) = (self.top + self.height, String::new());
        let _ = write!(text, r#"<text x="{LEFT}" y="{:.0}" class="title">{}</text>"#, self.top - 14.0, escaped(title));
        for value in steps(self.y) {
            let (_, y) = self.at(self.x.0, value);
            let _ = write!(
                text,
                r#"<line x1="{LEFT}" x2="{:.0}" y1="{y:.1}" y2="{y:.1}" class="grid"/><text x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT + INNER,
                LEFT - 8.0,
                y + 4.0,
                number(value)
            );
        }
        for value in steps(self.x) {
            let (x, _) = self.at(value, self.y.0);
            let _ = write!(
                text,
                r#"<text x="{x:.1}" y="{:.0}" text-anchor="middle">{}</text>"#,
                bottom + 18.0,
                number(value)
            );
        }
        let _ = write!(
            text,
            r#"<text x="{:.0}" y="{:.0}" text-anchor="middle">{}</text><text transform="translate(22 {:.0}) rotate(-90)" text-anchor="middle">{}</text>"#,
            LEFT + INNER / 2.0,
            bottom + 38.0,
            escaped(x_name),
            self.top + self.height / 2.0,
            escaped(y_name)
        );
        text
    }
}

/// The drawing of these cases. What is shown over time is the cheapest one of the first policy with at least `goal_percent`
/// hits, or else its last.
pub fn svg(cases: &[Case], goal_percent: f64) -> String {
    let mut text = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"><style>text{{font:13px sans-serif;fill:#222}}.title{{font-size:16px;font-weight:bold}}.grid{{stroke:#ddd}}</style><rect width="100%" height="100%" fill="#fff"/>"##
    );
    text.push_str(&frontier_panel(cases));
    let best = cheapest(cases, goal_percent);
    let first =
        best.first().and_then(|(policy, best)| best.or_else(|| cases.iter().rev().find(|case| case.policy == *policy)));
    if let Some(case) = first {
        text.push_str(&time_panel(case));
    }
    text.push_str("</svg>\n");
    text
}

fn frontier_panel(cases: &[Case]) -> String {
    let bounds = |value: &dyn Fn(&Case) -> f64| {
        let values = cases.iter().map(value);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
    };
    let (cheap, dear) = bounds(&Case::price);
    let margin = ((dear - cheap) * 0.05).max(dear.abs() * 0.01).max(0.01);
    let (least, _) = bounds(&Case::hit_percent);
    let panel = Panel {
        top: 50.0,
        height: 300.0,
        x: (cheap - margin, dear + margin),
        y: (((least / 5.0).floor() * 5.0).clamp(0.0, 95.0), 100.0),
    };
    let priced = cases.iter().any(|case| case.cost.is_some());
    let unit = if priced { "cost" } else { "machine-hours" };
    let mut text = panel.frame("What hits cost", (unit, "hits, %"));
    for (index, (policy, _)) in cheapest(cases, 0.0).into_iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let mut own: Vec<&Case> = cases.iter().filter(|case| case.policy == policy).collect();
        own.sort_by_key(|case| case.target_size);
        let points: Vec<_> = own.iter().map(|case| panel.at(case.price(), case.hit_percent())).collect();
        let _ =
            write!(text, r#"<polyline fill="none" stroke="{color}" stroke-width="2" points="{}"/>"#, joined(&points));
        for (case, (x, y)) in own.iter().zip(&points) {
            let _ = write!(
                text,
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{color}"><title>{}: {}, {:.2} % hits, {} {:.2}</title></circle>"#,
                escaped(policy),
                case.size(),
                case.hit_percent(),
                unit,
                case.price()
            );
        }
        let y = (index as f64).mul_add(20.0, panel.top + panel.height - 16.0 - 20.0 * COLORS.len() as f64);
        let _ = write!(
            text,
            r#"<rect x="{:.0}" y="{:.0}" width="12" height="12" fill="{color}"/><text x="{:.0}" y="{:.0}" text-anchor="end">{}</text>"#,
            LEFT + INNER - 14.0,
            y,
            LEFT + INNER - 20.0,
            y + 11.0,
            escaped(policy)
        );
    }
    text
}

fn time_panel(case: &Case) -> String {
    let samples = &case.outcome.samples;
    let most = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).fold(1.0, f64::max);
    let hours = case.outcome.length_hours.max(f64::EPSILON);
    let top = most(&|sample| sample.claimed + sample.ready + sample.booting).max(most(&|sample| sample.waiting));
    let panel = Panel { top: 450.0, height: 280.0, x: (0.0, hours), y: (0.0, top * 1.05) };
    let title = format!("Machines and waiting claims over time: {} with {}", case.policy, case.size());
    let mut text = panel.frame(&title, ("hours", "machines, claims"));
    let at = |index: usize, value: f64| panel.at((index as f64 + 0.5) * hours / samples.len().max(1) as f64, value);
    let layers: [&dyn Fn(&Sample) -> f64; 4] =
        [&|_| 0.0, &|sample| sample.claimed, &|sample| sample.claimed + sample.ready, &|sample| {
            sample.claimed + sample.ready + sample.booting
        }];
    for (index, (name, color)) in AREAS.iter().enumerate() {
        let line = |layer: &dyn Fn(&Sample) -> f64| -> Vec<_> {
            samples.iter().enumerate().map(|(index, sample)| at(index, layer(sample))).collect()
        };
        let mut points = line(layers[index + 1]);
        points.extend(line(layers[index]).into_iter().rev());
        let _ = write!(text, r#"<polygon fill="{color}" fill-opacity="0.7" points="{}"/>"#, joined(&points));
        text.push_str(&key(index, color, name));
    }
    let waiting: Vec<_> = samples.iter().enumerate().map(|(index, sample)| at(index, sample.waiting)).collect();
    let _ = write!(text, r##"<polyline fill="none" stroke="#c00" stroke-width="1.5" points="{}"/>"##, joined(&waiting));
    text.push_str(&key(AREAS.len(), "#c00", "waiting claims"));
    text
}

fn key(index: usize, color: &str, name: &str) -> String {
    let x = (index as f64).mul_add(140.0, LEFT);
    let y = HEIGHT - 30.0;
    format!(
        r#"<rect x="{x:.0}" y="{y:.0}" width="12" height="12" fill="{color}"/><text x="{:.0}" y="{:.0}">{name}</text>"#,
        x + 18.0,
        y + 11.0
    )
}

fn joined(points: &[(f64, f64)]) -> String {
    points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

/// At most eight round values between the bounds.
fn steps((least, most): (f64, f64)) -> Vec<f64> {
    let rough = ((most - least) / 6.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough).unwrap_or(rough);
    let first = (least / step).ceil() as i64;
    (first..first + 9).map(|count| count as f64 * step).take_while(|value| *value <= most + step * 1e-6).collect()
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::case;
    use super::*;

    #[test]
    fn a_drawing_has_each_case_and_no_number_that_is_none() {
        let one = svg(&[case("<ci>", 3, 0, 0.0)], 99.0);
        let two = svg(&[case("ci", 1, 80, 1.0), case("loop", 2, 99, 2.0)], 99.0);
        for text in [&one, &two] {
            assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        assert!(one.contains("&lt;ci&gt;: targetSize 3") && two.matches("<circle").count() == 2);
        assert!(two.contains("ci with targetSize 1"), "the first policy is shown over time");
    }

    #[test]
    fn the_numbers_at_an_axis_are_round_and_few() {
        assert_eq!(steps((95.0, 100.0)), [95.0, 96.0, 97.0, 98.0, 99.0, 100.0]);
        assert_eq!(steps((0.0, 1_834.0)), [0.0, 500.0, 1_000.0, 1_500.0]);
        assert_eq!(number(2.5), "2.5");
        assert_eq!(number(100.0), "100");
    }
}
