//! Draws the screen from the model. No I/O. `fit` brings texts to the width that there is.

mod fit;

use bullpen_access::shown;
use bullpen_api::{InstancePool, MemberCounts};
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table, TableState};
use unicode_width::UnicodeWidthStr;

use self::fit::{Column, Kind};
use super::model::{Key, Model};
use super::tables;
use crate::shared::printing::span;

/// From this width, in columns, members and queue are side by side.
const WIDE: u16 = 120;
/// From this width lists have two blanks between columns.
const ROOMY: u16 = 79;
/// Width of the graph of the last minute's bindings: one column for two seconds.
const COURSE: u16 = 30;
/// So much of a pool's name is in the title of a list before the words after it are left out.
const NAMED: usize = 24;

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
    let told = draw_pools(frame, top, model, shown);
    if let Some((_, key, pool)) = model.chosen() {
        let trouble = model.trouble_of(pool, shown).filter(|_| !told);
        let rest = draw_trouble(frame, bottom, trouble.as_deref());
        draw_chosen(frame, rest, model, key, pool, shown);
    } else {
        let label = if model.is_whole() { "There is no pool here." } else { "Reading …" };
        frame.render_widget(Paragraph::new(label).dim(), bottom);
    }
    draw_foot(frame, foot, model, now);
}

fn draw_head(frame: &mut Frame, area: Rect, model: &Model, now: Timestamp) {
    let course = if area.width >= WIDE { COURSE } else { 0 };
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(course)]).areas(area);
    let room = usize::from(left.width);
    let scope = model.namespace.as_ref().map_or("all namespaces".to_owned(), |name| format!("namespace {name}"));
    let clock = now.strftime("%H:%M:%S UTC").to_string();
    let mut title = vec![(Span::from("bullpen").bold(), 1), (Span::from(scope), 3), (Span::from(clock), 2)];
    if model.frozen().is_some() {
        title.push((Span::from("frozen").yellow().bold(), 4));
    }
    let rate = |number: u32, word: &str| Span::from(format!("{number} {word}"));
    let waiting = model.waiting();
    let label = Span::from(format!("{waiting} wait"));
    let rates = vec![
        (Span::from("claims/min:").dim(), 4),
        (rate(model.made.per_minute(now), "made").bold(), 1),
        (rate(model.bound.per_minute(now), "bound").bold(), 3),
        (rate(model.ended.per_minute(now), "ended").bold(), 2),
        (Span::from(format!("now: {} hold,", model.holding())).dim(), 5),
        (if waiting > 0 { label.yellow() } else { label.dim() }, 6),
    ];
    frame.render_widget(Paragraph::new(vec![line_of(title, room), line_of(rates, room)]), left);
    if course > 0 {
        let [label, line] = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(right);
        frame.render_widget(Paragraph::new(Line::from("bound, the last minute").right_aligned().dim()), label);
        let data = model.bound.course(now, usize::from(course));
        frame.render_widget(Sparkline::default().data(data).style(Style::new().fg(Color::Green)), line);
    }
}

/// A line of these parts, each with its rank: where there is no room for all, that with the lowest rank is left out first.
fn line_of(parts: Vec<(Span<'static>, u8)>, width: usize) -> Line<'static> {
    let ranked: Vec<(&str, u8)> = parts.iter().map(|(part, rank)| (part.content.as_ref(), *rank)).collect();
    let places = fit::parts(&ranked, width);
    let mut line = Line::default();
    for (place, (part, _)) in parts.into_iter().enumerate() {
        if !places.contains(&place) {
            continue;
        }
        if !line.spans.is_empty() {
            line.push_span("  ");
        }
        let text = fit::cut_middle(&part.content, width);
        line.push_span(part.content(text));
    }
    line
}

fn header<'a>(names: impl IntoIterator<Item = &'a str>) -> Row<'a> {
    Row::new(names.into_iter().map(Cell::from)).style(Style::new().add_modifier(Modifier::DIM))
}

/// The columns of the table of pools. Which of them are left out first is by how much the lines below tell of it.
const POOLS: [Column; 12] = [
    Column::new("NAMESPACE", Kind::Name(NAME), None),
    Column::new("POOL", Kind::Name(NAME), None),
    Column::new("STATE", Kind::Whole, Some(6)),
    Column::new("TARGET", Kind::Whole, Some(9)),
    Column::new("READY", Kind::Whole, Some(10)),
    Column::new("STANDBY", Kind::Whole, Some(3)),
    Column::new("BOOT", Kind::Whole, Some(5)),
    Column::new("CLAIM", Kind::Whole, Some(7)),
    Column::new("END", Kind::Whole, Some(2)),
    Column::new("WAIT", Kind::Whole, Some(8)),
    Column::new("MAX", Kind::Whole, Some(4)),
    Column::new("TROUBLE", Kind::Text(TROUBLE), Some(1)),
];
/// The least that a name gets.
const NAME: usize = 9;
/// Least width of the column of problems; if there is no room for it, only the chosen pool's problem is shown.
const TROUBLE: usize = 10;

/// Draws the table of pools. Returns whether all of the chosen pool's problem is in it.
fn draw_pools(frame: &mut Frame, area: Rect, model: &Model, now: Timestamp) -> bool {
    let has_tier = model.pools().any(|(_, pool)| pool.spec.standby.is_some());
    let is_shown = |name: &str| match name {
        "NAMESPACE" => model.namespace.is_none(),
        "STANDBY" => has_tier,
        _ => true,
    };
    let columns: Vec<Column> = POOLS.into_iter().filter(|column| is_shown(column.name)).collect();
    let rows: Vec<Vec<String>> = model
        .pools()
        .map(|(key, pool)| {
            let cells = std::iter::once(shown::line(&key.0).into_owned()).chain(tables::pool(model, pool, now));
            cells.zip(POOLS).filter(|(_, column)| is_shown(column.name)).map(|(cell, _)| cell).collect()
        })
        .collect();
    let fitted = fit::fit(&columns, &rows, area.width.into(), 1);
    let chosen = model.chosen().map(|(place, ..)| place);
    let told = chosen.is_none_or(|place| {
        let trouble = rows[place].last().is_some_and(String::is_empty);
        trouble || fitted.place("TROUBLE").is_some_and(|column| fitted.rows[place].get(column) == rows[place].last())
    });
    let lines = fitted.rows.iter().map(|row| {
        Row::new(row.iter().zip(&fitted.columns).map(|(text, column)| pool_cell(column.name, text.clone())))
    });
    let table = Table::new(lines, fitted.widths.iter().map(|width| Constraint::Length(*width)))
        .header(header(fitted.columns.iter().map(|column| column.name)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().borders(Borders::TOP).border_style(Style::new().dim()));
    let mut state = TableState::default().with_selected(chosen);
    frame.render_stateful_widget(table, area, &mut state);
    told
}

/// A cell of the table of pools, in color if a person should notice it.
fn pool_cell(column: &str, text: String) -> Cell<'static> {
    let some = text != "0";
    let style = match column {
        "STATE" if text != "Active" => Style::new().yellow(),
        "READY" if some => Style::new().green(),
        "WAIT" if some => Style::new().yellow(),
        "TROUBLE" => Style::new().red(),
        _ => Style::new(),
    };
    Cell::from(text).style(style)
}

const MEMBERS: [Column; 6] = [
    Column::new("MEMBER", Kind::Name(10), None),
    Column::new("STATE", Kind::Text(8), None),
    Column::new("AGE", Kind::Whole, Some(2)),
    Column::new("ADDRESS", Kind::Name(15), Some(3)),
    Column::new("INSTANCE", Kind::Whole, Some(1)),
    Column::new("CLAIM OR REASON", Kind::Text(15), None),
];

const QUEUE: [Column; 5] = [
    Column::new("#", Kind::Whole, None),
    Column::new("CLAIM", Kind::Name(10), None),
    Column::new("AGE", Kind::Whole, Some(2)),
    Column::new("BY", Kind::Name(8), Some(1)),
    Column::new("WAITS FOR", Kind::Text(10), None),
];

/// Draws the members and the queue of the chosen pool.
fn draw_chosen(frame: &mut Frame, area: Rect, model: &Model, key: &Key, pool: &InstancePool, now: Timestamp) {
    let queue = model.queue_of(key);
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
    let counts = pool.status.as_ref().and_then(|status| status.members).unwrap_or_default();
    let members = model.members_of(key).into_iter().map(|member| tables::member(member, now).to_vec()).collect();
    let title = |what: &str, rest: Vec<Span<'static>>| Title { what: what.to_owned(), pool: named(model, key), rest };
    let list = List { title: title("members of", count_words(&counts)), columns: &MEMBERS, rows: members };
    draw_list(frame, of_members, list, model.scrolled());
    let rows: Vec<_> =
        queue.iter().enumerate().map(|(place, claim)| tables::waiting(place, claim, now).to_vec()).collect();
    let waits = if rows.is_empty() { "nobody waits".to_owned() } else { rows.len().to_string() };
    let columns: &[Column] = if rows.is_empty() { &[] } else { &QUEUE };
    let list = List { title: title("queue of", vec![Span::from(waits)]), columns, rows };
    draw_list(frame, of_queue, list, model.scrolled());
}

/// The pool's name, with its namespace where pools of others are shown too.
fn named(model: &Model, (namespace, name): &Key) -> String {
    if model.namespace.is_none() { format!("{namespace}/{name}") } else { name.clone() }
}

/// Draws a problem that the table of pools could not show in full. Returns the area that is left.
fn draw_trouble(frame: &mut Frame, area: Rect, trouble: Option<&str>) -> Rect {
    let Some(trouble) = trouble else { return area };
    let lines = fit::wrap(&format!("! {}", shown::line(trouble)), area.width.into(), 3);
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let [line, rest] = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(area);
    let lines: Vec<_> = lines.into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(lines).red(), line);
    rest
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
    some.map(|(count, word, state)| Span::styled(format!("{count} {word}"), color_of(state))).collect()
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

/// The title of a list: what it is of which pool.
struct Title {
    what: String,
    pool: String,
    rest: Vec<Span<'static>>,
}

/// A list with a title.
struct List<'a> {
    title: Title,
    columns: &'a [Column],
    rows: Vec<Vec<String>>,
}

/// Draws a list, scrolled at most to its end. Reports how many rows are above and below.
fn draw_list(frame: &mut Frame, area: Rect, list: List<'_>, scrolled: usize) {
    let List { title, columns, rows } = list;
    let room = usize::from(area.height.saturating_sub(2));
    let above = scrolled.min(rows.len().saturating_sub(room));
    let below = (rows.len() - above).saturating_sub(room);
    let more = match (above, below) {
        (0, 0) => String::new(),
        (0, below) => format!(" {below} more "),
        (above, 0) => format!(" {above} above "),
        (above, below) => format!(" {above} above, {below} more "),
    };
    let width = usize::from(area.width);
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().dim())
        .title(title_in(title, width.saturating_sub(more.width())))
        .title(Line::from(more).right_aligned().dim());
    let spacing: u16 = if area.width >= ROOMY { 2 } else { 1 };
    let fitted = fit::fit(columns, &rows, width, spacing.into());
    let state = fitted.place("STATE");
    // The color is that of the whole text.
    let of_state = columns.iter().position(|column| column.name == "STATE");
    let shown = fitted.rows.iter().zip(&rows).skip(above).take(room).map(|(row, whole)| {
        Row::new(row.iter().enumerate().map(|(place, text)| {
            let style = of_state.filter(|_| state == Some(place)).map(|of| color_of(&whole[of]));
            Cell::from(text.clone()).style(style.unwrap_or_default())
        }))
    });
    let widths = fitted.widths.iter().map(|width| Constraint::Length(*width));
    let mut table = Table::new(shown, widths).block(block).column_spacing(spacing);
    if !columns.is_empty() {
        table = table.header(header(fitted.columns.iter().map(|column| column.name)));
    }
    frame.render_widget(table, area);
}

/// The title in so many columns: first the last words are left out, then the pool's name is cut.
fn title_in(title: Title, width: usize) -> Line<'static> {
    let Title { what, pool, mut rest } = title;
    let lead = format!(" {what} ");
    let of_rest = |rest: &[Span<'_>]| rest.iter().map(|part| part.width() + 1).sum::<usize>();
    let all = rest.len();
    while !rest.is_empty() && lead.width() + pool.width().min(NAMED) + 2 + of_rest(&rest) + 2 > width {
        rest.pop();
    }
    let is_cut = rest.len() < all;
    let marks = if is_cut { 2 } else { 0 };
    let for_pool = width.saturating_sub(lead.width() + 2 + of_rest(&rest) + marks);
    let mut line = Line::from(fit::cut(&format!("{lead}{}: ", fit::cut_middle(&pool, for_pool)), width));
    for part in rest {
        line.push_span(part);
        line.push_span(" ");
    }
    if is_cut {
        line.push_span("… ");
    }
    line
}

fn draw_foot(frame: &mut Frame, area: Rect, model: &Model, now: Timestamp) {
    let width = usize::from(area.width);
    let freeze = if model.frozen().is_some() { "p go on" } else { "p freeze" };
    let keys = [("q leave", 4), ("↑↓ choose a pool", 2), ("PgUp PgDn scroll", 1), (freeze, 3)];
    // The keys that a person needs now are worth more than since when the view is frozen.
    let needed = keys[0].0.width() + 2 + freeze.width();
    let since = model.frozen().map(|since| format!("since {}", span(now.duration_since(since).as_secs())));
    let since = since.filter(|since| needed + 2 + since.width() <= width);
    let room = width.saturating_sub(since.as_ref().map_or(0, |since| since.width() + 2));
    let line = if let Some((what, why)) = model.trouble.iter().next() {
        Line::from(fit::cut(&format!("watching {what} is interrupted: {}", shown::line(why)), room)).red()
    } else {
        line_of(keys.map(|(key, rank)| (Span::from(key), rank)).to_vec(), room).dim()
    };
    frame.render_widget(Paragraph::new(line), area);
    if let Some(since) = since {
        frame.render_widget(Paragraph::new(Line::from(since).right_aligned().yellow()), area);
    }
}

#[cfg(test)]
mod tests;
