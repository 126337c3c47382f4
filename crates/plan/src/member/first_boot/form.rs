//! What the user's data is to cloud-init, by its beginning.

/// What a text is to cloud-init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing, or blanks.
    Empty,
    /// A MIME archive.
    Archive,
    /// Something that begins with a header of cloud-init: its MIME type.
    Typed(&'static str),
    /// Nothing that cloud-init runs.
    Unknown,
}

/// Longer beginnings come before those that they begin with.
const TYPES: [(&str, &str); 10] = [
    ("#cloud-config-archive", "text/cloud-config-archive"),
    ("#cloud-config-jsonp", "text/cloud-config-jsonp"),
    ("#cloud-config", "text/cloud-config"),
    ("#cloud-boothook", "text/cloud-boothook"),
    ("#include-once", "text/x-include-once-url"),
    ("#include", "text/x-include-url"),
    ("#part-handler", "text/part-handler"),
    ("#upstart-job", "text/upstart-job"),
    ("## template: jinja", "text/jinja2"),
    ("#!", "text/x-shellscript"),
];

impl Form {
    /// By cloud-init's rules.
    pub(super) fn of(text: &str) -> Self {
        if text.trim().is_empty() {
            Self::Empty
        } else if is_archive(text) && begins_with_header(text) {
            Self::Archive
        } else {
            by_beginning(text).map_or(Self::Unknown, Self::Typed)
        }
    }
}

/// Whether cloud-init reads a text as a MIME message: "MIME-Version:" is somewhere near its beginning.
pub(super) fn is_archive(text: &str) -> bool {
    let head: Vec<u8> = text.bytes().take(4_096).collect();
    head.to_ascii_lowercase().windows(13).any(|window| window == b"mime-version:")
}

/// Whether the first line is one of a header, as Python's parser sees it. A message without headers, such as a script that
/// speaks of MIME, is to cloud-init what it begins with.
fn begins_with_header(text: &str) -> bool {
    let end = text.find(|letter: char| !letter.is_ascii_graphic() || letter == ':').unwrap_or(text.len());
    text.starts_with([' ', '\t']) || text.starts_with("From ") || text[end..].starts_with(':')
}

/// The MIME type by a text's beginning, as cloud-init finds it: blanks and capitals do not matter.
pub(super) fn by_beginning(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    let begins = |start: &str| text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    TYPES.iter().find(|(start, _)| begins(start)).map(|(_, type_)| *type_)
}
