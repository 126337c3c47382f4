//! Draws the screen from the model. No I/O.

use bullpen_access::shown;
use bullpen_api::{InstancePool, MemberCounts};
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table, TableState, Wrap};

use unicode_width::UnicodeWidthStr;

use super::model::{Key, Model};
use super::tables;
use crate::shared::printing::span;

/// From this width, in columns, members and queue are side by side.
const WIDE: u16 = 120;
/// From this width the id of a member's machine is shown.
const INSTANCES: u16 = 90;
/// From this width lists have two blanks between columns.
const ROOMY: u16 = 79;
/// Width of the graph of the last minute's bindings: one column for two seconds.
const COURSE: u16 = 30;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame, model: &Model, now: Timestamp) {
    let shown = model.frozen().unwrap_or(now);
    let count = u16::try_from(model.pools().count()).unwrap_or(u16::MAX);
    let area = frame.area();
    // The pools get the rows that they need, up to half of the screen.
    let of_pools = count.saturating_add(2).clamp(3, (area.height / 2).max(3));
    let [head, top, bottom, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(of_pools),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, head, model, shown);
    draw_pools(frame, top, model, shown);
    if let Some((_, key, pool)) = model.chosen() {
        draw_chosen(frame, bottom, model, key, pool, shown);
    } else {
        let label = if model.is_whole() { "There is no pool here." } else { "Reading …" };
        frame.render_widget(Paragraph::new(label).dim(), bottom);
    }
    draw_foot(frame, foot, model);
}

fn draw_head(frame: &mut Frame, area: Rect, model: &Model, now: Timestamp) {
    let course = if area.width >= WIDE { COURSE } else { 0 };
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(course)]).areas(area);
    let scope = model.namespace.as_ref().map_or("all namespaces".to_owned(), |name| format!("namespace {name}"));
    let clock = now.strftime("%H:%M:%S UTC").to_string();
    let mut title = vec![Span::from("bullpen").bold(), Span::from(format!("  {scope}  {clock}"))];
    if model.frozen().is_some() {
        title.push(Span::from("  frozen").yellow().bold());
    }
    let rate = |number: u32, word: &str| [Span::from(number.to_string()).bold(), Span::from(format!(" {word}  "))];
    let mut rates = vec![Span::from("claims/min: ").dim()];
    rates.extend(rate(model.made.per_minute(now), "made"));
    rates.extend(rate(model.bound.per_minute(now), "bound"));
    rates.extend(rate(model.ended.per_minute(now), "ended"));
    let waiting = model.waiting();
    rates.push(Span::from(format!("now: {} hold, ", model.holding())).dim());
    let label = Span::from(format!("{waiting} wait"));
    rates.push(if waiting > 0 { label.yellow() } else { label.dim() });
    frame.render_widget(Paragraph::new(vec![Line::from(title), Line::from(rates)]), left);
    if course > 0 {
        let [label, line] = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(right);
        frame.render_widget(Paragraph::new(Line::from("bound, the last minute").right_aligned().dim()), label);
        let data = model.bound.course(now, usize::from(course));
        frame.render_widget(Sparkline::default().data(data).style(Style::new().fg(Color::Green)), line);
    }
}

fn header<'a>(names: impl IntoIterator<Item = &'a str>) -> Row<'a> {
    Row::new(names.into_iter().map(Cell::from)).style(Style::new().add_modifier(Modifier::DIM))
}

/// The columns of numbers of the table of pools, with their widths. They are never cut: half a number is another one.
const NUMBERS: [(&str, u16); 9] = [
    ("STATE", 8),
    ("TARGET", 6),
    ("READY", 5),
    ("STANDBY", 7),
    ("BOOT", 5),
    ("CLAIM", 5),
    ("END", 4),
    ("WAIT", 5),
    ("MAX", 5),
];
/// The longest name that is shown whole, and the least that a name gets.
const NAME: (u16, u16) = (24, 6);
/// Least width of the column of problems; if there is no room for it, only the chosen pool's problem is shown.
const TROUBLE: u16 = 10;

fn draw_pools(frame: &mut Frame, area: Rect, model: &Model, now: Timestamp) {
    let longest = |of: fn(&Key) -> &String, least: u16| {
        let widest = model.pools().map(|(key, _)| of(key).chars().count()).max().unwrap_or(0);
        u16::try_from(widest).unwrap_or(NAME.0).clamp(least, NAME.0)
    };
    let has_tier = model.pools().any(|(_, pool)| pool.spec.standby.is_some());
    let numbers = || NUMBERS.into_iter().filter(|(name, _)| has_tier || *name != "STANDBY");
    let mut heads = vec![];
    if model.namespace.is_none() {
        heads.push(("NAMESPACE", longest(|key| &key.0, 9)));
    }
    heads.push(("POOL", longest(|key| &key.1, NAME.1)));
    let room = area.width.saturating_sub(numbers().map(|(_, width)| width + 1).sum());
    let of_names: u16 = heads.iter().map(|(_, width)| width + 1).sum();
    let has_trouble = of_names + TROUBLE <= room;
    if of_names > room + 1 {
        let each = (room + 1) / u16::try_from(heads.len()).unwrap_or(1);
        for (_, width) in &mut heads {
            *width = each.saturating_sub(1).max(NAME.1);
        }
    }
    let names: Vec<u16> = heads.iter().map(|(_, width)| *width).collect();
    let mut columns: Vec<_> = heads.into_iter().chain(numbers()).collect();
    let mut widths: Vec<_> = columns.iter().map(|(_, width)| Constraint::Length(*width)).collect();
    if has_trouble {
        columns.push(("TROUBLE", TROUBLE));
        widths.push(Constraint::Min(TROUBLE));
    }
    let rows = model.pools().map(|(key, pool)| {
        let mut cells: Vec<_> =
            tables::pool(model, pool, now).into_iter().enumerate().map(|(n, text)| pool_cell(n, text)).collect();
        if !has_trouble {
            cells.pop();
        }
        if !has_tier {
            cells.remove(tables::STANDBY);
        }
        let shown = [&key.0, &key.1];
        let shown =
            shown[shown.len() - names.len()..].iter().zip(&names).map(|(name, width)| Cell::from(cut(name, *width)));
        cells.splice(..1, shown);
        Row::new(cells)
    });
    let table = Table::new(rows, widths)
        .header(header(columns.iter().map(|(name, _)| *name)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().borders(Borders::TOP).border_style(Style::new().dim()));
    let mut state = TableState::default().with_selected(model.chosen().map(|(place, ..)| place));
    frame.render_stateful_widget(table, area, &mut state);
}

/// The text in so many columns; what is left out is an ellipsis.
fn cut(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A cell of the table of pools, in color if a person should notice it.
fn pool_cell(column: usize, text: String) -> Cell<'static> {
    let some = text != "0";
    let style = match column {
        1 if text != "Active" => Style::new().yellow(),
        3 if some => Style::new().green(),
        8 if some => Style::new().yellow(),
        10 => Style::new().red(),
        _ => Style::new(),
    };
    Cell::from(text).style(style)
}

fn draw_chosen(frame: &mut Frame, area: Rect, model: &Model, key: &Key, pool: &InstancePool, now: Timestamp) {
    let queue = model.queue_of(key);
    let area = draw_trouble(frame, area, model.trouble_of(pool, now).as_deref());
    let (of_members, of_queue) = if area.width >= WIDE && !queue.is_empty() {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(area);
        (left, right)
    } else {
        // A queue gets the rows that it needs, up to half of the room.
        let lines = u16::try_from(queue.len()).unwrap_or(u16::MAX).saturating_add(2);
        let lines = if queue.is_empty() { 1 } else { lines.clamp(3, (area.height / 2).max(3)) };
        let [upper, lower] = Layout::vertical([Constraint::Min(0), Constraint::Length(lines)]).areas(area);
        (upper, lower)
    };
    draw_members(frame, of_members, model, key, pool, now);
    let lines: Vec<_> = queue.iter().enumerate().map(|(place, claim)| tables::waiting(place, claim, now)).collect();
    let title = match queue.len() {
        0 => format!(" queue of {}: nobody waits ", key.1),
        some => format!(" queue of {}: {some} ", key.1),
    };
    let names = ["#", "CLAIM", "AGE", "BY", "WAITS FOR"];
    let widths = names.iter().enumerate().map(|(column, name)| match column {
        4 => Constraint::Min(10),
        _ => Constraint::Length(widest(name, lines.iter().map(|line| line[column].as_str()))),
    });
    let widths = widths.collect();
    let shown = if lines.is_empty() { vec![] } else { names.to_vec() };
    let rows = lines.iter().map(|line| Row::new(line.clone())).collect();
    let list = List { title: title.into(), names: shown, rows, widths, scrolled: model.scrolled() };
    draw_list(frame, of_queue, list);
}

/// Draws the chosen pool's problem in full if the table has cut it. Returns the area that is left.
fn draw_trouble(frame: &mut Frame, area: Rect, trouble: Option<&str>) -> Rect {
    let Some(trouble) = trouble.filter(|_| area.width < WIDE) else { return area };
    let trouble = shown::line(trouble);
    let label = Paragraph::new(format!("! {trouble}")).red().wrap(Wrap { trim: true });
    let lines = u16::try_from(trouble.chars().count()).unwrap_or(u16::MAX).saturating_add(2) / area.width.max(1) + 1;
    let [line, rest] = Layout::vertical([Constraint::Length(lines.min(3)), Constraint::Min(0)]).areas(area);
    frame.render_widget(label, line);
    rest
}

fn draw_members(frame: &mut Frame, area: Rect, model: &Model, key: &Key, pool: &InstancePool, now: Timestamp) {
    let members = model.members_of(key);
    let counts = pool.status.as_ref().and_then(|status| status.members).unwrap_or_default();
    let mut title = vec![Span::from(format!(" members of {}: ", key.1))];
    title.extend(count_words(&counts));
    let lines: Vec<_> = members.iter().map(|member| tables::member(member, now)).collect();
    // If there is no room for all columns, the machine's id is left out.
    let columns: &[usize] = if area.width >= INSTANCES { &[0, 1, 2, 3, 4, 5] } else { &[0, 1, 2, 3, 5] };
    let names = ["MEMBER", "STATE", "AGE", "ADDRESS", "INSTANCE", "CLAIM OR REASON"];
    let widths = columns.iter().map(|&column| match column {
        5 => Constraint::Min(15),
        _ => Constraint::Length(widest(names[column], lines.iter().map(|line| line[column].as_str()))),
    });
    let rows = lines.iter().map(|line| {
        Row::new(columns.iter().map(|&column| {
            let style = if column == 1 { color_of(&line[1]) } else { Style::new() };
            Cell::from(line[column].clone()).style(style)
        }))
    });
    let shown = columns.iter().map(|&column| names[column]).collect();
    let (rows, widths) = (rows.collect(), widths.collect());
    draw_list(frame, area, List { title: title.into(), names: shown, rows, widths, scrolled: model.scrolled() });
}

/// The width of a column: that of its longest cell, up to a limit.
fn widest<'a>(name: &str, cells: impl Iterator<Item = &'a str>) -> u16 {
    let longest = cells.map(UnicodeWidthStr::width).chain([name.len()]).max().unwrap_or(0);
    u16::try_from(longest).unwrap_or(u16::MAX).min(26)
}

/// The numbers of members by state, without zeros.
fn count_words(counts: &MemberCounts) -> Vec<Span<'static>> {
    let aside = counts.total
        - counts.pending
        - counts.warming
        - counts.ready
        - counts.standby
        - counts.claimed
        - counts.errored
        - counts.terminating;
    let parts = [
        (counts.ready, "ready", "Ready"),
        (counts.warming, "warming", "Warming"),
        (counts.pending, "pending", "Pending"),
        (counts.standby, "on standby", "Standby"),
        (counts.claimed, "claimed", "Claimed"),
        (counts.errored, "failed", "Errored"),
        (counts.terminating, "terminating", "Terminating"),
        (aside, "aside", "Cordoned"),
    ];
    let some = parts.into_iter().filter(|(count, ..)| *count > 0);
    some.map(|(count, word, state)| Span::styled(format!("{count} {word} "), color_of(state))).collect()
}

/// The color of a member's state.
fn color_of(state: &str) -> Style {
    let style = Style::new();
    match state {
        "Ready" => style.green(),
        "Warming" | "Pending" => style.cyan(),
        "Claimed" => style.blue(),
        "Errored" => style.red(),
        _ => style.yellow(),
    }
}

/// A list with a title.
struct List<'a> {
    title: Line<'a>,
    names: Vec<&'a str>,
    rows: Vec<Row<'a>>,
    widths: Vec<Constraint>,
    /// How many rows are to be above the screen.
    scrolled: usize,
}

/// Draws a list, scrolled at most to its end. Reports how many rows are above and below.
fn draw_list(frame: &mut Frame, area: Rect, list: List<'_>) {
    let List { title, names, mut rows, widths, scrolled } = list;
    let room = usize::from(area.height.saturating_sub(2));
    let above = scrolled.min(rows.len().saturating_sub(room));
    rows.drain(..above);
    let mut block = Block::new().borders(Borders::TOP).border_style(Style::new().dim()).title(title);
    if rows.len() > room {
        let more = rows.len() - room;
        let text = if above > 0 { format!(" {above} above, {more} more ") } else { format!(" {more} more ") };
        block = block.title(Line::from(text).right_aligned().dim());
        rows.truncate(room);
    } else if above > 0 {
        block = block.title(Line::from(format!(" {above} above ")).right_aligned().dim());
    }
    let spacing = if area.width >= ROOMY { 2 } else { 1 };
    let mut table = Table::new(rows, widths).block(block).column_spacing(spacing);
    if !names.is_empty() {
        table = table.header(header(names));
    }
    frame.render_widget(table, area);
}

fn draw_foot(frame: &mut Frame, area: Rect, model: &Model) {
    let line = if let Some((what, why)) = model.trouble.iter().next() {
        Line::from(format!("watching {what} is interrupted: {}", shown::line(why))).red()
    } else {
        let freeze = model.frozen().map_or("p freeze", |_| "p go on");
        Line::from(format!("q leave  ↑↓ choose a pool  PgUp PgDn scroll  {freeze}")).dim()
    };
    frame.render_widget(Paragraph::new(line), area);
    if let Some(since) = model.frozen() {
        let label = format!("since {}", span(Timestamp::now().duration_since(since).as_secs()));
        frame.render_widget(Paragraph::new(Line::from(label).right_aligned().yellow()), area);
    }
}

#[cfg(test)]
mod tests;
