//! Whether the user's data has a `phone_home` of its own.
//!
//! It is looked for wherever cloud-init takes settings from: in `#cloud-config`, in JSON patches, templates and lists of
//! parts, and in all of these in archives. What YAML is to cloud-init and not to this parser is searched as text, and so
//! are templates. Not seen: what `#include` fetches, what part handlers do, and names that a template puts together.

use std::fmt;

use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::DuplicateKeyPolicy;

use super::form::{Form, by_beginning};
use super::{MergeError, gzip};

/// The key.
const NAME: &str = "phone_home";
/// How deep archives may be in each other.
const MAX_DEPTH: usize = 16;

/// The MIME types whose content cloud-init unpacks.
const GZIP_TYPES: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];

/// Whether there is one, as far as can be seen.
pub(super) fn is_in(text: &str, form: Form) -> Result<bool, MergeError> {
    match form {
        Form::Empty | Form::Unknown => Ok(false),
        Form::Typed(type_) => Ok(in_typed(text, type_)),
        Form::Archive => match MessageParser::new().parse(text.as_bytes()) {
            Some(message) => in_message(&message),
            // Without headers, cloud-init goes by the beginning.
            None => Ok(in_untyped(text)),
        },
    }
}

fn in_message(message: &Message<'_>) -> Result<bool, MergeError> {
    let depth = depth(message);
    if depth > MAX_DEPTH {
        return Err(MergeError::TooDeep(depth));
    }
    for part in &message.parts {
        let found = match &part.body {
            PartType::Multipart(_) => false,
            // The parser limits how deep these are.
            PartType::Message(inner) => in_message(inner)?,
            PartType::Text(text) | PartType::Html(text) => in_part(part, text.as_bytes()),
            PartType::Binary(data) | PartType::InlineBinary(data) => in_part(part, data),
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How deep multiparts are in each other. The parts of one come after it in the list of all parts.
fn depth(message: &Message<'_>) -> usize {
    let mut depths = vec![0_usize; message.parts.len()];
    for (index, part) in message.parts.iter().enumerate() {
        let PartType::Multipart(inner) = &part.body else { continue };
        let deeper = depths.get(index).copied().unwrap_or_default() + 1;
        for id in inner {
            if let Some(depth) = depths.get_mut(*id as usize) {
                *depth = deeper;
            }
        }
    }
    depths.into_iter().max().unwrap_or_default()
}

fn in_part(part: &MessagePart<'_>, data: &[u8]) -> bool {
    let type_ = part.content_type().map(|type_| {
        let subtype = type_.subtype().unwrap_or_default();
        format!("{}/{subtype}", type_.ctype()).to_ascii_lowercase()
    });
    let type_ = type_.unwrap_or_else(|| "text/plain".into());
    if GZIP_TYPES.contains(&type_.as_str()) {
        // What cannot be unpacked is nothing to cloud-init either.
        return gzip::unpack(data).is_ok_and(|unpacked| in_untyped(&String::from_utf8_lossy(&unpacked)));
    }
    let text = String::from_utf8_lossy(data);
    // Here cloud-init does not trust the type that a part says it has.
    if ["text/plain", "text/x-not-multipart", "text/x-shellscript"].contains(&type_.as_str()) {
        return in_untyped(&text);
    }
    in_typed(&text, &type_)
}

fn in_untyped(text: &str) -> bool {
    by_beginning(text).is_some_and(|type_| in_typed(text, type_))
}

fn in_typed(text: &str, type_: &str) -> bool {
    match type_ {
        "text/cloud-config" => {
            read::<Settings>(text).map_or_else(|| is_mentioned(text), |settings| settings.has_phone_home)
        }
        "text/cloud-config-archive" => {
            read::<Vec<Entry>>(text).map_or_else(|| is_mentioned(text), |entries| entries.iter().any(Entry::has_it))
        }
        "text/cloud-config-jsonp" | "text/jinja2" => is_mentioned(text),
        _ => false,
    }
}

/// Whether the name is on a line that is no comment.
fn is_mentioned(text: &str) -> bool {
    text.lines().any(|line| line.contains(NAME) && !line.trim_start().starts_with('#'))
}

/// Reads YAML within the parser's limits for depth, aliases and size.
fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    // cloud-init takes the last of two equal keys.
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    serde_saphyr::from_str_with_options(text, options).ok()
}

/// The top of a `#cloud-config`.
struct Settings {
    has_phone_home: bool,
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopKeys)
    }
}

struct TopKeys;

impl<'de> Visitor<'de> for TopKeys {
    type Value = Settings;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
        let mut has_phone_home = false;
        while let Some(key) = map.next_key::<String>()? {
            has_phone_home |= key == NAME;
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Settings { has_phone_home })
    }
}

/// An entry of a `#cloud-config-archive`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Part {
        #[serde(default, rename = "type")]
        type_: Option<String>,
        #[serde(default)]
        content: Option<String>,
    },
    Other(IgnoredAny),
}

impl Entry {
    fn has_it(&self) -> bool {
        match self {
            Self::Text(text) => in_entry(text, None),
            Self::Part { type_, content } => content.as_deref().is_some_and(|text| in_entry(text, type_.as_deref())),
            Self::Other(_) => false,
        }
    }
}

/// An entry without a type is a `#cloud-config` if its beginning is nothing else. A list in a list is none to cloud-init.
fn in_entry(text: &str, type_: Option<&str>) -> bool {
    let type_ = type_.unwrap_or_else(|| by_beginning(text).unwrap_or("text/cloud-config"));
    type_ != "text/cloud-config-archive" && in_typed(text, &type_.to_ascii_lowercase())
}
