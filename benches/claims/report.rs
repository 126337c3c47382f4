//! The figures, as lines while they come in, and as JSON.

use serde_json::{Map, Value, json};

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<String>,
    parts: Map<String, Value>,
    missed: Vec<String>,
}

/// The bar for a figure.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// None: the figure is only reported.
    None,
    /// The lowest acceptable value.
    AtLeast(f64),
    /// The highest acceptable value.
    AtMost(f64),
}

impl Report {
    /// Begins a part.
    pub fn head(&mut self, words: &str) {
        self.say(format!("\n{words}"));
    }

    /// Prints a line of text.
    pub fn line(&mut self, what: &str, words: &str) {
        self.say(format!("  {what:<46} {words}"));
    }

    /// A figure.
    pub fn figure(&mut self, what: &str, value: f64, unit: &str, bar: Bar) {
        let (held, met) = match bar {
            Bar::None => (String::new(), true),
            Bar::AtLeast(bar) => (format!("bar >= {bar}"), value >= bar),
            Bar::AtMost(bar) => (format!("bar <= {bar}"), value <= bar),
        };
        let verdict = match (bar, met) {
            (Bar::None, _) => "",
            (_, true) => "met",
            (_, false) => "MISSED",
        };
        if !met {
            self.missed.push(format!("{}: {value:.2}, {held}", what.trim()));
        }
        self.say(format!("  {what:<46} {value:>9.2} {unit:<12} {held} {verdict}").trim_end().to_owned());
    }

    /// What a part measured, for the JSON.
    pub fn keep(&mut self, part: &str, value: Value) {
        self.parts.insert(part.to_owned(), value);
    }

    /// The figures that missed their bar.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    fn say(&mut self, line: String) {
        println!("{line}");
        self.lines.push(line);
    }

    /// All of it as JSON.
    pub fn json(&self, machine: &Value) -> String {
        format!("{:#}\n", json!({ "machine": machine, "parts": self.parts, "table": self.lines }))
    }
}
