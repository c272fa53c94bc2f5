//! An authority of a test's own, and certificates that it signs.
//!
//! Keys are made anew each time and belong to nobody outside the test. Not for production: keys lie in the clear.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate, and the private key it is for, each as PEM.
#[derive(Clone)]
pub struct Certificate {
    /// What may be shown to anybody.
    pub certificate: String,
    /// The private key, as PKCS #8.
    pub key: String,
}

/// Until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Longer than any test.
    Lasting,
    /// It ended years ago.
    Expired,
}

/// Whose signature a broker or a client believes.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, which nobody believes yet.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = named(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate, as PEM: what `ssl.ca.location` names.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for `CN=name`, good at these hosts (names or addresses), for a server as for a client.
    ///
    /// # Errors
    /// When a host is no name, or the system gives no randomness.
    pub fn issue(&self, name: &str, hosts: &[&str], validity: Validity) -> Result<Certificate, rcgen::Error> {
        let mut params = named(name, hosts)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if validity == Validity::Expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Certificate { certificate, key: key.serialize_pem() })
    }
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
