//! Merged user data in a real cloud-init: Debian's, all its stages, in namespaces. `make test-cloud-init` runs these tests;
//! they need root, Linux and Debian 12, and are ignored otherwise.

mod endpoint;
mod forms;
mod machine;
mod reports;

use bullpen_plan::member::first_boot::{Additions, Login, Merged, PhoneHome, PhonesHome, Variable, merge};

use crate::endpoint::Endpoint;
use crate::machine::{Machine, Outcome};

/// A public key, as machines get them.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5Z1q3mUeU1Jm1qk2m5s5u9v6y8z0A1B2C3D4E5F6G7 ci-7";

/// What a script of the user's does: it shows that it ran, and that the variables were there before it.
const SCRIPT: &str = "#!/bin/sh\n. /run/bullpen/env\necho \"script: $BULLPEN_READY_URL\" >> /proof/ran\n";

/// Boots a machine with the user's data and all that Bullpen adds.
fn boot(endpoint: &Endpoint, user_data: impl AsRef<[u8]>) -> (Merged, Outcome) {
    let url = endpoint.url("/ready/0123456789abcdef");
    let environment = [Variable { name: "BULLPEN_READY_URL", value: &url }];
    let additions = Additions {
        login: Some(Login { user: "ci", key: KEY }),
        phone_home: Some(PhoneHome { url: &url, tries: 2 }),
        environment: &environment,
    };
    let merged = merge(Some(user_data.as_ref()), &additions).expect("it can be merged");
    let outcome = Machine::default().boot(&merged.data);
    (merged, outcome)
}

/// Checks what has to be so whatever the user's data is: the machine phoned home with its identity and its host keys,
/// scripts find the variables, nobody else can read them, and the user with the key is there.
fn assert_phoned_home(endpoint: &Endpoint, (merged, outcome): &(Merged, Outcome)) {
    assert_eq!(merged.phones_home, PhonesHome::Added);
    let posts = endpoint.posts("/ready/0123456789abcdef");
    assert_eq!(posts.len(), 1, "{posts:?}\n{}", outcome.log);
    let form = &posts[0];
    assert_eq!(form["instance_id"], "i-0abc");
    assert_eq!(form["hostname"], "warm-1");
    assert_eq!(form["fqdn"], "warm-1.example.com");
    assert!(form["pub_key_ed25519"].starts_with("ssh-ed25519 AAAA"), "{form:?}");
    assert!(form["pub_key_ecdsa"].starts_with("ecdsa-sha2-nistp256 AAAA"), "{form:?}");
    assert_eq!(form["pub_key_rsa"], "N/A", "no such key was made");
    assert_prepared(endpoint, outcome);
}

/// Checks the variables and the user with the key.
fn assert_prepared(endpoint: &Endpoint, outcome: &Outcome) {
    let variables = format!("BULLPEN_READY_URL='{}'\n", endpoint.url("/ready/0123456789abcdef"));
    assert_eq!(outcome.file("run/bullpen/env").as_deref(), Some(variables.as_str()), "{}", outcome.log);
    assert_eq!(outcome.modes["run/bullpen/env"], "600 root");
    assert_eq!(outcome.modes["run/bullpen"], "700 root");
    let keys = outcome.file("home/ci/.ssh/authorized_keys").unwrap_or_default();
    assert!(keys.contains(KEY), "{keys}\n{}", outcome.log);
}
