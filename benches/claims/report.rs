//! The figures, as lines while they come in, and as JSON.

use serde_json::{Map, Value, json};

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<String>,
    parts: Map<String, Value>,
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// It is only told.
    None,
    /// It is to be no less.
    AtLeast(f64),
    /// It is to be no more.
    AtMost(f64),
}

impl Report {
    /// A part begins.
    pub fn head(&mut self, words: &str) {
        self.say(format!("\n{words}"));
    }

    /// A line of words.
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
        self.say(format!("  {what:<46} {value:>9.2} {unit:<12} {held} {verdict}").trim_end().to_owned());
    }

    /// What a part measured, for the JSON.
    pub fn keep(&mut self, part: &str, value: Value) {
        self.parts.insert(part.to_owned(), value);
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
