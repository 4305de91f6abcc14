//! Who may write: the section `identities`, and what one of them means for the others.
//!
//! Owns what proves an identity and which streams it names. Does not own how a proof is checked
//! (`ingest`), nor what tenants mean for prefixes (`prefixes`).

use std::collections::{BTreeSet, HashSet};

use super::check::unknown;
use super::faults::Place;
use super::reader::{At, Field, List, Reader};
use super::secret::Secret;
use super::settings::{Credentials, Identity};
use super::shape::{File, IdentitySection};
use crate::record::StreamName;

/// Shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Longer ones do not fit between other headers.
const TOKEN_BYTES_MAX: usize = 1024;

pub(super) fn identities(file: &File, reader: &mut Reader<'_>) -> Option<Vec<Identity>> {
    let List(fields) = file.identities.value()?;
    let known: Option<Vec<&str>> =
        file.delivery_streams.value().map(|streams| streams.names().collect());
    let mut access_keys = HashSet::new();
    let mut tokens = HashSet::new();
    let mut identities = Vec::new();
    for At { value: section, place } in fields.iter().filter_map(Field::given) {
        check_proof(section, place, reader);
        if let Some(At { value, place }) = section.access_key.given()
            && !access_keys.insert(value.0.as_str())
        {
            let message = "another identity has this access key: write one that is unique";
            reader.fault(place.clone(), message);
        }
        if let Some(At { value, place }) = section.token.given() {
            check_token(value, place, &mut tokens, reader);
        }
        if let Some(known) = &known {
            check_writable(section, known, reader);
        }
        identities.extend(identity(section));
    }
    Some(identities)
}

/// Somebody who cannot prove who they are could not write.
fn check_proof(section: &IdentitySection, place: &Place, reader: &mut Reader<'_>) {
    let IdentitySection { access_key, secret, token, .. } = section;
    let message = match (access_key.is_absent(), secret.is_absent()) {
        (false, false) => return,
        (true, true) if !token.is_absent() => return,
        (true, true) => {
            // An unknown key was told already, and is likely the one that is missing.
            if !reader.has_fault_below(place) {
                let message = "nobody could write as this identity: write access_key and secret \
                               for the Firehose API, token for the plain endpoint, or all three";
                reader.fault(place.clone(), message);
            }
            return;
        }
        (false, true) => ("secret", "access_key"),
        (true, false) => ("access_key", "secret"),
    };
    let (missing, other) = message;
    let message = format_args!("it is missing beside {other}: write both, or token alone");
    reader.fault(place.below(missing), message);
}

/// A token that cannot stand in a header, that can be guessed or that two have is of no use.
fn check_token<'a>(
    token: &'a Secret,
    place: &Place,
    others: &mut HashSet<&'a str>,
    reader: &mut Reader<'_>,
) {
    let text = token.expose();
    let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len());
    if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "a token has 16 to 1024 visible ASCII characters: make one, for instance \
                       with openssl rand -hex 24";
        reader.fault(place.clone(), message);
    } else if !others.insert(text) {
        let message = "another identity has this token: write one that is unique";
        reader.fault(place.clone(), message);
    }
}

fn identity(section: &IdentitySection) -> Option<Identity> {
    let credentials = section.access_key.value().zip(section.secret.value());
    let credentials = credentials.map(|(access_key, secret)| Credentials {
        access_key: access_key.0.clone(),
        access_key_file: None,
        secret: secret.clone(),
    });
    let token = section.token.value().cloned();
    if credentials.is_none() && token.is_none() {
        return None;
    }
    Some(Identity {
        credentials,
        token,
        tenant: section.tenant.value().cloned(),
        streams: writable(&section.streams),
    })
}

fn writable(streams: &Field<List<StreamName>>) -> Option<BTreeSet<StreamName>> {
    let List(names) = streams.value()?;
    Some(names.iter().filter_map(Field::value).cloned().collect())
}

fn check_writable(section: &IdentitySection, known: &[&str], reader: &mut Reader<'_>) {
    let Some(At { value: List(names), place }) = section.streams.given() else {
        return;
    };
    if names.is_empty() {
        let message = "the identity could write nothing: name a stream, or remove the key for all";
        reader.fault(place.clone(), message);
    }
    for At { value, place } in names.iter().filter_map(Field::given) {
        if !known.contains(&value.as_str()) {
            reader.fault(place.clone(), unknown("stream", value.as_str(), known));
        }
    }
}
