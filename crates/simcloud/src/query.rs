//! Parses query parameters. Unknown, repeated and invalid ones are refused, and the refusal names the parameter.

use super::cloud::{ListQuery, MAX_PAGE};
use super::validate::name;
use super::wire::Refusal;

pub(super) type Pairs = Vec<(String, String)>;

/// # Errors
/// `Invalid`, naming the parameter.
pub(super) fn list(pairs: Pairs) -> Result<ListQuery, Refusal> {
    let mut query = ListQuery::default();
    for (key, value) in pairs {
        match key.as_str() {
            "region" => once(&key, &mut query.region, named(&key, value)?)?,
            "token" => once(&key, &mut query.token, named(&key, value)?)?,
            "tag" => query.tags.push(tag(&value)?),
            "limit" => once(&key, &mut query.limit, limit(&value)?)?,
            "continue" => once(&key, &mut query.after, number(&key, &value)?)?,
            _ => return Err(unknown(&key, "region, token, tag, limit, continue")),
        }
    }
    Ok(query)
}

/// # Errors
/// `Invalid`, naming the parameter.
pub(super) fn region(pairs: Pairs) -> Result<Option<String>, Refusal> {
    let mut region = None;
    for (key, value) in pairs {
        match key.as_str() {
            "region" => once(&key, &mut region, named(&key, value)?)?,
            _ => return Err(unknown(&key, "region")),
        }
    }
    Ok(region)
}

/// # Errors
/// `Invalid`, naming the parameter.
pub(super) fn since(pairs: Pairs) -> Result<u64, Refusal> {
    let mut since = None;
    for (key, value) in pairs {
        match key.as_str() {
            "since" => once(&key, &mut since, number(&key, &value)?)?,
            _ => return Err(unknown(&key, "since")),
        }
    }
    Ok(since.unwrap_or(0))
}

fn once<T>(key: &str, slot: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::invalid(format!("{key}: given more than once"))),
    }
}

fn named(key: &str, value: String) -> Result<String, Refusal> {
    name(key, &value).map(|()| value)
}

fn tag(value: &str) -> Result<(String, String), Refusal> {
    match value.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Refusal::invalid(format!("tag: {value:?} is not key=value"))),
    }
}

fn limit(value: &str) -> Result<usize, Refusal> {
    let limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| Refusal::invalid(format!("limit: {value:?} is not a number from 1 to {MAX_PAGE}")))
}

fn number(key: &str, value: &str) -> Result<u64, Refusal> {
    value.parse().map_err(|_| Refusal::invalid(format!("{key}: {value:?} is not a number that was given out here")))
}

fn unknown(key: &str, known: &str) -> Refusal {
    Refusal::invalid(format!("{key}: no such parameter; there are {known}"))
}
