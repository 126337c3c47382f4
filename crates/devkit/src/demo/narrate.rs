//! Prints the demo's output: one line an event, with the time since the start on the left; colours on a terminal only.

use std::env;
use std::fmt::{Display, Write as _};
use std::io::{Stdout, Write as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use parking_lot::Mutex;

use super::phase::{Counts, Phase};

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
const WARMING: Style = AnsiColor::Yellow.on_default();
const CLAIMED: Style = AnsiColor::Cyan.on_default();
const BAD: Style = AnsiColor::Red.on_default();

/// Most signs in a bar, so that it fits beside the text on 80 columns.
const LONGEST_BAR: usize = 20;

/// Writes to standard output. Errors, such as a closed pipe, are ignored.
#[derive(Debug)]
pub(super) struct Narrator {
    began: Instant,
    out: Mutex<AutoStream<Stdout>>,
    headings: AtomicU32,
    signs: Signs,
}

/// The signs of a bar.
#[derive(Debug, Clone, Copy)]
struct Signs {
    ready: char,
    warming: char,
    pending: char,
    claimed: char,
    errored: char,
    terminating: char,
}

const UNICODE: Signs =
    Signs { ready: '●', warming: '○', pending: '·', claimed: '◆', errored: '✗', terminating: '×' };
const ASCII: Signs = Signs { ready: '*', warming: 'o', pending: '.', claimed: '#', errored: '!', terminating: 'x' };

impl Narrator {
    /// Time begins now.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            out: Mutex::new(anstream::stdout()),
            headings: AtomicU32::new(0),
            signs: if has_unicode(|name| env::var(name).ok()) { UNICODE } else { ASCII },
        }
    }

    /// The first line.
    pub(super) fn title(&self, text: &str) {
        self.write(&paint(BOLD, text));
    }

    /// Begins the next part.
    pub(super) fn heading(&self, text: &str) {
        let number = self.headings.fetch_add(1, Ordering::Relaxed) + 1;
        self.write(&format!("\n{}", paint(BOLD, format_args!("{number}  {text}"))));
    }

    /// Prints an event of this moment.
    pub(super) fn now(&self, text: impl Display) {
        self.at(Instant::now(), text);
    }

    /// Prints an event of the given time.
    pub(super) fn at(&self, moment: Instant, text: impl Display) {
        let elapsed = moment.saturating_duration_since(self.began).as_secs_f64();
        self.write(&format!("{}  {text}", paint(DIM, format_args!("{elapsed:7.2} s"))));
    }

    /// Prints a line without a time, aligned with those that have one.
    pub(super) fn note(&self, text: impl Display) {
        self.write(&format!("           {text}"));
    }

    /// Prints a line as it is, such as a command to copy.
    pub(super) fn plain(&self, text: impl Display) {
        self.write(&text.to_string());
    }

    /// A sign for each unclaimed member, and two blanks: `●●●○○  `. Nothing when there are too many of them.
    pub(super) fn bar(&self, counts: &Counts) -> String {
        let mut bar = String::new();
        let unclaimed = counts.total() - counts.get(Phase::Claimed);
        if unclaimed == 0 || unclaimed > LONGEST_BAR {
            return bar;
        }
        for (phase, count) in counts.each() {
            let (sign, style) = match phase {
                Phase::Ready => (self.signs.ready, GOOD),
                Phase::Warming => (self.signs.warming, WARMING),
                Phase::Pending => (self.signs.pending, DIM),
                Phase::Claimed => continue,
                Phase::Errored => (self.signs.errored, BAD),
                Phase::Terminating => (self.signs.terminating, DIM),
            };
            if count > 0 {
                bar += &paint(style, sign.to_string().repeat(count));
            }
        }
        bar + "  "
    }

    /// `done` of `all` as signs.
    pub(super) fn progress(&self, done: usize, all: usize) -> String {
        let rest = self.signs.pending.to_string().repeat(all.saturating_sub(done));
        paint(CLAIMED, self.signs.claimed.to_string().repeat(done)) + &paint(DIM, rest)
    }

    fn write(&self, line: &str) {
        let _ = writeln!(self.out.lock(), "{line}");
    }
}

/// `text` in `style`; the stream drops the style again where it does not belong.
pub(super) fn paint(style: Style, text: impl Display) -> String {
    let mut painted = String::new();
    let _ = write!(painted, "{style}{text}{style:#}");
    painted
}

/// A duration for people: `14 ms`, `2.3 s`.
pub(super) fn short(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "under 1 ms".to_owned(),
        milliseconds @ 1..1_000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// `1 machine`, `2 machines`.
pub(super) fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// As the C library decides: the first of these that is set and not empty.
fn has_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let texts = [0, 14, 999, 1_000, 12_345].map(|milliseconds| short(Duration::from_millis(milliseconds)));
        assert_eq!(texts, ["under 1 ms", "14 ms", "999 ms", "1.0 s", "12.3 s"]);
    }

    #[test]
    fn the_locale_decides_about_signs_and_lc_all_comes_first() {
        let locale = |all: &'static str, lang: &'static str| {
            has_unicode(move |name| match name {
                "LC_ALL" => Some(all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert!(locale("", "de_DE.UTF-8"));
        assert!(locale("C.utf8", "C"));
        assert!(!locale("C", "en_US.UTF-8"));
        assert!(!has_unicode(|_| None));
    }
}
