//! The SSH keys of machines, and the tokens by which they report. They are derived from the installation secret and the
//! member's uid, so that none is stored and each is the same after a restart.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{LineEnding, PrivateKey};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Bytes of the installation secret.
pub const SECRET_BYTES: usize = 32;

/// Derivation contexts. They must never change, or every key would.
const FOR_SSH: &[u8] = b"bullpen.dev/v1 ssh ed25519";
const FOR_ID: &[u8] = b"bullpen.dev/v1 id";
const FOR_REPORTS: &[u8] = b"bullpen.dev/v1 machine token";
const FOR_PEERS: &[u8] = b"bullpen.dev/v1 peers hmac sha256";

/// The secret that every key of this installation is derived from. `Debug` does not print it.
#[derive(Clone)]
pub struct InstallationSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl fmt::Debug for InstallationSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("InstallationSecret")
    }
}

/// The key of one machine. `Debug` does not print it.
pub struct SshKey(PrivateKey);

impl fmt::Debug for SshKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SshKey")
    }
}

/// A key length for ring.
struct Bytes<const N: usize>;

impl<const N: usize> KeyType for Bytes<N> {
    fn len(&self) -> usize {
        N
    }
}

impl InstallationSecret {
    /// From the content of its Secret; `None` unless it has exactly [`SECRET_BYTES`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// An id that tells this secret from others without revealing it. `None` only if the crypto library fails.
    pub fn id(&self) -> Option<String> {
        let id = self.derive::<8>(&[FOR_ID])?;
        Some(id.iter().fold(String::new(), |id, byte| id + &format!("{byte:02x}")))
    }

    /// The key for the machine of the member with this uid. `None` only if the crypto library fails.
    pub fn ssh_key(&self, member_uid: &str) -> Option<SshKey> {
        let seed = self.derive::<32>(&[FOR_SSH, b"\0", member_uid.as_bytes()])?;
        let public = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).ok()?;
        let pair = Ed25519Keypair {
            public: Ed25519PublicKey(public.public_key().as_ref().try_into().ok()?),
            private: Ed25519PrivateKey::from_bytes(&seed),
        };
        PrivateKey::new(KeypairData::Ed25519(pair), "bullpen").ok().map(SshKey)
    }

    /// The token by which the machine of this member reports: 43 letters, digits, dashes and underscores. `None` only if
    /// the crypto library fails.
    pub fn machine_token(&self, namespace: &str, name: &str, uid: &str) -> Option<Zeroizing<String>> {
        // None of the three can have a byte 0, so no two members have the same input.
        let parts = [FOR_REPORTS, b"\0", namespace.as_bytes(), b"\0", name.as_bytes(), b"\0", uid.as_bytes()];
        let token = self.derive::<32>(&parts)?;
        Some(Zeroizing::new(URL_SAFE_NO_PAD.encode(token.as_slice())))
    }

    /// Whether this is that token. How long that takes says nothing about how much of it is right.
    pub fn is_machine_token(&self, namespace: &str, name: &str, uid: &str, token: &str) -> bool {
        let right = self.machine_token(namespace, name, uid);
        right.is_some_and(|right| right.as_bytes().ct_eq(token.as_bytes()).into())
    }

    /// The key by which replicas of the operator know each other's messages. `None` only if the crypto library fails.
    pub fn peer_key(&self) -> Option<hmac::Key> {
        Some(hmac::Key::new(hmac::HMAC_SHA256, self.derive::<32>(&[FOR_PEERS])?.as_slice()))
    }

    /// HKDF-SHA256 without a salt: the secret is random already.
    fn derive<const N: usize>(&self, info: &[&[u8]]) -> Option<Zeroizing<[u8; N]>> {
        let key: Prk = Salt::new(HKDF_SHA256, &[]).extract(self.0.as_slice());
        let mut derived = Zeroizing::new([0; N]);
        key.expand(info, Bytes::<N>).ok()?.fill(derived.as_mut_slice()).ok()?;
        Some(derived)
    }
}

impl SshKey {
    /// The line for `authorized_keys`. Its length is always the same.
    pub fn public_line(&self) -> Option<String> {
        self.0.public_key().to_openssh().ok()
    }

    /// The private key in OpenSSH's file format.
    pub fn private_file(&self) -> Option<Zeroizing<String>> {
        self.0.to_openssh(LineEnding::LF).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> InstallationSecret {
        InstallationSecret::from_bytes(&[byte; SECRET_BYTES]).unwrap()
    }

    fn public(secret: &InstallationSecret, uid: &str) -> String {
        secret.ssh_key(uid).unwrap().public_line().unwrap()
    }

    #[test]
    fn the_key_of_a_member_stays_what_it_was_in_the_first_release() {
        assert_eq!(
            public(&secret(7), "u-1"),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkSVY25hIJOJcWGQkETOsncEtOvcj9qDXalyxHurWpJ bullpen"
        );
        assert_eq!(secret(7).id().unwrap(), "4beb5edbf5ab74bf");
    }

    #[test]
    fn each_member_and_each_secret_has_a_key_of_its_own() {
        assert_eq!(public(&secret(7), "u-1"), public(&secret(7), "u-1"));
        assert_ne!(public(&secret(7), "u-1"), public(&secret(7), "u-2"));
        assert_ne!(public(&secret(7), "u-1"), public(&secret(8), "u-1"));
        assert_ne!(secret(7).id(), secret(8).id());
    }

    #[test]
    fn both_halves_belong_together_and_are_the_same_bytes_each_time() {
        let key = secret(7).ssh_key("u-1").unwrap();
        let file = key.private_file().unwrap();
        assert_eq!(file.as_str(), secret(7).ssh_key("u-1").unwrap().private_file().unwrap().as_str());
        let read = PrivateKey::from_openssh(file.as_bytes()).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), key.public_line().unwrap());
    }

    #[test]
    fn neither_the_secret_nor_a_key_is_printed() {
        let printed = format!("{:?} {:?}", secret(7), secret(7).ssh_key("u-1"));
        assert_eq!(printed, "InstallationSecret Some(SshKey)");
    }

    #[test]
    fn a_token_is_good_for_one_member_of_one_installation_and_stays_what_it_was_in_the_first_release() {
        let token = secret(7).machine_token("ci", "linux-1", "u-1").unwrap();
        assert_eq!(token.as_str(), "j74W_XK6a0P6gUuvRdqRJvtZq3WycGYXMj3YG32sAL0");
        let is_it =
            |byte, namespace, name, uid, token: &str| secret(byte).is_machine_token(namespace, name, uid, token);
        assert!(is_it(7, "ci", "linux-1", "u-1", &token));
        for (byte, namespace, name, uid) in [
            (8, "ci", "linux-1", "u-1"),
            (7, "cd", "linux-1", "u-1"),
            (7, "ci", "linux-2", "u-1"),
            (7, "ci", "linux-1", "u-2"),
        ] {
            assert!(!is_it(byte, namespace, name, uid, &token));
        }
        for wrong in ["", &token[1..], &format!("{}a", token.as_str()), &token.to_lowercase()] {
            assert!(!is_it(7, "ci", "linux-1", "u-1", wrong));
        }
    }

    #[test]
    fn a_secret_of_another_length_is_none() {
        assert!(InstallationSecret::from_bytes(&[0; 31]).is_none() && InstallationSecret::from_bytes(&[]).is_none());
    }
}
