//! The certificates and keys of a control plane. Each control plane gets new ones.

use std::{fs, io, path::Path};

use jiff::{ToSpan, Zoned, civil::Date, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// The name by which aggregated API servers know the API server.
pub(super) const FRONT_PROXY: &str = "front-proxy";
/// The file with the certificate authority for that name.
pub(super) const FRONT_PROXY_AUTHORITY: &str = "front-proxy-ca.crt";

/// A certificate and its key, in PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The certificates and keys by which the programs of a control plane authenticate each other.
pub(super) struct Certificates {
    /// The authority that both sides trust, in PEM.
    pub(super) authority: String,
    /// The API server, as 127.0.0.1 and localhost.
    pub(super) serving: Identity,
    /// The administrator.
    pub(super) admin: Identity,
    /// The controller manager, with the permissions it has in any cluster.
    pub(super) controller_manager: Identity,
    /// The key that service account tokens are signed with, in PEM.
    pub(super) service_account_key: String,
    /// Its public half, in PEM.
    pub(super) service_account_public_key: String,
    /// The authority that aggregated API servers trust, in PEM: not the one of users, whom they would take for the
    /// proxy.
    pub(super) front_proxy_authority: String,
    /// The API server's client certificate for requests to aggregated API servers.
    pub(super) front_proxy: Identity,
}

impl Certificates {
    /// Generates them. They are valid for a year.
    pub(super) fn issue() -> Result<Self, rcgen::Error> {
        let (authority, issuer) = new_authority("bullpen control plane")?;
        let (front_proxy_authority, front_proxy_issuer) = new_authority("bullpen front proxy")?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let service_account = KeyPair::generate()?;
        Ok(Self {
            authority,
            serving: identity(&issuer, names, "kube-apiserver", None)?,
            admin: identity(&issuer, vec![], "bullpen-admin", Some("system:masters"))?,
            controller_manager: identity(&issuer, vec![], "system:kube-controller-manager", None)?,
            service_account_key: service_account.serialize_pem(),
            service_account_public_key: service_account.public_key_pem(),
            front_proxy_authority,
            front_proxy: identity(&front_proxy_issuer, vec![], FRONT_PROXY, None)?,
        })
    }

    /// Writes the files that the programs read.
    pub(super) fn write_to(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("ca.crt"), &self.authority)?;
        fs::write(folder.join("serving.crt"), &self.serving.certificate)?;
        fs::write(folder.join("serving.key"), &self.serving.key)?;
        fs::write(folder.join(FRONT_PROXY_AUTHORITY), &self.front_proxy_authority)?;
        fs::write(folder.join("front-proxy.crt"), &self.front_proxy.certificate)?;
        fs::write(folder.join("front-proxy.key"), &self.front_proxy.key)?;
        fs::write(folder.join("service-account.key"), &self.service_account_key)?;
        fs::write(folder.join("service-account.pub"), &self.service_account_public_key)
    }
}

fn new_authority(common_name: &str) -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = params(vec![], common_name, None)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key)?.pem();
    Ok((certificate, Issuer::new(params, key)))
}

/// A server certificate if there are names, else a client certificate.
fn identity(
    issuer: &Issuer<'_, KeyPair>,
    names: Vec<String>,
    common_name: &str,
    organization: Option<&str>,
) -> Result<Identity, rcgen::Error> {
    let usage =
        if names.is_empty() { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
    let mut params = params(names, common_name, organization)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate()?;
    Ok(Identity { certificate: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
}

fn params(
    names: Vec<String>,
    common_name: &str,
    organization: Option<&str>,
) -> Result<CertificateParams, rcgen::Error> {
    let today = Zoned::now().with_time_zone(TimeZone::UTC).date();
    let day = |date: Date| date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    let mut params = CertificateParams::new(names)?;
    // Valid since a day ago, in case a clock is set back.
    params.not_before = day(today.saturating_sub(1.day()));
    params.not_after = day(today.saturating_add(1.year()));
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    Ok(params)
}
