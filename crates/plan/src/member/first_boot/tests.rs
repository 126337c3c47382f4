use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::member::ssh_keys::InstallationSecret;

const URL: &str = "https://bullpen.example.com/v1/machines/ci/ci-7/0123456789abcdef/ready";
const CALL: PhoneHome<'_> = PhoneHome { url: URL, tries: 100 };
const LOGIN: Login<'_> = Login { user: "ci", key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDI ci-7" };
const ENVIRONMENT: &[Variable<'_>] = &[Variable { name: "BULLPEN_READY_URL", value: URL }];
const CALLS: Additions<'_> = Additions { login: None, phone_home: Some(CALL), environment: ENVIRONMENT };
const ALL: Additions<'_> = Additions { login: Some(LOGIN), ..CALLS };

fn zip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn text(merged: &Merged) -> String {
    String::from_utf8(gzip::unpack(&merged.data).unwrap().into_owned()).unwrap()
}

fn merged(user_data: &str) -> Merged {
    merge(Some(user_data.as_bytes()), &ALL).unwrap()
}

fn refused(user_data: &[u8]) -> String {
    merge(Some(user_data), &CALLS).unwrap_err().to_string()
}

fn digest(data: &[u8]) -> String {
    Sha256::digest(data).iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Text that does not compress well, 17 bytes a line.
fn noise(lines: u32) -> String {
    (0..lines).fold(String::new(), |text, line| text + &digest(&line.to_be_bytes()) + "\n")
}

/// Text of characters out of so many from the first one on, which does not compress well.
fn letters_from(first: char, of: u32, letters: u32) -> String {
    let letter =
        |at: u32| Sha256::digest(at.to_be_bytes()).iter().take(4).fold(0, |sum: u32, byte| sum << 8 | u32::from(*byte));
    (0..letters).filter_map(|at| char::from_u32(u32::from(first) + letter(at) % of)).collect()
}

/// An archive of parts, each a type and a content.
fn archive(parts: &[(&str, &str)]) -> String {
    let part = |(type_, content): &(&str, &str)| format!("--b\nContent-Type: {type_}\n\n{content}\n");
    let parts: String = parts.iter().map(part).collect();
    format!("Content-Type: multipart/mixed; boundary=\"b\"\nMIME-Version: 1.0\n\n{parts}--b--\n")
}

#[test]
fn variables_come_before_the_users_data_and_settings_after_it() {
    let text = text(&merged("#!/bin/sh\necho hello\n"));
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    let order = ["BULLPEN_READY_URL='https://", "echo hello\n", "- name: ci\n", "phone_home:\n"].map(at);
    assert!(order.is_sorted(), "{text}");
    assert!(text.contains(&format!("phone_home:\n  url: \"{URL}\"\n  tries: 100\n")), "{text}");
}

#[test]
fn without_anything_to_add_the_data_stays_as_it_is() {
    for data in [&b""[..], b"#!/bin/sh\n", b"\xff\xfe nothing", &zip(b"#!/bin/sh\n")] {
        let merged = merge(Some(data), &Additions::default()).unwrap();
        assert_eq!((merged.data.as_slice(), merged.phones_home), (data, PhonesHome::NotAsked));
    }
}

#[test]
fn with_a_key_alone_the_bytes_are_those_of_the_first_version() {
    let with_key = |data| merge(data, &Additions { login: Some(LOGIN), ..Additions::default() }).unwrap().data;
    assert_eq!(digest(&with_key(None)), "952db433646ae4bd");
    assert_eq!(digest(&with_key(Some(b"#!/bin/sh\necho hello\n"))), "f94d43ddb512c51d");
}

fn check_with_key(user_data: Option<&str>, user: &str) -> Result<(), MergeError> {
    let login = Login { user, key: &sample_key() };
    check(user_data.map(str::as_bytes), &Additions { login: Some(login), ..Additions::default() }).map(|_| ())
}

#[test]
fn whether_data_fits_with_a_key_is_known_before_there_is_one() {
    let line = InstallationSecret::from_bytes(&[1; 32]).unwrap().ssh_key("u-1", 0).unwrap().public_line().unwrap();
    assert_eq!(line.len(), KEY_LINE);
    // What the definition lets through fits, whatever it is: compressed, if not as it is.
    for (from, letters, bytes) in
        [(' ', 95, 1), ('\u{80}', 1_900, 2), ('\u{4e00}', 20_000, 3), ('\u{10000}', 900_000, 4)]
    {
        let text = letters_from(from, letters, 15_360 / bytes);
        assert_eq!(text.len(), 15_360);
        assert_eq!(check_with_key(Some(&text), &"u".repeat(32)), Ok(()), "{from:?}");
    }
    let error = check_with_key(Some(&letters_from('\u{4e00}', 20_000, 8_000)), "ci").unwrap_err().to_string();
    assert!(error.starts_with("it has 24000 bytes; with the ") && error.contains("at most 16384 fit"), "{error}");
}

#[test]
fn gzip_is_unpacked_because_cloud_init_drops_an_archive_in_a_gzip_part() {
    let inner = archive(&[("text/cloud-config", "#cloud-config\nruncmd: [date]\n")]);
    assert_eq!(merge(Some(&zip(inner.as_bytes())), &ALL), merge(Some(inner.as_bytes()), &ALL));
}

#[test]
fn data_that_is_too_long_as_text_is_compressed_always_to_the_same_bytes() {
    let long = format!("#!/bin/sh\n{}", "echo the same line again\n".repeat(640));
    let merged = merge(Some(long.as_bytes()), &CALLS).unwrap();
    assert!(merged.compressed && merged.data.len() < 1_024, "{} bytes", merged.data.len());
    assert!(text(&merged).contains(&long));
    // Another version of the compressor may give other bytes. A create that was sent before an upgrade and is repeated
    // after it would then differ, and a cloud refuses that: say so in the changelog, and change this line.
    assert_eq!(digest(&merged.data), "6020f5c136f8d176");
}

#[test]
fn data_that_does_not_fit_is_refused_with_its_sizes() {
    let long = format!("#!/bin/sh\n{}", noise(2_000));
    let Err(MergeError::TooLong(sizes)) = merge(Some(long.as_bytes()), &CALLS) else { panic!("it fits") };
    assert_eq!((sizes.given, sizes.unpacked), (long.len(), long.len()));
    assert!(sizes.merged > long.len() && sizes.packed > MAX_USER_DATA, "{sizes:?}");
    let Sizes { given, merged, packed, .. } = sizes;
    let added = merged - given;
    assert_eq!(
        refused(long.as_bytes()),
        format!(
            "it has {given} bytes; with the {added} that Bullpen adds it has {merged}, and {packed} compressed: at most \
             16384 fit. Shorten it, or fetch the rest by #include"
        )
    );
    let zipped = zip(long.as_bytes());
    let message = refused(&zipped);
    assert!(message.starts_with(&format!("it has {} bytes, {} unpacked; ", zipped.len(), long.len())), "{message}");
}

#[test]
fn what_the_check_lets_through_fits_with_any_token_of_the_same_length() {
    let noise = noise(2_000);
    let fits = |length: usize| {
        let data = format!("#!/bin/sh\n{}", noise.get(..length).unwrap());
        (check(Some(data.as_bytes()), &CALLS).is_ok(), data)
    };
    let longest = (1_000..noise.len()).step_by(64).rev().find(|length| fits(*length).0).expect("something fits");
    assert!(longest > MAX_USER_DATA, "it is only compressed that this fits: {longest}");
    let (_, data) = fits(longest);
    for token in 0..64_u32 {
        let token = digest(&token.to_be_bytes());
        let url = URL.replace("0123456789abcdef", &token);
        let environment = [Variable { name: "BULLPEN_READY_URL", value: &url }];
        let additions =
            Additions { login: None, phone_home: Some(PhoneHome { url: &url, tries: 100 }), environment: &environment };
        assert!(merge(Some(data.as_bytes()), &additions).is_ok(), "{token}");
    }
}

#[test]
fn a_phone_home_of_the_users_is_seen_wherever_it_is() {
    let settings = "#cloud-config\nphone_home: {url: \"http://example.com\"}\n";
    let inner = archive(&[("text/x-shellscript", "#!/bin/sh\n"), ("text/cloud-config", settings)]);
    let outer = inner.replace("\"b\"", "\"c\"").replace("--b", "--c");
    let base64 = "I2Nsb3VkLWNvbmZpZwpwaG9uZV9ob21lOiB7fQo=";
    for (what, data) in [
        ("settings", settings.to_owned()),
        ("settings with blanks before", format!("\n  {settings}")),
        ("a quoted key", "#cloud-config\n\"phone_home\": {}\n".into()),
        ("a key with an escape", "#cloud-config\n\"phone\\x5fhome\": {}\n".into()),
        ("one line", "#cloud-config\n{packages: [git], phone_home: {url: x}}\n".into()),
        ("JSON", "#cloud-config\n{\"phone_home\": {\"url\": \"x\"}}\n".into()),
        ("a null", "#cloud-config\nphone_home:\n".into()),
        ("other kinds of keys beside it", "#cloud-config\n1: x\ntrue: x\nphone_home: {}\n".into()),
        ("a key that is there twice", "#cloud-config\na: 1\na: 2\nphone_home: {}\n".into()),
        ("a merge key", "#cloud-config\nx: &x {phone_home: {}}\n<<: *x\n".into()),
        ("YAML with an error in it", "#cloud-config\nphone_home: {}\n\tx: [\n".into()),
        ("a JSON patch", "#cloud-config-jsonp\n[{\"op\": \"add\", \"path\": \"/phone_home\", \"value\": {}}]\n".into()),
        ("a template", "## template: jinja\n#cloud-config\nphone_home:\n  url: http://x/{{ v1.instance_id }}\n".into()),
        (
            "a list of parts",
            format!(
                "#cloud-config-archive\n- \"#!/bin/sh\"\n- type: text/cloud-config\n  content: |\n    {}",
                settings.replace('\n', "\n    ")
            ),
        ),
        ("a list of texts", "#cloud-config-archive\n- \"#cloud-config\\nphone_home: {}\\n\"\n".into()),
        ("an archive", inner.clone()),
        ("an archive with CRLF", inner.replace('\n', "\r\n")),
        ("an archive with a part without a type", inner.replace("Content-Type: text/cloud-config\n", "")),
        ("an archive with a script that is none", inner.replace("text/cloud-config", "text/x-shellscript")),
        (
            "an archive with base64",
            inner
                .replace("cloud-config\n\n", "cloud-config\nContent-Transfer-Encoding: base64\n\n")
                .replace(settings, base64),
        ),
        (
            "an archive in an archive",
            outer.replace(settings, "").replace("--c\nContent-Type: text/cloud-config\n\n", &format!("--c\n{inner}")),
        ),
        ("a message in an archive", archive(&[("message/rfc822", &outer)])),
        ("a single part", format!("Content-Type: text/cloud-config\nMIME-Version: 1.0\n\n{settings}")),
        ("settings that speak of MIME", format!("{settings}# MIME-Version: 1.0\n")),
    ] {
        for given in [data.as_bytes().to_vec(), zip(data.as_bytes())] {
            let merged = merge(Some(&given), &ALL).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(merged.phones_home, PhonesHome::UsersOwn, "{what}:\n{data}");
            let text = text(&merged);
            assert!(text.contains("BULLPEN_READY_URL=") && !text.contains("bullpen-ready"), "{what}: {text}");
        }
    }
}

#[test]
fn what_is_no_phone_home_of_the_users_is_not_taken_for_one() {
    for (what, data) in [
        ("nothing", String::new()),
        ("a script that names it", "#!/bin/sh\necho phone_home:\n".into()),
        ("a comment", "#cloud-config\n# phone_home: {}\npackages: []\n".into()),
        ("a comment in a template", "## template: jinja\n#cloud-config\n# phone_home is Bullpen's\n".into()),
        ("a key below", "#cloud-config\nx:\n  phone_home: {}\n".into()),
        ("a file that has one", "#cloud-config\nwrite_files:\n- path: /x\n  content: |\n    phone_home: {}\n".into()),
        ("a text", "#cloud-config\nphone: phone_home\n".into()),
        ("an address behind which it may be", "#include\nhttps://example.com/phone_home\n".into()),
        ("a boothook", "#cloud-boothook\n#!/bin/sh\necho phone_home: >> /x\n".into()),
        ("an archive of scripts", archive(&[("text/x-shellscript", "#!/bin/sh\necho phone_home: x\n")])),
    ] {
        let merged = merge(Some(data.as_bytes()), &ALL).unwrap();
        assert_eq!(merged.phones_home, PhonesHome::Added, "{what}");
        assert!(text(&merged).contains("bullpen-ready"), "{what}");
    }
    let with_key =
        merge(Some(b"#cloud-config\nphone_home: {}\n"), &Additions { login: Some(LOGIN), ..Additions::default() });
    assert_eq!(with_key.unwrap().phones_home, PhonesHome::NotAsked);
}

#[test]
fn data_that_cloud_init_would_drop_is_refused_before_it_makes_machines_that_are_ready_without_it() {
    assert!(refused(b"apt-get install git\n").starts_with("it begins with nothing that cloud-init runs"));
    assert!(refused(b"{\"ignition\": {\"version\": \"3.4.0\"}}").starts_with("it begins with nothing"));
    assert!(refused(b"curl x\n# MIME-Version: 1.0\n").starts_with("it begins with nothing"));
    assert!(refused(&zip(&zip(b"#!/bin/sh\n"))).starts_with("it is no UTF-8 text from byte 1 on"));
    assert!(refused(b"#!/bin/sh\necho \xe9\n").starts_with("it is no UTF-8 text from byte 15 on"));
    // A key alone was always added to such data, and images may read it by other means than cloud-init.
    let key = Additions { login: Some(LOGIN), ..Additions::default() };
    assert!(merge(Some(b"true"), &key).is_ok());
}

#[test]
fn gzip_is_unpacked_within_bounds() {
    let bomb = zip(&vec![b'#'; 8_000_000]);
    assert!(bomb.len() > 1_000, "{}", bomb.len());
    assert_eq!(
        refused(&bomb),
        format!("it has {} bytes as gzip and more than 1048576 unpacked: shorten it", bomb.len())
    );
    let whole = zip(b"#!/bin/sh\necho one\n");
    assert!(refused(&whole[..whole.len() - 4]).starts_with("it begins like gzip and cannot be unpacked: "));
    let two = [whole, zip(b"echo two\n")].concat();
    assert!(
        text(&merge(Some(&two), &CALLS).unwrap()).contains("echo one\necho two\n"),
        "gzip may have several members"
    );
}

#[test]
fn archives_in_archives_have_a_limit_and_deep_settings_no_effect() {
    let nested = |depth: usize| {
        let open =
            (0..depth).map(|level| format!("Content-Type: multipart/mixed; boundary=\"{level}.\"\n\n--{level}.\n"));
        format!("MIME-Version: 1.0\n{}Content-Type: text/plain\n\n#!/bin/sh\n", open.collect::<String>())
    };
    assert!(merge(Some(nested(16).as_bytes()), &CALLS).is_ok());
    assert!(refused(nested(200).as_bytes()).starts_with("it has archives in archives, "));
    for deep in ["[", "{a: ", "- ", "? ", "!!x ", "&a [*a, ", "\"", "|\n "] {
        let data = format!("#cloud-config\n{}\n", deep.repeat(3_000));
        assert_eq!(merged(&data).phones_home, PhonesHome::Added, "{deep}");
    }
}

#[test]
fn additions_that_would_not_be_read_as_they_are_are_refused() {
    let call = |url| check(None, &Additions { phone_home: Some(PhoneHome { url, tries: 1 }), ..Additions::default() });
    assert_eq!(call(URL), Ok(PhonesHome::Added));
    for url in ["", "ftp://x", "https://x/$INSTANCE_ID", "https://x/\"", "https://x/a b", "https://x/\n", "https://x/é"]
    {
        assert!(matches!(call(url), Err(MergeError::Addition(_))), "{url}");
    }
    let variable =
        |name, value| check(None, &Additions { environment: &[Variable { name, value }], ..Additions::default() });
    assert_eq!(variable("BULLPEN_READY_URL", "a b"), Ok(PhonesHome::NotAsked));
    for (name, value) in
        [("", "x"), ("1A", "x"), ("a", "x"), ("A;B", "x"), ("A", ""), ("A", "'"), ("A", "a\nEND"), ("A", "`x`")]
    {
        assert!(matches!(variable(name, value), Err(MergeError::Addition(_))), "{name}={value}");
    }
    let none = Additions { phone_home: Some(PhoneHome { url: URL, tries: 0 }), ..Additions::default() };
    assert!(check(None, &none).is_err());
}

#[test]
fn neither_data_nor_addresses_are_shown_for_debugging() {
    let shown = format!("{:?} {:?}", merged("#!/bin/sh\necho secret\n"), ALL);
    assert!(!shown.contains("secret") && !shown.contains("0123456789abcdef"), "{shown}");
}

/// Texts that look like what cloud-init takes, put together by chance.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "#!/bin/sh\n",
        "#cloud-config\n",
        "#cloud-config-archive\n",
        "## template: jinja\n",
        "#include http://x\n",
        "\n",
        "\r\n",
        "MIME-Version: 1.0\n",
        "Content-Type: multipart/mixed; boundary=\"b\"\n",
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: message/rfc822\n",
        "Content-Type: text/cloud-config\n",
        "Content-Type: application/gzip\n",
        "Content-Transfer-Encoding: base64\n",
        "Content-Transfer-Encoding: quoted-printable\n",
        "--b\n",
        "--b--\n",
        "--",
        "\r",
        "phone_home: ",
        "{",
        "}",
        "[",
        "- ",
        "&a ",
        "*a",
        "<<: ",
        "? ",
        "| \n",
        "!!binary ",
        "\"",
        "'",
        "é",
        "\u{2028}",
        "\0",
        "H4sIAAAAAAAAA",
        "=",
        "%YAML 1.1\n",
        "---\n",
        "...\n",
        "\t",
        " ",
    ]);
    let other = proptest::string::string_regex("[ -~é\n\r]{0,12}").expect("a pattern");
    prop::collection::vec(prop_oneof![3 => piece.prop_map(str::to_owned), 1 => other], 0..40)
        .prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_the_same_answer_twice_and_never_more_than_fits(
        data in prop_oneof![prop::collection::vec(any::<u8>(), 0..2_000), pieces().prop_map(String::into_bytes)],
        zipped in any::<bool>(),
    ) {
        let data = if zipped { zip(&data) } else { data };
        for additions in [CALLS, ALL] {
            let first = merge(Some(&data), &additions);
            prop_assert_eq!(&first, &merge(Some(&data), &additions));
            if let Ok(merged) = first {
                prop_assert!(merged.data.len() <= MAX_USER_DATA);
                prop_assert!(merged.compressed || std::str::from_utf8(&merged.data).is_ok());
            }
        }
    }

    #[test]
    fn bytes_that_begin_like_gzip_cause_no_panic(tail in prop::collection::vec(any::<u8>(), 0..500)) {
        let data = [&[0x1f, 0x8b, 8][..], &tail].concat();
        let _ = merge(Some(&data), &CALLS);
    }

    #[test]
    fn the_users_data_is_in_the_archive_byte_for_byte(data in pieces()) {
        let Ok(merged) = merge(Some(data.as_bytes()), &ALL) else { return Ok(()) };
        let text = text(&merged);
        let encoded = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(&data)
        };
        let unfolded: String = text.split('\n').collect();
        prop_assert!(data.trim().is_empty() || text.contains(&data) || unfolded.contains(&encoded));
    }
}
