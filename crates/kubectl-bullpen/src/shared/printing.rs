//! Tables, JSON and YAML as kubectl prints them.

use bullpen_access::shown;
use jiff::Timestamp;
use kube::Resource;
use serde::Serialize;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::failure::Failure;
use super::session::Output;

/// Writes the text as one line, and ignores errors such as a closed pipe. What users, clouds and the API server have put
/// into it neither breaks the line nor drives the terminal.
pub(crate) fn write_line(to: &mut impl std::io::Write, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(to, "{}", shown::line(&text.to_string()));
}

/// Prints text of several lines, such as a table, to standard output. The parts of the lines were made safe before, so
/// that no part begins a line of its own.
pub(crate) fn block(text: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", shown::block(text)));
}

/// A table: the columns by name, and rows of as many cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(header: Vec<&'static str>) -> Self {
        Self { header, rows: Vec::new() }
    }

    /// Adds a row. An empty cell is shown as `<none>`, as kubectl does; line breaks and the like are escaped, so that a
    /// row stays one line.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len(), "a cell for each column: {cells:?}");
        let safe = |cell: String| if cell.is_empty() { "<none>".to_owned() } else { shown::line(&cell).into_owned() };
        self.rows.push(cells.into_iter().map(safe).collect());
    }

    /// The table as text: one line a row, three blanks between columns.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
            cells.chain([self.header[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |cells: &[&str]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| {
                let blanks = width.saturating_sub(cell.width()) + 3;
                format!("{cell}{:blanks$}", "")
            });
            padded.collect::<String>().trim_end().to_owned()
        };
        let mut lines = vec![line(&self.header)];
        lines.extend(self.rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>())));
        lines.join("\n")
    }
}

/// Prints objects: as the table that `table` returns (with more columns if its argument is true), or as they are.
///
/// # Errors
/// When the objects cannot be written as YAML or JSON.
pub fn list<K>(
    objects: &[K],
    output: Option<Output>,
    scope: &str,
    table: impl FnOnce(bool) -> Table,
) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    match output {
        None | Some(Output::Wide) if objects.is_empty() => print_err!("No resources found{scope}."),
        None | Some(Output::Wide) => block(&table(output.is_some()).text()),
        Some(Output::Name) => objects.iter().for_each(|object| print_out!("{}", qualified(object))),
        Some(format @ (Output::Json | Output::Yaml)) => {
            let items = objects.iter().map(bare).collect::<Result<Vec<_>, _>>()?;
            let whole =
                json!({ "apiVersion": "v1", "kind": "List", "items": items, "metadata": { "resourceVersion": "" } });
            block(&structured(&whole, format)?);
        }
    }
    Ok(())
}

/// Prints an object that a command has just changed; without `-o`, its name followed by `text`.
///
/// # Errors
/// When the object cannot be written as YAML or JSON.
pub fn changed<K>(object: &K, output: Option<Output>, text: &str) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    match output {
        None | Some(Output::Wide) => print_out!("{} {text}", qualified(object)),
        Some(Output::Name) => print_out!("{}", qualified(object)),
        Some(format) => block(&structured(&bare(object)?, format)?),
    }
    Ok(())
}

/// The value as YAML; for all other formats as JSON. Neither has characters that drive a terminal.
///
/// # Errors
/// When it cannot be serialized.
pub fn structured<T: Serialize>(value: &T, format: Output) -> Result<String, Failure> {
    let failure = |error: &dyn std::error::Error| Failure::Other(error.to_string());
    if format == Output::Yaml {
        let yaml = serde_saphyr::to_string(value).map_err(|error| failure(&error))?;
        if !yaml.chars().any(|character| character != '\n' && shown::is_hidden(character)) {
            return Ok(yaml.trim_end().to_owned());
        }
        // Plain scalars have no escapes. JSON has, and is YAML too.
    }
    let json = serde_json::to_string_pretty(value).map_err(|error| failure(&error))?;
    Ok(shown::json(&json).into_owned())
}

/// The object as kubectl prints it: without managed fields.
fn bare<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(object).map_err(|error| Failure::Other(error.to_string()))?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    Ok(value)
}

/// Resource and name, such as `poolclaim.bullpen.dev/build-1`.
pub fn qualified<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let name = object.meta().name.as_deref().unwrap_or_default();
    format!("{}.{}/{name}", K::kind(&()).to_lowercase(), K::group(&()))
}

/// How long ago `moment` was, as kubectl prints it in tables.
pub fn age(moment: Option<Timestamp>, now: Timestamp) -> String {
    moment.map_or_else(|| "<unknown>".to_owned(), |moment| span(now.duration_since(moment).as_secs()))
}

/// A duration in kubectl's short form, such as `2m5s`.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 != 0 => format!("{days}d{}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// `count` with the singular or plural noun.
pub(crate) fn many(count: i64, one: &str, several: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {several}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_cells_are_none() {
        let mut table = Table::new(vec!["NAME", "STATE"]);
        table.row(vec!["ci".into(), "Active".into()]);
        table.row(vec!["a-longer-name".into(), String::new()]);
        assert_eq!(table.text(), "NAME            STATE\nci              Active\na-longer-name   <none>");
    }

    #[test]
    fn one_object_is_one_row_however_its_text_was_written_and_widths_are_those_of_what_is_shown() {
        let mut table = Table::new(vec!["NAME", "FOR", "BY"]);
        table.row(vec!["evil".into(), "tests\nforged-1   ci\u{1b}[2J".into(), "a\u{9b}\r\u{202e}".into()]);
        table.row(vec!["漢字".into(), "e\u{301}".into(), "b".into()]);
        let lines: Vec<_> = table.text().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "NAME   FOR                         BY");
        assert_eq!(lines[1], r"evil   tests\nforged-1   ci^[[2J   a\u009b\r\u202e");
        assert_eq!(lines[2], format!("漢字   e\u{301}{}b", " ".repeat(27)));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_printed_line_is_one_line() {
        let mut printed = Vec::new();
        write_line(&mut printed, format_args!("waiting: {}", "no machine\npoolclaim.bullpen.dev/x bound\u{7}"));
        assert_eq!(String::from_utf8(printed).unwrap(), "waiting: no machine\\npoolclaim.bullpen.dev/x bound^G\n");
    }

    #[test]
    fn objects_as_json_and_yaml_mean_the_same_and_drive_no_terminal() {
        let hidden: String = ('\0'..=char::MAX).filter(|character| shown::is_hidden(*character)).collect();
        for text in ["plain".to_owned(), "two\nlines\u{202e}".to_owned(), "\u{9b}2J\u{7f}".to_owned(), hidden] {
            let value = json!({ "a": [text] });
            let [json, yaml] = [Output::Json, Output::Yaml].map(|format| structured(&value, format).unwrap());
            for printed in [&json, &yaml] {
                assert!(!printed.chars().any(|sign| sign != '\n' && shown::is_hidden(sign)), "{printed:?}");
            }
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
            assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), value);
        }
    }

    #[test]
    fn durations_are_printed_as_in_kubectls_tables() {
        let printed: Vec<_> = [0, 90, 120, 125, 600, 7_300, 10_800, 11_000, 40_000, 180_000, 900_000].map(span).into();
        assert_eq!(printed, ["0s", "90s", "2m", "2m5s", "10m", "121m", "3h", "3h3m", "11h", "2d2h", "10d"]);
    }
}
