//! The certificate of the endpoint, read again when its files change: it is renewed while the process runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tracing::{info, warn};

/// A certificate and its key, from files.
pub struct Certificate {
    files: (PathBuf, PathBuf),
    /// The content that was last looked at, whether it could be used or not.
    seen: Mutex<(Vec<u8>, Vec<u8>)>,
    current: Arc<Current>,
}

/// What is shown to clients now.
struct Current(Mutex<Arc<CertifiedKey>>);

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Certificate({})", self.files.0.display())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().clone())
    }
}

impl Certificate {
    /// Reads it from PEM files.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let files = (certificate.to_owned(), key.to_owned());
        let seen = contents(&files)?;
        let current = Arc::new(Current(Mutex::new(Arc::new(certified(&files, &seen)?))));
        Ok(Self { files, seen: Mutex::new(seen), current })
    }

    /// What accepts connections with it.
    ///
    /// # Errors
    /// If TLS cannot be used at all.
    pub fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again, and uses what is in them if it is new and whole. Else the present certificate stays: the
    /// two files are replaced one after the other.
    pub fn reload_if_changed(&self) {
        // Gone for a moment while they are replaced, or for good: then the certificate runs out, which clients see.
        let Ok(new) = contents(&self.files) else { return };
        let mut seen = self.seen.lock();
        if *seen == new {
            return;
        }
        match certified(&self.files, &new) {
            Ok(key) => {
                *self.current.0.lock() = Arc::new(key);
                info!(file = %self.files.0.display(), "the certificate for machines was read again");
            }
            Err(why) => warn!(%why, "the changed certificate for machines is not used; the former one stays"),
        }
        *seen = new;
    }
}

fn contents((certificate, key): &(PathBuf, PathBuf)) -> Result<(Vec<u8>, Vec<u8>), String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    Ok((read(certificate)?, read(key)?))
}

fn certified((certificate, key): &(PathBuf, PathBuf), content: &(Vec<u8>, Vec<u8>)) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content.0).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| format!("{} has no certificates in PEM", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_slice(&content.1)
        .map_err(|error| format!("{} has no private key in PEM: {error}", key.display()))?;
    CertifiedKey::from_der(chain, private, &default_provider())
        .map_err(|error| format!("{} and {} do not belong together: {error}", certificate.display(), key.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let files = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    fn shown(certificate: &Certificate) -> Vec<u8> {
        certificate.current.0.lock().cert[0].to_vec()
    }

    #[test]
    fn a_changed_certificate_is_used_once_both_of_its_files_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "one");
        let certificate = Certificate::read(&files.0, &files.1).unwrap();
        let (first, old_key) = (shown(&certificate), std::fs::read(&files.1).unwrap());
        write(folder.path(), "two");
        let new_key = std::fs::read(&files.1).unwrap();
        std::fs::write(&files.1, old_key).unwrap();
        certificate.reload_if_changed();
        assert_eq!(shown(&certificate), first, "the key is still the former one");
        std::fs::write(&files.1, new_key).unwrap();
        certificate.reload_if_changed();
        assert_ne!(shown(&certificate), first);
        let second = shown(&certificate);
        std::fs::remove_file(&files.0).unwrap();
        certificate.reload_if_changed();
        assert_eq!(shown(&certificate), second);
    }

    #[test]
    fn files_that_are_no_pair_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "one");
        std::fs::write(&files.1, "nothing").unwrap();
        let why = Certificate::read(&files.0, &files.1).unwrap_err();
        assert!(why.contains("tls.key has no private key"), "{why}");
        std::fs::write(&files.0, "").unwrap();
        let why = Certificate::read(&files.0, &files.1).unwrap_err();
        assert!(why.contains("tls.crt has no certificates"), "{why}");
    }
}
