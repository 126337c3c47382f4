//! The user data of a machine: the user's own as it is, or combined with a cloud-init part that adds an SSH key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Most bytes of user data: the smallest limit among clouds (EC2).
pub const MAX_USER_DATA: usize = 16_384;
/// Length of every line from [`SshKey::public_line`](crate::member::ssh_keys::SshKey::public_line). With it the total
/// length is known before there is a key.
const KEY_LINE: usize = 88;
/// Length of a base64 line (RFC 2045).
const BASE64_LINE: usize = 76;

/// A MIME archive of the user's data and a cloud-init part that creates `user` with the public `key`. The same
/// arguments always give the same bytes, because a repeated create must not differ.
///
/// Our part comes last and is merged with the user's data. Without merging, one list of users would replace the other,
/// and somebody could not log in.
pub fn with_key(user_data: Option<&str>, user: &str, key: &str) -> String {
    let (theirs, ours) = (their_part(user_data), our_part(user, key));
    // The boundary has a hash of the parts, so it cannot occur in them.
    let hash = Sha256::digest(format!("{theirs}\n{ours}"));
    let hash = hash.iter().take(12).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    archive(&theirs, &ours, &hash)
}

/// An error message if the data is too long together with a key.
pub fn too_long(user_data: Option<&str>, user: &str) -> Option<String> {
    let ours = our_part(user, &"x".repeat(KEY_LINE));
    let length = archive(&their_part(user_data), &ours, &"x".repeat(24)).len();
    (length > MAX_USER_DATA).then(|| {
        format!(
            "template.userData has {length} bytes together with the part for template.ssh.generateKey, and at most \
             {MAX_USER_DATA} fit: shorten it, or fetch the rest by #include"
        )
    })
}

fn archive(theirs: &str, ours: &str, hash: &str) -> String {
    let boundary = format!("bullpen-{hash}");
    let head = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n");
    let parts = [theirs, ours].into_iter().filter(|part| !part.is_empty());
    let parts = parts.fold(String::new(), |before, part| before + "\n--" + &boundary + "\n" + part);
    format!("{head}{parts}\n--{boundary}--\n")
}

fn our_part(user: &str, key: &str) -> String {
    format!(
        "Content-Type: text/cloud-config; charset=\"us-ascii\"\n\
         MIME-Version: 1.0\n\
         Merge-Type: list(append)+dict(no_replace,recurse_list)+str()\n\
         Content-Disposition: attachment; filename=\"bullpen-ssh\"\n\
         \n\
         #cloud-config\n\
         users:\n\
         - default\n\
         - name: {user}\n\
         \x20 lock_passwd: true\n\
         \x20 sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n\
         \x20 ssh_authorized_keys:\n\
         \x20 - \"{key}\"\n"
    )
}

fn their_part(user_data: Option<&str>) -> String {
    user_data.filter(|text| !text.trim().is_empty()).map(part).unwrap_or_default()
}

/// The user's data as a MIME part. An archive stays one, nested in ours.
fn part(text: &str) -> String {
    if is_archive(text) {
        return text.to_owned();
    }
    let type_ = content_type(text);
    if text.is_ascii() {
        return format!("Content-Type: {type_}; charset=\"us-ascii\"\nMIME-Version: 1.0\n\n{text}");
    }
    // cloud-init (Python) would corrupt other characters in a part without an encoding.
    let encoded = STANDARD.encode(text);
    let lines = encoded.as_bytes().chunks(BASE64_LINE).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!(
        "Content-Type: {type_}; charset=\"utf-8\"\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n{lines}\n"
    )
}

/// Whether the text is a MIME archive, by cloud-init's rule: the header is somewhere near the beginning.
fn is_archive(text: &str) -> bool {
    let head: Vec<u8> = text.bytes().take(4_096).collect();
    head.to_ascii_lowercase().windows(13).any(|window| window == b"mime-version:")
}

/// The MIME type by the beginning of the text, as cloud-init decides it; `text/plain` for anything else.
fn content_type(text: &str) -> &'static str {
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
    TYPES.iter().find(|(start, _)| text.starts_with(start)).map_or("text/plain", |(_, type_)| type_)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::ssh_keys::InstallationSecret;

    fn key() -> String {
        InstallationSecret::from_bytes(&[1; 32]).unwrap().ssh_key("u-1").unwrap().public_line().unwrap()
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

    #[test]
    fn user_data_that_is_too_long_with_a_key_is_refused_before_anything_is_bought() {
        assert_eq!(key().len(), KEY_LINE);
        assert_eq!(too_long(Some(&"x".repeat(15_360)), &"u".repeat(32)), None, "what the definition lets through fits");
        let message = too_long(Some(&"é".repeat(8_000)), "bullpen").unwrap();
        assert!(message.starts_with("template.userData has 2"), "{message}");
    }
}
