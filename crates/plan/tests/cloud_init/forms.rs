//! Each form of user data: the user's part does what it does alone, and the machine phones home.

use std::io::Write;

use bullpen_plan::member::first_boot::{Additions, PhoneHome, PhonesHome, merge};

use crate::endpoint::Endpoint;
use crate::machine::Machine;
use crate::{SCRIPT, assert_phoned_home, assert_prepared, boot};

/// Settings with lists that ours must not replace.
const SETTINGS: &str = "\
#cloud-config
bootcmd:
- . /run/bullpen/env && echo \"bootcmd $BULLPEN_READY_URL\" >> /proof/ran
users:
- default
- name: theirs
write_files:
- {path: /proof/written, content: theirs}
runcmd:
- echo \"runcmd $(id -un theirs)\" >> /proof/ran
";

/// An archive of parts, each a type and a content.
fn archive(boundary: &str, parts: &[(&str, &str)]) -> String {
    let part = |(type_, content): &(&str, &str)| format!("--{boundary}\nContent-Type: {type_}\n\n{content}\n");
    let parts: String = parts.iter().map(part).collect();
    format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n{parts}--{boundary}--\n")
}

fn zip(text: &str) -> Vec<u8> {
    zip_of(text.as_bytes())
}

fn zip_of(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
#[ignore = "make test-cloud-init"]
fn a_machine_without_user_data_phones_home_and_has_its_variables_and_user() {
    let endpoint = Endpoint::start(&[]);
    assert_phoned_home(&endpoint, &boot(&endpoint, ""));
}

#[test]
#[ignore = "make test-cloud-init"]
fn a_script_runs_and_finds_the_variables() {
    let endpoint = Endpoint::start(&[]);
    let booted = boot(&endpoint, SCRIPT);
    assert_eq!(booted.1.ran(), format!("script: {}\n", endpoint.url("/ready/0123456789abcdef")));
    assert_phoned_home(&endpoint, &booted);
}

#[test]
#[ignore = "make test-cloud-init"]
fn a_script_with_other_characters_that_speaks_of_mime_runs_after_gzip_too() {
    let endpoint = Endpoint::start(&[]);
    let booted = boot(
        &endpoint,
        zip("#!/bin/sh\n# A MIME message begins with MIME-Version: 1.0\necho 'one two' >> /proof/ran\n"),
    );
    assert_eq!(booted.1.ran(), "one two\n", "{}", booted.1.log);
    assert_phoned_home(&endpoint, &booted);
    let other = Endpoint::start(&[]);
    let booted = boot(&other, "#!/bin/sh\necho 'é ü €' >> /proof/ran\n");
    assert_eq!(booted.1.ran(), "é ü €\n", "{}", booted.1.log);
    assert_phoned_home(&other, &booted);
}

#[test]
#[ignore = "make test-cloud-init"]
fn settings_keep_their_lists() {
    let endpoint = Endpoint::start(&[]);
    let booted = boot(&endpoint, SETTINGS);
    let url = endpoint.url("/ready/0123456789abcdef");
    assert!(booted.1.ran().ends_with("runcmd theirs\n"), "{}\n{}", booted.1.ran(), booted.1.log);
    assert!(booted.1.ran().starts_with(&format!("bootcmd {url}\n")), "{}", booted.1.ran());
    assert_eq!(booted.1.file("written").as_deref(), Some("theirs"));
    assert_phoned_home(&endpoint, &booted);
}

#[test]
#[ignore = "make test-cloud-init"]
fn a_boothook_finds_the_variables() {
    let endpoint = Endpoint::start(&[]);
    let booted = boot(&endpoint, SCRIPT.replace("#!", "#cloud-boothook\n#!").replace(">>", ">"));
    assert_eq!(booted.1.ran(), format!("script: {}\n", endpoint.url("/ready/0123456789abcdef")));
    assert_phoned_home(&endpoint, &booted);
}

#[test]
#[ignore = "make test-cloud-init"]
fn a_template_is_rendered() {
    let endpoint = Endpoint::start(&[]);
    let template = "## template: jinja\n#cloud-config\nruncmd:\n- echo {{ v1.instance_id }} >> /proof/ran\n";
    let booted = boot(&endpoint, template);
    assert_eq!(booted.1.ran(), "i-0abc\n", "{}", booted.1.log);
    assert_phoned_home(&endpoint, &booted);
}

#[test]
#[ignore = "make test-cloud-init"]
fn a_list_of_parts_is_taken_apart() {
    let endpoint = Endpoint::start(&[]);
    let list = "#cloud-config-archive\n- \"#!/bin/sh\\necho one >> /proof/ran\\n\"\n- type: text/cloud-config\n  \
                content: \"runcmd: [[touch, /proof/two]]\"\n";
    let booted = boot(&endpoint, list);
    assert_eq!((booted.1.ran().as_str(), booted.1.file("two").as_deref()), ("one\n", Some("")), "{}", booted.1.log);
    assert_phoned_home(&endpoint, &booted);
}

#[test]
#[ignore = "make test-cloud-init"]
fn archives_run_whole_also_when_they_are_nested_and_zipped() {
    let script = "#!/bin/sh\necho script >> /proof/ran\n";
    let inner = archive("one", &[("text/x-shellscript", script), ("text/cloud-config", SETTINGS)]);
    let outer = archive("two", &[("text/x-shellscript", "#!/bin/sh\necho outer >> /proof/ran\n")]);
    let nested = outer.replacen("--two\n", &format!("--two\n{inner}\n--two\n"), 1);
    for (data, ran) in [(inner.clone().into_bytes(), "script\n"), (zip(&nested), "script\nouter\n")] {
        let endpoint = Endpoint::start(&[]);
        let booted = boot(&endpoint, data);
        let url = endpoint.url("/ready/0123456789abcdef");
        let lines = booted.1.ran();
        assert!(lines.starts_with(&format!("bootcmd {url}\n")), "{lines}\n{}", booted.1.log);
        assert!(lines.ends_with(&format!("{ran}runcmd theirs\n")), "{lines}\n{}", booted.1.log);
        assert_eq!(booted.1.file("written").as_deref(), Some("theirs"));
        assert_phoned_home(&endpoint, &booted);
    }
}

#[test]
#[ignore = "make test-cloud-init"]
fn long_data_runs_after_it_was_compressed() {
    let endpoint = Endpoint::start(&[]);
    let booted = boot(&endpoint, format!("{SCRIPT}{}", "# The same line again and again.\n".repeat(1_000)));
    assert!(booted.0.compressed && booted.0.data.len() < 2_048, "{} bytes", booted.0.data.len());
    assert_eq!(booted.1.ran(), format!("script: {}\n", endpoint.url("/ready/0123456789abcdef")));
    assert_phoned_home(&endpoint, &booted);
}

#[test]
#[ignore = "make test-cloud-init"]
fn what_is_included_runs_and_keeps_a_phone_home_that_could_not_be_seen() {
    let script = "#!/bin/sh\necho included >> /proof/ran\n".to_owned();
    let endpoint = Endpoint::start(&[("/script", script)]);
    let booted = boot(&endpoint, format!("#include\n{}\n", endpoint.url("/script")));
    assert_eq!(booted.1.ran(), "included\n", "{}", booted.1.log);
    assert_phoned_home(&endpoint, &booted);

    let collector = Endpoint::start(&[]);
    let settings = format!("#cloud-config\nphone_home: {{url: \"{}\"}}\n", collector.url("/theirs"));
    let endpoint = Endpoint::start(&[("/settings", settings)]);
    let (merged, outcome) = boot(&endpoint, format!("#include\n{}\n", endpoint.url("/settings")));
    assert_eq!(merged.phones_home, PhonesHome::Added, "it could not be seen");
    let theirs = collector.posts("/theirs");
    assert_eq!(theirs.len(), 1, "{}", outcome.log);
    assert_eq!(theirs[0].len(), 7, "theirs posts all that cloud-init has: {theirs:?}");
    assert_eq!(endpoint.posts("/ready/0123456789abcdef").len(), 0);
    assert_prepared(&endpoint, &outcome);
}

#[test]
#[ignore = "make test-cloud-init"]
fn a_phone_home_of_the_users_is_the_only_one_that_calls() {
    let collector = Endpoint::start(&[]);
    let settings = format!("#cloud-config\nphone_home: {{url: \"{}\", tries: 1}}\n", collector.url("/theirs"));
    let template = format!("## template: jinja\n{settings}");
    let list = format!("#cloud-config-archive\n- {settings:?}\n");
    let in_archive = archive("b", &[("text/x-shellscript", "#!/bin/sh\n"), ("text/cloud-config", &settings)]);
    for (count, data) in
        [settings.into_bytes(), template.into_bytes(), list.into_bytes(), zip(&in_archive)].iter().enumerate()
    {
        let endpoint = Endpoint::start(&[]);
        let (merged, outcome) = boot(&endpoint, data);
        assert_eq!(merged.phones_home, PhonesHome::UsersOwn);
        assert_eq!(collector.posts("/theirs").len(), count + 1, "{}", outcome.log);
        assert_eq!(endpoint.posts("/ready/0123456789abcdef").len(), 0);
        assert_prepared(&endpoint, &outcome);
    }
}

#[test]
#[ignore = "make test-cloud-init"]
fn lists_in_the_image_stay_and_a_phone_home_in_the_image_is_replaced() {
    let image = "write_files:\n- {path: /proof/image, content: image}\nruncmd:\n- echo image >> /proof/ran\n\
                 phone_home: {url: \"http://127.0.0.1:1/\", tries: 1}\n";
    let endpoint = Endpoint::start(&[]);
    let url = endpoint.url("/ready/0");
    let additions = Additions { phone_home: Some(PhoneHome { url: &url, tries: 2 }), ..Additions::default() };
    let merged = merge(Some(b"#!/bin/sh\necho script >> /proof/ran\n"), &additions).expect("it can be merged");
    let outcome = Machine { image: Some(image) }.boot(&merged.data);
    assert_eq!(outcome.file("image").as_deref(), Some("image"), "{}", outcome.log);
    assert!(outcome.ran().contains("image\n"), "{}", outcome.log);
    assert_eq!(endpoint.posts("/ready/0").len(), 1, "{}", outcome.log);
}

#[test]
#[ignore = "make test-cloud-init"]
fn a_failed_script_does_not_keep_the_machine_from_phoning_home() {
    let endpoint = Endpoint::start(&[]);
    let booted = boot(&endpoint, "#!/bin/sh\nexit 1\n");
    assert!(booted.1.log.contains("Failed to run module scripts-user"), "{}", booted.1.log);
    assert_phoned_home(&endpoint, &booted);
}

#[test]
#[ignore = "make test-cloud-init"]
fn cloud_init_drops_what_merging_refuses() {
    for data in [
        &b"touch /proof/ran\n"[..],
        b"#!/bin/sh\necho '\xe9' > /proof/ran\n",
        &zip_of(&zip("#!/bin/sh\ntouch /proof/ran\n")),
    ] {
        let call = PhoneHome { url: "http://127.0.0.1:1/", tries: 1 };
        let refused = merge(Some(data), &Additions { phone_home: Some(call), ..Additions::default() });
        assert!(refused.is_err(), "{refused:?}");
        let outcome = Machine::default().boot(data);
        assert_eq!(outcome.file("ran"), None, "{refused:?}: {}", outcome.log);
    }
}
