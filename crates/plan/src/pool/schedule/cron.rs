//! What is wrong with a cron expression, field by field. Only what is named nowhere here is left to the parser, whose
//! errors name neither field nor bounds.

/// A field of a cron expression.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// The names of its values, from `first` on.
    names: &'static [&'static str],
    first: u32,
    /// What is said after the bounds.
    note: &'static str,
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[], first: 0, note: "" },
    Field { name: "hour", least: 0, most: 23, names: &[], first: 0, note: "" },
    Field { name: "day of the month", least: 1, most: 31, names: &[], first: 0, note: ", or L for the last" },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        first: 1,
        note: ", or JAN to DEC",
    },
    Field {
        name: "day of the week",
        least: 0,
        most: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        first: 0,
        note: " (0 and 7 are Sunday), or SUN to SAT",
    },
];

/// What else the days may have.
const DAY_OF_MONTH: usize = 2;
const DAY_OF_WEEK: usize = 4;

/// The nicknames of cron, and what they stand for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// What is wrong with the expression: each with its field, its value, and the bounds or what to write instead.
pub(super) fn problems(cron: &str) -> Vec<String> {
    let nickname = NICKNAMES.iter().find(|(nickname, _)| cron.trim().eq_ignore_ascii_case(nickname));
    if let Some((nickname, fields)) = nickname {
        return vec![format!("{nickname} is not known: write {fields}")];
    }
    let parts: Vec<&str> = cron.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        let names = "minute, hour, day of the month, month, day of the week";
        let fields = if parts.len() == 1 { "field" } else { "fields" };
        return vec![format!("{} {fields} instead of five: {names}, such as 0 7 * * 1-5", parts.len())];
    }
    parts.iter().enumerate().flat_map(|(place, part)| of_field(place, part)).collect()
}

fn of_field(place: usize, text: &str) -> Vec<String> {
    let field = &FIELDS[place];
    let items = text.split(',');
    let problem = |item: &str| {
        let problem = if item.is_empty() { Some("an item of the list is empty".into()) } else { of_item(place, item) };
        let shown = if item.is_empty() { text } else { item };
        problem.map(|problem| format!("{} {shown}: {problem}", field.name))
    };
    let mut problems: Vec<String> = items.filter_map(problem).collect();
    problems.dedup();
    problems
}

/// What is wrong with one item of a list.
fn of_item(place: usize, item: &str) -> Option<String> {
    let field = &FIELDS[place];
    let upper = item.to_uppercase();
    if place == DAY_OF_MONTH {
        if upper == "L" || upper == "LW" {
            return None;
        }
        if let Some(day) = upper.strip_suffix('W') {
            return field.value(day, false).err();
        }
    }
    let mut rest = upper.as_str();
    if place == DAY_OF_WEEK {
        if upper == "L" {
            return None;
        }
        if let Some(day) = upper.strip_suffix('L') {
            return field.value(day, false).err();
        }
        if let Some((days, nth)) = upper.split_once('#') {
            if !matches!(nth, "1" | "2" | "3" | "4" | "5") {
                return Some("# is followed by 1 to 5, which of them in the month".into());
            }
            rest = days;
            if rest == "*" {
                return Some(format!("before # there is a day: {}", field.bounds()));
            }
        }
    }
    let (range, step) = match rest.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (rest, None),
    };
    let wrong_step = step.filter(|step| !is_step(step)).map(|_| "a step after / is a number from 1 to 9999".to_owned());
    if range == "*" {
        return wrong_step;
    }
    if let Some((from, to)) = range.split_once('-') {
        return field.range(from, to, step).err().or(wrong_step);
    }
    if let Some(step) = step {
        let from = if range.is_empty() {
            "*".to_owned()
        } else {
            format!("{range}-{}", if field.most == 7 { 6 } else { field.most })
        };
        return Some(match field.value(range, false) {
            Err(problem) if !range.is_empty() => problem,
            _ => format!("a step is of * or of a range; write {from}/{step}"),
        });
    }
    field.value(range, false).err()
}

fn is_step(text: &str) -> bool {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    number.is_some_and(|step| (1..=9_999).contains(&step))
}

impl Field {
    fn bounds(&self) -> String {
        format!("{} to {}{}", self.least, self.most, self.note)
    }

    /// The value of a number or a name; or the bounds, if it has none. Sunday ends a week as 7.
    fn value(&self, text: &str, ends_range: bool) -> Result<u32, String> {
        if let Some(place) = self.names.iter().position(|name| *name == text) {
            let value = u32::try_from(place).unwrap_or_default() + self.first;
            return Ok(if ends_range && value < self.least.max(1) { self.most } else { value });
        }
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        number.filter(|number| (self.least..=self.most).contains(number)).ok_or_else(|| self.bounds())
    }

    fn range(&self, from: &str, to: &str, step: Option<&str>) -> Result<(), String> {
        let (first, last) = (self.value(from, false)?, self.value(to, true)?);
        if first <= last {
            return Ok(());
        }
        // Seven is Sunday, as zero is.
        let most = if self.most == 7 { 6 } else { self.most };
        let first = if self.most == 7 && first == 7 { 0 } else { first };
        let range = |from: u32, to: u32| if from == to { from.to_string() } else { format!("{from}-{to}") };
        if first <= last {
            let step = step.map(|step| format!("/{step}")).unwrap_or_default();
            return Err(format!("a range goes upwards; write {}{step}", range(first, last)));
        }
        if step.is_none() {
            return Err(format!("a range goes upwards; write {},{}", range(first, most), range(self.least, last)));
        }
        Err(format!("a range goes upwards; write two, one to {most} and one from {}", self.least))
    }
}
