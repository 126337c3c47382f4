//! Fits text into the columns of a terminal. What is cut ends in, or has in it, an ellipsis, and names that differ look
//! different however narrow they are.

use std::collections::{BTreeMap, BTreeSet};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands for what is left out.
const ELLIPSIS: char = '…';

/// How a column may be made narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Never: half a number is another number.
    Whole,
    /// In the middle, so that names that differ look different; not below this many columns.
    Name(usize),
    /// At its end, not below this many columns.
    Text(usize),
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Where there is no room, columns with a place here are left out: that with the lowest one first.
    pub(super) left_out: Option<u8>,
}

impl Column {
    pub(super) const fn new(name: &'static str, kind: Kind, left_out: Option<u8>) -> Self {
        Self { name, kind, left_out }
    }
}

/// A table that fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) columns: Vec<Column>,
    pub(super) widths: Vec<u16>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Fitted {
    /// The place of the column of this name, unless it was left out.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// The table in so many columns, with `spacing` blanks between its own. The widest column is made narrower first.
pub(super) fn fit(columns: &[Column], rows: &[Vec<String>], width: usize, spacing: usize) -> Fitted {
    let widest = |place: usize| rows.iter().map(|row| row[place].width()).max().unwrap_or(0);
    let mut places: Vec<usize> = (0..columns.len()).collect();
    let wanted: Vec<usize> = places.iter().map(|&place| widest(place).max(columns[place].name.width())).collect();
    let widths = loop {
        let (widths, fits) = narrowed(columns, &wanted, &places, (width, spacing));
        let least = places.iter().filter_map(|&place| Some((columns[place].left_out?, place))).min();
        match least {
            Some((_, place)) if !fits => places.retain(|other| *other != place),
            _ => break widths,
        }
    };
    let mut shown: Vec<Vec<String>> = vec![Vec::with_capacity(places.len()); rows.len()];
    for (&place, &width) in places.iter().zip(&widths) {
        let cells: BTreeSet<&str> = rows.iter().map(|row| row[place].as_str()).collect();
        let names = match columns[place].kind {
            Kind::Name(_) => distinct(&cells, width),
            Kind::Whole | Kind::Text(_) => BTreeMap::new(),
        };
        for (row, shown) in rows.iter().zip(&mut shown) {
            let cell = row[place].as_str();
            shown.push(names.get(cell).cloned().unwrap_or_else(|| cut(cell, width)));
        }
    }
    Fitted {
        columns: places.iter().map(|&place| columns[place]).collect(),
        widths: widths.into_iter().map(|width| u16::try_from(width).unwrap_or(u16::MAX)).collect(),
        rows: shown,
    }
}

/// The widths of these columns, the widest of which give first, and whether they fit.
fn narrowed(
    columns: &[Column],
    wanted: &[usize],
    places: &[usize],
    (width, spacing): (usize, usize),
) -> (Vec<usize>, bool) {
    let room = width.saturating_sub(spacing * places.len().saturating_sub(1));
    let mut widths: Vec<usize> = places.iter().map(|&place| wanted[place]).collect();
    let least = |place: usize| match columns[place].kind {
        Kind::Whole => wanted[place],
        Kind::Name(least) | Kind::Text(least) => least.max(columns[place].name.width()).min(wanted[place]),
    };
    while widths.iter().sum::<usize>() > room {
        let can_give = places.iter().enumerate().filter(|(n, place)| widths[*n] > least(**place));
        let Some((widest, _)) = can_give.max_by_key(|(n, _)| widths[*n]) else { break };
        widths[widest] -= 1;
    }
    let fits = widths.iter().sum::<usize>() <= room;
    (widths, fits)
}

/// The text in so many columns, cut at its end.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = head(text, width.saturating_sub(1)).to_owned();
    if width > 0 {
        kept.push(ELLIPSIS);
    }
    kept
}

/// So many columns of the text's begin.
fn head(text: &str, width: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, sign)| {
        used += sign.width().unwrap_or(0);
        used > width
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// So many columns of the text's end.
fn tail(text: &str, width: usize) -> &str {
    let mut used = 0;
    let begin = text.char_indices().rev().find(|(_, sign)| {
        used += sign.width().unwrap_or(0);
        used > width
    });
    begin.map_or(text, |(at, sign)| &text[at + sign.len_utf8()..])
}

/// The text in so many columns, cut in the middle: names that belong together often differ only at their ends.
pub(super) fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    if kept < 2 {
        return cut(text, width);
    }
    format!("{}{ELLIPSIS}{}", head(text, kept.div_ceil(2)), tail(text, kept / 2))
}

/// Each of these names in so many columns. Names that differ look different, if only by a number where nothing else
/// fits.
pub(super) fn distinct<'a>(names: &BTreeSet<&'a str>, width: usize) -> BTreeMap<&'a str, String> {
    let mut shown: BTreeMap<&str, String> = names.iter().map(|name| (*name, cut_middle(name, width))).collect();
    if names.iter().all(|name| name.width() <= width) {
        return shown;
    }
    for alike in alike(&shown) {
        let same = alike.windows(2).map(|two| common(two[0], two[1])).min().unwrap_or(0);
        for name in alike {
            shown.insert(name, from(name, same, width));
        }
    }
    for alike in alike(&shown) {
        let mut number = 1;
        for name in alike {
            loop {
                let mark = format!("~{number}");
                let text = format!("{}{mark}", cut(name, width.saturating_sub(mark.len())));
                number += 1;
                if !shown.values().any(|other| *other == text) {
                    shown.insert(name, text);
                    break;
                }
            }
        }
    }
    shown
}

/// The names that look alike, in groups.
fn alike<'a>(shown: &BTreeMap<&'a str, String>) -> Vec<Vec<&'a str>> {
    let mut groups: BTreeMap<&str, Vec<&'a str>> = BTreeMap::new();
    for (name, text) in shown {
        groups.entry(text).or_default().push(name);
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

/// How many bytes two names have in common at their begin.
fn common(one: &str, other: &str) -> usize {
    let same = one.char_indices().zip(other.chars()).find(|((_, left), right)| left != right);
    same.map_or(one.len().min(other.len()), |((at, _), _)| at)
}

/// The name from this byte on, if anything of it is there, between ellipses.
fn from(name: &str, begin: usize, width: usize) -> String {
    match name.get(begin..) {
        Some(rest) if begin > 0 && !rest.is_empty() => cut(&format!("{ELLIPSIS}{rest}"), width),
        _ => cut_middle(name, width),
    }
}

/// The text in lines of so many columns, broken between words; the last of so many lines is cut.
pub(super) fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut words = text.split(' ').peekable();
    while words.peek().is_some() && lines.len() < most {
        let is_last = lines.len() + 1 == most;
        let mut line = words.next().unwrap_or_default().to_owned();
        while let Some(word) = words.peek() {
            if !is_last && line.width() + 1 + word.width() > width {
                break;
            }
            line = format!("{line} {word}");
            words.next();
        }
        lines.push(cut(&line, width));
    }
    lines
}

/// Those of the parts, in their order, that fit with two blanks between them: where there is no room, that with the
/// lowest rank is left out first. Returns their places.
pub(super) fn parts(parts: &[(&str, u8)], width: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..parts.len()).collect();
    let taken = |places: &[usize]| places.iter().map(|&place| parts[place].0.width() + 2).sum::<usize>();
    while places.len() > 1 && taken(&places) > width + 2 {
        let least = places.iter().copied().min_by_key(|&place| parts[place].1);
        places.retain(|place| Some(*place) != least);
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(names: &[&str], width: usize) -> Vec<String> {
        let distinct = distinct(&names.iter().copied().collect(), width);
        names.iter().map(|name| distinct[name].clone()).collect()
    }

    #[test]
    fn names_that_differ_at_an_end_are_cut_in_the_middle_and_others_where_they_differ() {
        assert_eq!(shown(&["short", "a-pool-of-machines-for-tests"], 12), ["short", "a-pool…tests"]);
        assert_eq!(shown(&["team-0001-pool-of-eu", "team-0002-pool-of-eu"], 9), ["…1-pool-…", "…2-pool-…"]);
        assert_eq!(shown(&["aaaa-aaaa-aaaa", "aaaa-aaaa-aaaa-aaaa"], 6), ["aaa…aa", "…-aaaa"]);
    }

    #[test]
    fn a_text_is_cut_by_what_it_takes_on_the_screen() {
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut_middle("漢字漢字", 5), "漢…字");
        assert_eq!((cut("abc", 3), cut("abc", 2), cut("abc", 0)), ("abc".into(), "a…".into(), String::new()));
    }

    #[test]
    fn a_text_is_broken_between_words_and_its_last_line_is_cut() {
        assert_eq!(wrap("nothing is bought for now", 10, 3), ["nothing is", "bought for", "now"]);
        assert_eq!(wrap("nothing is bought for now", 10, 2), ["nothing is", "bought fo…"]);
        assert_eq!(wrap("", 10, 2), [""]);
    }

    #[test]
    fn the_least_important_parts_of_a_line_are_left_out_whole() {
        let keys = [("q leave", 9), ("choose", 1), ("scroll", 2), ("p go on", 8)];
        assert_eq!(parts(&keys, 32), [0, 1, 2, 3]);
        assert_eq!(parts(&keys, 31), [0, 2, 3]);
        assert_eq!(parts(&keys, 3), [0]);
    }

    proptest! {
        #[test]
        fn names_that_differ_never_look_alike(
            names in proptest::collection::btree_set("[ab]{1,3}(-[ab]{0,4}){0,12}", 1..40),
            width in 6..30_usize,
        ) {
            let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            let shown = distinct(&names, width);
            let texts: BTreeSet<&String> = shown.values().collect();
            prop_assert_eq!(texts.len(), names.len(), "{:?}", shown);
            for (name, text) in &shown {
                prop_assert!(text.width() <= width && (text == name || text.contains(ELLIPSIS)), "{name} is {text}");
            }
        }

        #[test]
        fn a_table_takes_no_more_than_its_room_and_every_cut_is_visible(
            rows in proptest::collection::vec(("[a-c]{1,63}", "[0-9]{1,5}", "[a-z ]{0,90}"), 0..20),
            width in 12..140_usize,
        ) {
            let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, number, text)| vec![name, number, text]).collect();
            let columns = [
                Column::new("NAME", Kind::Name(6), None),
                Column::new("MAX", Kind::Whole, None),
                Column::new("TROUBLE", Kind::Text(10), Some(1)),
            ];
            let table = fit(&columns, &rows, width, 1);
            let taken: usize = table.widths.iter().map(|width| usize::from(*width)).sum();
            prop_assert!(taken + table.widths.len() - 1 <= width, "{:?}", table.widths);
            for (given, shown) in rows.iter().zip(&table.rows) {
                for (given, (shown, width)) in given.iter().zip(shown.iter().zip(&table.widths)) {
                    prop_assert!(shown.width() <= usize::from(*width));
                    prop_assert!(given == shown || shown.contains(ELLIPSIS));
                }
            }
        }
    }
}
