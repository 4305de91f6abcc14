//! The certificate of the producers' listener, from settings to use.
//!
//! Owns which place of the configuration is at fault when a file cannot be used. Does not own TLS
//! itself: that is `ingest`.

use std::sync::Arc;

use crate::config::{Config, Fault};
use crate::disk::Disk;
use crate::ingest::{Tls, TlsError, TlsFiles};

/// Reads the certificate that the configuration names; `None` when it names none.
pub(super) fn load(config: &Config, disk: &Arc<dyn Disk>) -> Result<Option<Arc<Tls>>, Fault> {
    let Some(settings) = &config.server.tls else {
        return Ok(None);
    };
    let files = TlsFiles { certificate: settings.certificate.clone(), key: settings.key.clone() };
    match Tls::load(disk.clone(), files) {
        Ok(tls) => Ok(Some(Arc::new(tls))),
        Err(error) => {
            let place = match &error {
                TlsError::Certificate { .. } => &settings.certificate_place,
                TlsError::Key { .. } => &settings.key_place,
            };
            Err(Fault::new(place.clone(), error))
        }
    }
}
