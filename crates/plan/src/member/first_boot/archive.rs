//! The MIME archive that the user's data and our parts become.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::form::{Form, by_beginning, is_archive};

/// Length of a base64 line (RFC 2045).
const BASE64_LINE: usize = 76;

/// One archive of our parts and, between them, the user's data, unless that is empty.
pub(super) fn combine(before: &[String], user_data: &str, after: &[String]) -> String {
    let theirs = (Form::of(user_data) != Form::Empty).then(|| part(user_data));
    let parts: Vec<&str> = before.iter().chain(&theirs).chain(after).map(String::as_str).collect();
    // The boundary has a hash of the parts, so it cannot occur in them.
    let hash = Sha256::digest(hashed(&parts, theirs.is_some()));
    let hash = hash.iter().take(12).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    archive(&parts, &hash)
}

/// What the boundary is a hash of. Without data of the user's it begins with an empty line, as it did when that data was
/// always the first part: the archives that create calls were sent with stay as they were.
fn hashed(parts: &[&str], has_theirs: bool) -> String {
    let parts = parts.join("\n");
    if has_theirs { parts } else { format!("\n{parts}") }
}

fn archive(parts: &[&str], hash: &str) -> String {
    let boundary = format!("bullpen-{hash}");
    let head = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n");
    let parts = parts.iter().fold(String::new(), |before, part| before + "\n--" + &boundary + "\n" + part);
    format!("{head}{parts}\n--{boundary}--\n")
}

/// The user's data as a MIME part. An archive stays one, nested in ours.
fn part(text: &str) -> String {
    if is_archive(text) {
        return text.to_owned();
    }
    let type_ = content_type(text);
    // A line break before a boundary is the boundary's, and takes a carriage return along.
    if text.is_ascii() && !text.ends_with('\r') {
        return format!("Content-Type: {type_}; charset=\"us-ascii\"\nMIME-Version: 1.0\n\n{text}");
    }
    // cloud-init (Python) would corrupt other characters in a part without an encoding.
    let encoded = STANDARD.encode(text);
    let lines = encoded.as_bytes().chunks(BASE64_LINE).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!(
        "Content-Type: {type_}; charset=\"utf-8\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n{lines}\n"
    )
}

/// The MIME type by the beginning of the text. For everything but a known beginning it is `text/plain`, for which
/// cloud-init looks at the text itself.
fn content_type(text: &str) -> &'static str {
    by_beginning(text).filter(|_| text.starts_with('#')).unwrap_or("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::first_boot::additions::login_part;
    use crate::member::ssh_keys::InstallationSecret;

    fn key() -> String {
        InstallationSecret::from_bytes(&[1; 32]).unwrap().ssh_key("u-1", 0).unwrap().public_line().unwrap()
    }

    fn with_key(user_data: Option<&str>, user: &str, key: &str) -> String {
        combine(&[], user_data.unwrap_or_default(), &[login_part(user, key)])
    }

    #[test]
    fn the_same_data_and_key_give_the_same_bytes_and_the_data_passes_through() {
        let script = "#!/bin/sh\necho one\n\n  echo two  \n";
        let archive = with_key(Some(script), "bullpen", &key());
        assert_eq!(archive, with_key(Some(script), "bullpen", &key()));
        assert!(archive.contains(&format!(
            "Content-Type: text/x-shellscript; charset=\"us-ascii\"\nMIME-Version: 1.0\n\n{script}\n--bullpen-"
        )));
        assert!(archive.contains(&key()) && archive.contains("- name: bullpen\n"));
        assert!(archive.starts_with("Content-Type: multipart/mixed; boundary=\"bullpen-") && archive.ends_with("--\n"));
    }

    #[test]
    fn the_boundary_of_an_archive_does_not_occur_in_its_parts() {
        let first = with_key(Some("#!/bin/sh\n"), "bullpen", &key());
        let nested = with_key(Some(&first), "bullpen", &key());
        let boundary = |archive: &str| archive.split('"').nth(1).unwrap().to_owned();
        assert_ne!(boundary(&first), boundary(&nested));
        assert_eq!(nested.matches(&boundary(&nested)).count(), 4);
        assert!(nested.contains(&first), "an archive stays one");
    }

    #[test]
    fn without_data_there_is_only_the_part_of_the_key() {
        let archive = with_key(None, "ci", &key());
        assert_eq!(archive.matches("Content-Type: ").count(), 2);
        assert_eq!(archive, with_key(Some(" \n"), "ci", &key()));
    }

    #[test]
    fn each_kind_of_data_is_named_as_cloud_init_names_it() {
        for (text, type_) in [
            ("#cloud-config\npackages: []", "text/cloud-config"),
            ("#cloud-config-archive\n[]", "text/cloud-config-archive"),
            ("#include https://example.com/x", "text/x-include-url"),
            ("#include-once\nhttps://example.com/x", "text/x-include-once-url"),
            ("#cloud-boothook\ntrue", "text/cloud-boothook"),
            ("## template: jinja\n#cloud-config", "text/jinja2"),
            ("true", "text/plain"),
        ] {
            assert_eq!(content_type(text), type_, "{text}");
        }
    }

    #[test]
    fn other_characters_than_ascii_are_encoded() {
        let archive = with_key(Some("#!/bin/sh\necho é\n"), "ci", &key());
        assert!(archive.is_ascii() && archive.contains("IyEvYmluL3NoCmVjaG8gw6kK"), "{archive}");
    }
}
