//! What a real cloud-init posts is what the operator understands.

use bullpen_plan::member::first_boot::{Additions, merge};
use bullpen_plan::member::reports::{CallUrls, Content, Topic, named};
use bullpen_plan::member::ssh_keys::{InstallationSecret, MachineUse};

use crate::endpoint::Endpoint;
use crate::machine::Machine;

#[test]
#[ignore = "make test-cloud-init"]
fn the_call_of_cloud_init_and_those_of_a_script_are_understood_with_host_keys_and_token() {
    let endpoint = Endpoint::start(&[]);
    let secret = InstallationSecret::from_bytes(&[7; 32]).expect("32 bytes");
    let uid = "0b0c3d1e-1f2a-4b3c-8d4e-5f6a7b8c9d0e";
    let machine = MachineUse { namespace: "ci", name: "ci-x7k2p", uid, uses: 0 };
    let urls = CallUrls::of(&secret, &endpoint.url(""), &machine).expect("URLs");
    let variables = urls.variables();
    let additions = Additions { login: None, phone_home: Some(urls.phone_home()), environment: &variables };
    let script = "#!/usr/bin/python3\n\
                  import re, urllib.request\n\
                  urls = dict(re.findall(\"(\\\\w+)='(.*)'\", open('/run/bullpen/env').read()))\n\
                  urllib.request.urlopen(urls['BULLPEN_PROGRESS_URL'], b'installing docker\\n')\n";
    let merged = merge(Some(script.as_bytes()), &additions).expect("it can be merged");
    let outcome = Machine::default().boot(&merged.data);
    let posts = endpoint.all();
    let understood: Vec<_> = posts
        .iter()
        .map(|(path, body)| {
            let named = named("POST", path, "").expect("a path of the table");
            assert!(secret.is_machine_token(&machine, named.token), "{path}");
            assert_eq!((named.namespace, named.name, named.uid), ("ci", "ci-x7k2p", uid));
            (named.route.topic, Content::of(body.as_bytes()))
        })
        .collect();
    let [(Topic::Progress, progress), (Topic::Ready, ready)] = understood.as_slice() else {
        panic!("{understood:?}\n{}", outcome.log)
    };
    assert_eq!(progress.text, "installing docker");
    assert_eq!(ready.hostname.as_deref(), Some("warm-1"));
    let kinds: Vec<_> = ready.host_keys.iter().filter_map(|key| key.split(' ').next()).collect();
    assert_eq!(kinds, ["ssh-ed25519", "ecdsa-sha2-nistp256"]);
}
