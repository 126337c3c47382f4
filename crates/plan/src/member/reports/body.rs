//! What a machine posts: the form of cloud-init's module `phone_home`, or a plain text.

use bullpen_api::MAX_REPORT;

use super::host_keys::host_key;

/// Largest body, in bytes.
pub const MAX_BODY: usize = 16 * 1024;
/// The fields of cloud-init's form that have host keys, the strongest kind first. DSA is out of use.
const HOST_KEY_FIELDS: [&str; 3] = ["pub_key_ed25519", "pub_key_ecdsa", "pub_key_rsa"];
/// Most fields of a form that are looked at.
const MAX_FIELDS: usize = 64;

/// What a body says, cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The name that the machine has for itself.
    pub hostname: Option<String>,
    /// The machine's host keys: type and key, without a comment.
    pub host_keys: Vec<String>,
    /// The text, on one line, as it may be shown in a terminal.
    pub text: String,
}

impl Content {
    /// The content of a body: cloud-init's form if it has one of its fields, else a text.
    pub fn of(body: &[u8]) -> Self {
        let body = &body[..body.len().min(MAX_BODY)];
        let fields: Vec<(String, String)> = fields(body).take(MAX_FIELDS).collect();
        let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let host_keys: Vec<String> = HOST_KEY_FIELDS.into_iter().filter_map(field).filter_map(host_key).collect();
        if !host_keys.is_empty() || field("instance_id").is_some() || field("hostname").is_some() {
            let hostname = field("hostname").filter(|name| is_hostname(name)).map(str::to_owned);
            return Self { hostname, host_keys, text: String::new() };
        }
        Self { hostname: None, host_keys, text: cleaned(&String::from_utf8_lossy(body)) }
    }
}

fn is_hostname(name: &str) -> bool {
    let of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| {
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && !ends && label.bytes().all(of_label)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// A text without line ends, control characters and what turns the direction of a line, cut to what a status keeps.
fn cleaned(text: &str) -> String {
    let is_break = |letter: char| letter.is_whitespace() || letter.is_control();
    let hides = |letter: &char| matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let words = text.split(is_break).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let mut shown: Vec<char> = line.chars().filter(|letter| !hides(letter)).take(MAX_REPORT + 1).collect();
    if shown.len() > MAX_REPORT {
        shown.truncate(MAX_REPORT - 1);
        shown.push('…');
    }
    shown.into_iter().collect::<String>().trim().to_owned()
}

/// The fields of an HTML form.
fn fields(body: &[u8]) -> impl Iterator<Item = (String, String)> {
    body.split(|byte| *byte == b'&').filter_map(|field| {
        let mut parts = field.splitn(2, |byte| *byte == b'=');
        Some((decoded(parts.next()?), decoded(parts.next()?)))
    })
}

/// A part of a form without its escapes. What is no escape stays as it is.
fn decoded(part: &[u8]) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(part.len());
    let mut at = 0;
    while let Some(byte) = part.get(at) {
        at += 1;
        match (byte, digit(part.get(at)), digit(part.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkSVY25hIJOJcWGQkETOsncEtOvcj9qDXalyxHurWpJ";

    #[test]
    fn the_host_keys_of_cloud_inits_form_are_kept_and_what_is_absent_or_no_key_is_not() {
        let body = format!(
            "pub_key_rsa=N%2FA&pub_key_ecdsa=ssh-rsa+%24%28id%29&pub_key_ed25519={}+root%40vm%0A&instance_id=i-1&hostname=vm&fqdn=vm.example",
            KEY.replace(' ', "+")
        );
        let kept = Content { hostname: Some("vm".to_owned()), host_keys: vec![KEY.to_owned()], text: String::new() };
        assert_eq!(Content::of(body.as_bytes()), kept);
        for name in ["N%2FA", "", "*.example.com", "a,b", "-a", "a..b", "a+b"] {
            assert_eq!(
                Content::of(format!("instance_id=i-1&hostname={name}").as_bytes()),
                Content::default(),
                "{name}"
            );
        }
        assert_eq!(Content::of(b""), Content::default());
    }

    #[test]
    fn a_text_is_one_line_that_a_terminal_may_show() {
        assert_eq!(Content::of("installing\tdocker\r\n\u{1b}[31m\u{202e}".as_bytes()).text, "installing docker [31m");
        assert_eq!(Content::of(b"50 % done + more").text, "50 % done + more", "a text is no form");
        assert_eq!(Content::of(b"step=2 of 3").text, "step=2 of 3");
        let long = Content::of("é".repeat(9_000).as_bytes()).text;
        assert!(long.chars().count() == MAX_REPORT && long.ends_with('…'));
    }

    proptest! {
        #[test]
        fn whatever_is_posted_what_is_kept_is_small_and_clean(
            body in prop::collection::vec(any::<u8>(), 0..2_000),
            form in "((pub_key_(rsa|ecdsa|ed25519)|instance_id|[a-z]{0,3})=[a-zA-Z0-9%+ -]{0,80}&?){0,8}",
        ) {
            for body in [body.as_slice(), form.as_bytes()] {
                let kept = Content::of(body);
                prop_assert!(kept.text.chars().count() <= MAX_REPORT && !kept.text.chars().any(char::is_control));
                prop_assert!(kept.host_keys.len() <= HOST_KEY_FIELDS.len());
                prop_assert!(kept.host_keys.iter().all(|key| key.len() <= 1_500 && key.is_ascii()));
            }
        }
    }
}
