//! SSH public keys as machines report them, taken apart as OpenSSH encodes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest key in bytes, before base64: one of RSA with 8,192 bits has 1,043.
const MAX_KEY: usize = 1_100;
/// Bytes of an RSA modulus: from 2,048 to 8,192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_025;

/// A line of a public key without its comment, if it is one.
pub(super) fn host_key(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (kind, encoded) = (words.next()?, words.next()?);
    if encoded.len() > MAX_KEY.div_ceil(3) * 4 {
        return None;
    }
    let key = STANDARD.decode(encoded).ok()?;
    is_key(kind, &key).then(|| format!("{kind} {encoded}"))
}

/// Whether these bytes are a key of this type.
fn is_key(kind: &str, key: &[u8]) -> bool {
    let mut rest = key;
    if string(&mut rest) != Some(kind.as_bytes()) {
        return false;
    }
    let fits = match kind {
        "ssh-ed25519" => string(&mut rest).is_some_and(|point| point.len() == 32),
        "ssh-rsa" => {
            let (exponent, modulus) = (string(&mut rest), string(&mut rest));
            exponent.is_some_and(|exponent| (1..=8).contains(&exponent.len()))
                && modulus.is_some_and(|modulus| RSA_BYTES.contains(&modulus.len()))
        }
        _ => {
            let length = match kind.strip_prefix("ecdsa-sha2-") {
                Some("nistp256") => 65,
                Some("nistp384") => 97,
                Some("nistp521") => 133,
                _ => return false,
            };
            let curve = kind.trim_start_matches("ecdsa-sha2-").as_bytes();
            string(&mut rest) == Some(curve)
                && string(&mut rest).is_some_and(|point| point.len() == length && point[0] == 4)
        }
    };
    fits && rest.is_empty()
}

/// Takes a string, which its length precedes (RFC 4251).
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (string, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: &str, parts: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        for part in [kind.as_bytes()].iter().chain(parts) {
            bytes.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(*part);
        }
        format!("{kind} {}", STANDARD.encode(bytes))
    }

    #[test]
    fn keys_of_the_types_that_sshd_makes_are_kept_without_their_comment() {
        let point = [&[4][..], &[7; 64]].concat();
        for key in [
            encoded("ssh-ed25519", &[&[7; 32]]),
            encoded("ecdsa-sha2-nistp256", &[b"nistp256", &point]),
            encoded("ssh-rsa", &[&[1, 0, 1], &[9; 385]]),
        ] {
            assert_eq!(host_key(&format!("{key} root@vm\n")).as_deref(), Some(key.as_str()));
        }
    }

    #[test]
    fn what_is_no_key_or_one_of_another_type_than_it_says_is_refused() {
        let ed25519 = encoded("ssh-ed25519", &[&[7; 32]]);
        let other = ed25519.replace("ssh-ed25519 ", "ssh-rsa ");
        let long = encoded("ssh-rsa", &[&[1, 0, 1], &[9; 2_000]]);
        let more = encoded("ssh-ed25519", &[&[7; 32], b"x"]);
        let weak = encoded("ssh-rsa", &[&[1, 0, 1], &[9; 128]]);
        let dsa = encoded("ssh-dss", &[&[7; 32]]);
        for line in
            ["N/A", "", "ssh-ed25519", "ssh-ed25519 %%%", "* ssh-ed25519 AAAA", &other, &long, &more, &weak, &dsa]
        {
            assert_eq!(host_key(line), None, "{line}");
        }
    }
}
