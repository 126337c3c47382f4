//! The flags of the endpoint that machines call.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use bullpen_plan::member::reports::AdvertisedUrl;
use bullpen_plan::operator::watched_namespaces::WatchedNamespaces;
use tokio::net::TcpListener;
use tracing::info;

use crate::machines::{Certificate, Endpoint, PeerListener};
use crate::state::ObjectKey;

/// Where machines call, which pools with `readiness.phoneHome` or `health.probe.heartbeat` need.
#[derive(Debug, clap::Args)]
pub(super) struct MachineArgs {
    /// Where to listen for calls of machines; port 0 takes a free one. Every replica listens [default: nowhere]
    #[arg(long, value_name = "ADDRESS", env = "BULLPEN_MACHINE_ADDRESS", requires = "advertise_url")]
    machine_address: Option<SocketAddr>,
    /// The URL under which machines reach that address, such as `https://bullpen.example.com`: of an ingress or a load
    /// balancer, or of the address itself. It is in the user data of machines
    #[arg(long, value_name = "URL", env = "BULLPEN_ADVERTISE_URL", requires = "machine_address",
        value_parser = AdvertisedUrl::parse)]
    advertise_url: Option<AdvertisedUrl>,
    /// A certificate in PEM, with its chain, to serve machines over TLS. It is read again when it changes. Without it,
    /// they are served over plain HTTP, for an ingress that ends TLS
    #[arg(long, value_name = "FILE", env = "BULLPEN_MACHINE_TLS_CERT", requires_all = ["machine_tls_key", "machine_address"])]
    machine_tls_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", env = "BULLPEN_MACHINE_TLS_KEY", requires = "machine_tls_cert")]
    machine_tls_key: Option<PathBuf>,
    /// The IP address and port at which the other replicas reach this one, to hand it the heartbeats of machines that have
    /// reached them; it listens there, and is found by the lease. Port 0 takes a free one. Without it, heartbeats count
    /// only if they reach the replica that leads [default: nowhere]
    #[arg(long, value_name = "ADDRESS", env = "BULLPEN_PEER_ADDRESS", requires = "machine_address",
        value_parser = peer_address)]
    peer_address: Option<SocketAddr>,
}

/// An IP address and a port. One of IPv6 needs no brackets, because the API server gives a pod its address without.
fn peer_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("{text:?} is no IP address with a port, such as 10.0.0.7:8091");
    let (ip, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let ip: IpAddr = ip.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| wrong())?;
    if ip.is_unspecified() {
        return Err(format!(
            "{text:?} is no address that others reach: name the one of this process, as in 10.0.0.7:8091"
        ));
    }
    Ok(SocketAddr::new(ip, port.parse().map_err(|_| wrong())?))
}

impl MachineArgs {
    /// The URL that machines are given, if they may call.
    pub(super) const fn advertised(&self) -> Option<&AdvertisedUrl> {
        self.advertise_url.as_ref()
    }

    /// Begins to listen. `None` without such an address.
    ///
    /// # Errors
    /// Why the address or the certificate cannot be used.
    pub(super) async fn listen(
        &self,
        watched: &WatchedNamespaces,
        installation_secret: &ObjectKey,
        identity: &str,
    ) -> Result<Option<Endpoint>, String> {
        let Some((address, advertised)) = self.machine_address.zip(self.advertise_url.clone()) else {
            return Ok(None);
        };
        let files = self.machine_tls_cert.as_deref().zip(self.machine_tls_key.as_deref());
        let certificate = files.map(|(certificate, key)| Certificate::read(certificate, key)).transpose();
        let certificate = certificate.map_err(|why| format!("{why} (--machine-tls-cert, --machine-tls-key)"))?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address} (--machine-address): {error}"))?;
        let local = listener.local_addr().map_err(|error| error.to_string())?;
        let scheme = if certificate.is_some() { "https" } else { "http" };
        info!("machines call {scheme}://{local}, by {}", advertised.as_str());
        Ok(Some(Endpoint {
            listener,
            advertised,
            certificate,
            watched: watched.clone(),
            installation_secret: installation_secret.clone(),
            identity: identity.to_owned(),
            peers: self.listen_for_peers().await?,
        }))
    }

    async fn listen_for_peers(&self) -> Result<Option<PeerListener>, String> {
        let Some(address) = self.peer_address else { return Ok(None) };
        let wrong = |error: std::io::Error| format!("cannot listen on {address} (--peer-address): {error}");
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?.to_string();
        info!("other replicas reach this one at {address}");
        Ok(Some(PeerListener { listener, address }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        machines: MachineArgs,
    }

    fn parsed(arguments: &[&str]) -> Result<MachineArgs, clap::Error> {
        Line::try_parse_from([&["run"], arguments].concat()).map(|line| line.machines)
    }

    #[test]
    fn an_address_for_other_replicas_is_one_of_a_pod_with_or_without_brackets() {
        for (text, address) in
            [("10.0.0.7:8091", "10.0.0.7:8091"), ("fd00::7:8091", "[fd00::7]:8091"), ("[fd00::7]:0", "[fd00::7]:0")]
        {
            assert_eq!(peer_address(text).unwrap().to_string(), address);
        }
    }

    #[test]
    fn an_address_needs_a_url_that_machines_can_call_and_a_certificate_its_key() {
        assert!(parsed(&[]).unwrap().advertised().is_none());
        let both = ["--machine-address=0.0.0.0:8090", "--advertise-url=https://bullpen.example.com/"];
        let url = parsed(&both).unwrap().advertise_url.unwrap();
        assert_eq!(url.as_str(), "https://bullpen.example.com");
        for (arguments, named) in [
            (vec![both[0]], "--advertise-url"),
            (vec![both[1]], "--machine-address"),
            ([&both[..], &["--machine-tls-cert=a"]].concat(), "--machine-tls-key"),
            (vec!["--machine-address=0.0.0.0:1", "--advertise-url=bullpen"], "http://"),
            (vec!["--peer-address=10.0.0.7:8091"], "--machine-address"),
            ([&both[..], &["--peer-address=0.0.0.0:8091"]].concat(), "that others reach"),
            ([&both[..], &["--peer-address=operator:8091"]].concat(), "no IP address with a port"),
        ] {
            let message = parsed(&arguments).unwrap_err().to_string();
            assert!(message.contains(named), "{arguments:?}: {message}");
        }
    }
}
