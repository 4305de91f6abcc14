//! TLS for a listener: the certificate, and its renewal while the listener serves.
//!
//! Owns how the two files become a configuration of rustls, and when they are read again: every few
//! seconds their content is compared, since neither the time of a file nor its name tells of a
//! change everywhere. A pair that cannot be used changes nothing and is told once; connections that
//! are open keep the certificate that they began with. Does not own connections (`server`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::retry::{Hash, sha256};
use crate::disk::{Disk, read_file};

/// More than any chain of certificates has.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// What clients may speak; those that do not say speak HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where the certificate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those that it depends on, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the certificate.
    #[error("the certificate {path} cannot be used: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file with the key, or that it is the key of another certificate.
    #[error("the private key {path} cannot be used: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; nothing of its content.
        reason: String,
    },
}

/// A certificate in use.
#[derive(Debug)]
pub struct Tls {
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: TlsFiles,
    config: Arc<ServerConfig>,
    /// Of what was read last, usable or not.
    seen: Hash,
}

/// What another look at the files has led to.
#[derive(Debug)]
pub enum Looked {
    /// They are as they were.
    Unchanged,
    /// New connections get the new certificate.
    Renewed,
    /// They have changed and cannot be used; the certificate stays.
    Refused(TlsError),
}

struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(disk: Arc<dyn Disk>, files: TlsFiles) -> Result<Self, TlsError> {
        let content = Content::read(disk.as_ref(), &files)?;
        let config = Arc::new(content.config(&files)?);
        let state = State { files, config, seen: content.hash() };
        Ok(Self { disk, state: Mutex::new(state) })
    }

    /// Where the certificate in use stands.
    #[must_use]
    pub fn files(&self) -> TlsFiles {
        self.locked().files.clone()
    }

    /// Goes on with the certificate of `other`, for new connections.
    pub fn follow(&self, other: &Self) {
        let State { files, config, seen } = &*other.locked();
        *self.locked() = State { files: files.clone(), config: config.clone(), seen: *seen };
    }

    /// Reads the files again and takes them into use when they have changed. Blocks for as long as
    /// the disk does.
    pub fn look(&self) -> Looked {
        let files = self.files();
        let read = Content::read(self.disk.as_ref(), &files);
        let seen = match &read {
            Ok(content) => content.hash(),
            Err(error) => sha256(error.to_string().as_bytes()),
        };
        let mut state = self.locked();
        // Other files may have been taken into use meanwhile.
        if state.files != files || state.seen == seen {
            return Looked::Unchanged;
        }
        state.seen = seen;
        match read.and_then(|content| content.config(&files)) {
            Ok(config) => {
                state.config = Arc::new(config);
                Looked::Renewed
            }
            Err(error) => Looked::Refused(error),
        }
    }

    /// Looks at the files and tells the log what has come of it. Blocks as [`look`](Self::look)
    /// does.
    pub fn renew(&self) {
        let looked = self.look();
        let certificate = self.files().certificate;
        let certificate = certificate.display();
        match looked {
            Looked::Unchanged => {}
            Looked::Renewed => tracing::info!(%certificate, "the certificate has been renewed"),
            Looked::Refused(error) => tracing::error!(
                %error,
                "the certificate has changed and cannot be used; the one before stays in use"
            ),
        }
    }

    /// Keeps the certificate as its files are. Never ends; may be dropped at any time.
    pub async fn keep_current(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let tls = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || tls.renew()).await {
                tracing::error!(%error, "could not look at the certificate");
            }
        }
    }

    /// What new connections begin with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.locked().config.clone())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in it is ever half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn read(disk: &dyn Disk, files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| read_file(disk, path, FILE_BYTES_MAX);
        let certificate = read(&files.certificate)
            .map_err(|error| certificate_error(files, reason_of(&error)))?;
        let key = read(&files.key).map_err(|error| key_error(files, reason_of(&error)))?;
        Ok(Self { certificate, key })
    }

    fn hash(&self) -> Hash {
        sha256(&[sha256(&self.certificate), sha256(&self.key)].concat())
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| certificate_error(files, pem_reason(&error)))?;
        if chain.is_empty() {
            return Err(certificate_error(files, "it has no CERTIFICATE section in PEM form"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.map_err(|error| key_error(files, pem_reason(&error)))?;
        let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate_error(files, error))?
            .with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InvalidCertificate(_) => {
                certificate_error(files, "it is not an X.509 certificate")
            }
            rustls::Error::InconsistentKeys(_) => {
                let certificate = files.certificate.display();
                key_error(files, format!("it is not the key of the certificate {certificate}"))
            }
            error => key_error(files, error),
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

fn certificate_error(files: &TlsFiles, reason: impl ToString) -> TlsError {
    TlsError::Certificate { path: files.certificate.clone(), reason: reason.to_string() }
}

fn key_error(files: &TlsFiles, reason: impl ToString) -> TlsError {
    TlsError::Key { path: files.key.clone(), reason: reason.to_string() }
}

fn reason_of(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}

fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "it has no such section in PEM form".to_owned(),
        // The others quote lines of the file, which may be the key's.
        _ => "its PEM form is damaged".to_owned(),
    }
}
