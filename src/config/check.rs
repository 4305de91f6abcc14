//! Relations between settings, and the way from sections to [`Config`].
//!
//! Owns what one key means for another, the server, stores and catalogs among them. Does not own prefixes
//! and tenants (`prefixes`), who may write (`identities`), nor tables (`tables`).
//!
//! Invariant: a part is left out only after a fault was noted for it, and a faulty part gives no
//! further faults of its own.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::buffering::{buffering, check_objects, memory_bytes};
use super::faults::{Faults, Place, listed, shown};
use super::formats::format;
use super::identities::identities;
use super::overlap::check_overlaps;
use super::partitioning::partitioning;
use super::prefixes::{Prefix, Prefixes, Writers, backup_prefix, prefixes};
use super::processors::{check_order, fold_delimiter};
use super::reader::{At, Field, Named, NamedEntry, Reader, nearest};
use super::settings::{
    Backup, Catalog, Config, Credentials, DeliveryStream, Destination, Format, Glue, Identity,
    Server, Store, StoreUrl, Tls,
};
use super::shape::{
    BackupSection, CatalogSection, File, ServerSection, StoreSection, StreamSection, TlsSection,
};
use super::tables::{check_columns, register_partitions, schema_of};
use super::transform::steps;
use super::values::{CatalogType, Endpoint, Region, Text};
use crate::convert::{RecordsCompression, RecordsOptions};
use crate::record::StreamName;

/// The region of stores and catalogs that name none.
const REGION_DEFAULT: &str = "us-east-1";
/// The folder of `files` catalogs that name none.
const CATALOG_FOLDER_DEFAULT: &str = "./lakehose/catalog";
/// How often streams look at their tables; more often than the least would be a load on Glue.
const REFRESH_DEFAULT: Duration = Duration::from_secs(60);
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// Checks what `file` says as a whole.
pub(super) fn check(file: &File, reader: &mut Reader<'_>) -> Option<Config> {
    let identities = identities(file, reader);
    check_listener(file, reader);
    let memory_bytes = memory_bytes(file, reader);
    if let Some(bytes) = memory_bytes {
        check_objects(file, bytes, reader);
    }
    config(file, memory_bytes, identities, &Writers::of(&file.identities), check_overlaps, reader)
}

/// Checks what was kept of a file: whoever wrote to its stream may do so no more, and its prefixes
/// were compared with those of others when it was in use.
pub(super) fn check_kept(file: &File, reader: &mut Reader<'_>) -> Option<Config> {
    let memory_bytes = memory_bytes(file, reader);
    config(file, memory_bytes, Some(Vec::new()), &Writers::unknown(), |_, _, _| (), reader)
}

/// What compares the prefixes of all streams.
type Compare = fn(&BTreeMap<StreamName, DeliveryStream>, &BTreeMap<String, Store>, &mut Reader<'_>);

/// The settings, for which nothing is left out before all of their faults are noted.
fn config(
    file: &File,
    memory_bytes: Option<u64>,
    identities: Option<Vec<Identity>>,
    writers: &Writers,
    compare: Compare,
    reader: &mut Reader<'_>,
) -> Option<Config> {
    let server = file.server.value().and_then(|section| server(section, reader));
    let stores = named(&file.stores, "store", store, reader);
    let catalogs = named(&file.catalogs, "catalog", catalog, reader);
    let delivery_streams = streams(file, &stores, writers, reader);
    compare(&delivery_streams, &stores, reader);
    Some(Config {
        server: server?,
        data_dir: file.data_dir.value()?.0.clone(),
        allow_unsafe_volume: *file.allow_unsafe_volume.value()?,
        disk_budget_bytes: file.disk_budget.value()?.0,
        memory_bytes: memory_bytes?,
        identities: identities?,
        stores,
        catalogs,
        delivery_streams,
        definitions: BTreeMap::new(),
        warnings: Faults::new(Vec::new()),
    })
}

fn server(section: &ServerSection, reader: &mut Reader<'_>) -> Option<Server> {
    let (listen, admin) = (section.listen.given()?, section.admin.given()?);
    if listen.value == admin.value && listen.value.port() != 0 {
        let message = "this is the address of 'listen' as well: write another port";
        reader.fault(admin.place.clone(), message);
    }
    let tls = match &section.tls {
        Field::Absent => None,
        Field::Given(at) => Some(tls(&at.value)?),
        Field::Faulty => return None,
    };
    let shutdown_deadline = section.shutdown_deadline.value()?.0;
    Some(Server { listen: listen.value, admin: admin.value, tls, shutdown_deadline })
}

fn tls(section: &TlsSection) -> Option<Tls> {
    let (certificate, key) = (section.certificate.given()?, section.key.given()?);
    Some(Tls {
        certificate: certificate.value.0.clone(),
        certificate_place: certificate.place.clone(),
        key: key.value.0.clone(),
        key_place: key.place.clone(),
    })
}

/// Whoever reaches an open listener can write, so only this machine may.
fn check_listener(file: &File, reader: &mut Reader<'_>) {
    let is_open = file.identities.value().is_some_and(|list| list.0.is_empty());
    let listen = file.server.value().and_then(|server| server.listen.given());
    if let Some(At { value: listen, place }) = listen
        && is_open
        && !listen.ip().to_canonical().is_loopback()
    {
        let port = listen.port();
        let message = format_args!(
            "{listen} can be reached by other machines, and without identities nobody has to \
             sign: add identities, or listen on 127.0.0.1:{port}"
        );
        reader.fault(place.clone(), message);
    }
}

/// Turns the named sections that have no fault into settings.
fn named<S, T>(
    field: &Field<Named<S>>,
    what: &str,
    convert: fn(&S, &Place, &mut Reader<'_>) -> Option<T>,
    reader: &mut Reader<'_>,
) -> BTreeMap<String, T> {
    let mut converted = BTreeMap::new();
    let Some(At { value: Named(entries), place }) = field.given() else {
        return converted;
    };
    if entries.is_empty() {
        reader.fault(place.clone(), format_args!("there is none: name at least one {what}"));
    }
    for NamedEntry { name, place, field } in entries {
        // The names of streams and of stores stand in the same places.
        if let Err(rule) = StreamName::new(name) {
            let message = format_args!("{} is no name of a {what}: {rule}", shown(name));
            reader.fault(place.clone(), message);
        }
        let value = field.value().and_then(|section| convert(section, place, reader));
        converted.extend(value.map(|value| (name.clone(), value)));
    }
    converted
}

pub(super) fn store(
    section: &StoreSection,
    place: &Place,
    reader: &mut Reader<'_>,
) -> Option<Store> {
    let StoreSection { url, endpoint, region, access_key, secret } = section;
    if let Some(StoreUrl::File { .. }) = url.value() {
        let endpoint = endpoint.given().map(|at| &at.place);
        let region = region.given().map(|at| &at.place);
        let access_key = access_key.given().map(|at| &at.place);
        let secret = secret.given().map(|at| &at.place);
        for place in [endpoint, region, access_key, secret].into_iter().flatten() {
            reader.fault(place.clone(), "this is for s3:// stores only: remove it");
        }
    } else if access_key.is_absent() != secret.is_absent() {
        let (missing, other) =
            if secret.is_absent() { ("secret", "access_key") } else { ("access_key", "secret") };
        let message = format_args!(
            "it is missing beside {other}: write both, or neither to use the credentials that \
             the AWS tools would find"
        );
        reader.fault(place.below(missing), message);
    }
    let url = url.value()?.clone();
    let region = region.value().map_or(REGION_DEFAULT, |Region(region)| region.as_str());
    let region = matches!(url, StoreUrl::S3 { .. }).then(|| region.to_owned());
    let credentials = access_key.value().zip(secret.value());
    let credentials = credentials.map(|(access_key, secret)| Credentials {
        access_key: access_key.text.clone(),
        access_key_file: access_key.file.clone(),
        secret: secret.clone(),
    });
    let endpoint = endpoint.value().map(|Endpoint(url)| url.clone());
    Some(Store { url, endpoint, region, credentials })
}

pub(super) fn catalog(
    section: &CatalogSection,
    place: &Place,
    reader: &mut Reader<'_>,
) -> Option<Catalog> {
    let CatalogSection { r#type, path, region, endpoint, catalog_id, access_key, secret, refresh } =
        section;
    match r#type.value()? {
        CatalogType::Files => {
            let places = [
                region.given().map(|at| &at.place),
                endpoint.given().map(|at| &at.place),
                catalog_id.given().map(|at| &at.place),
                access_key.given().map(|at| &at.place),
                secret.given().map(|at| &at.place),
                refresh.given().map(|at| &at.place),
            ];
            for place in places.into_iter().flatten() {
                reader.fault(place.clone(), "this is for glue catalogs only: remove it");
            }
            let default = || CATALOG_FOLDER_DEFAULT.into();
            Some(Catalog::Files { path: path.value().map_or_else(default, |path| path.0.clone()) })
        }
        CatalogType::Glue => {
            if let Some(At { place, .. }) = path.given() {
                reader.fault(place.clone(), "this is for files catalogs only: remove it");
            }
            if access_key.is_absent() != secret.is_absent() {
                let missing = if secret.is_absent() { "secret" } else { "access_key" };
                let message = "it is missing: write access_key and secret both, or neither to use \
                               the credentials that the AWS tools would find";
                reader.fault(place.below(missing), message);
            }
            if let Some(At { value, place }) = refresh.given()
                && value.0 < REFRESH_MIN
            {
                reader.fault(place.clone(), "that is too often: write at least 1 s");
            }
            let region = region.value().map_or(REGION_DEFAULT, |Region(region)| region.as_str());
            let credentials = access_key.value().zip(secret.value());
            Some(Catalog::Glue(Glue {
                region: region.to_owned(),
                endpoint: endpoint.value().map(|Endpoint(url)| url.clone()),
                catalog_id: catalog_id.value().map(|Text(id)| id.clone()),
                credentials: credentials.map(|(access_key, secret)| Credentials {
                    access_key: access_key.text.clone(),
                    access_key_file: access_key.file.clone(),
                    secret: secret.clone(),
                }),
                refresh: refresh.value().map_or(REFRESH_DEFAULT, |refresh| refresh.0),
            }))
        }
    }
}

pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let name = shown(name);
    match nearest(&name[1..name.len() - 1], known) {
        Some(meant) => format!("unknown {what} {name}: write '{meant}'"),
        None => format!("unknown {what} {name}: write one of {}", listed(known.iter().copied())),
    }
}

fn streams(
    file: &File,
    stores: &BTreeMap<String, Store>,
    writers: &Writers,
    reader: &mut Reader<'_>,
) -> BTreeMap<StreamName, DeliveryStream> {
    let mut streams = BTreeMap::new();
    let Some(At { value: Named(entries), place }) = file.delivery_streams.given() else {
        return streams;
    };
    if entries.is_empty() {
        reader.fault(place.clone(), "there is none: name at least one delivery stream");
    }
    // No two streams may share a prefix: each would take the other's objects for its own.
    let mut prefixes_taken: HashMap<(String, Option<String>, String), String> = HashMap::new();
    // Nor a table: their partitions would have the same names.
    let mut tables_taken: HashMap<(String, String, String), String> = HashMap::new();
    for entry in entries {
        let name = StreamName::new(&entry.name).map_err(|rule| {
            let message = format!("{} is no stream name: {rule}", shown(&entry.name));
            reader.fault(entry.place.clone(), message);
        });
        let (Ok(name), Some(section)) = (name, entry.field.given()) else {
            continue;
        };
        let Some(stream) = stream(&name, section, file, writers, reader) else {
            continue;
        };
        let destination = &stream.destination;
        if let Some(store) = stores.get(&destination.store) {
            let target = store.target(&destination.store);
            let key = (target.url, target.endpoint, destination.prefix_text.clone());
            if let Some(other) = prefixes_taken.insert(key, entry.name.clone()) {
                let place = destination.prefix_place.clone();
                let message = format_args!(
                    "stream '{other}' has this prefix in the same store: write one of its own"
                );
                reader.fault(place, message);
            }
        }
        if let Some(schema) = &stream.schema {
            let key = (schema.catalog.clone(), schema.database.clone(), schema.table.clone());
            if let Some(other) = tables_taken.insert(key, entry.name.clone()) {
                let message = format_args!(
                    "stream '{other}' has the table {}.{} too: write another one into table",
                    schema.database, schema.table
                );
                reader.fault(schema.place.clone(), message);
            }
        }
        streams.insert(name, stream);
    }
    streams
}

fn stream(
    name: &StreamName,
    At { value: section, place }: &At<StreamSection>,
    file: &File,
    writers: &Writers,
    reader: &mut Reader<'_>,
) -> Option<DeliveryStream> {
    let buffering = section.buffering.value().and_then(|value| buffering(value, reader));
    let mut format = section.format.given().and_then(|at| format(at, section, place, reader));
    let schema = match &section.schema {
        Field::Given(at) => schema_of(name, at, &file.catalogs, reader).map(Some),
        Field::Absent => Some(None),
        Field::Faulty => None,
    };
    let mut transform = steps(&section.transform, reader);
    if let Some(steps) = &mut transform {
        check_order(steps, reader);
        if let Some(Format::Records(options)) = &mut format {
            fold_delimiter(steps, options);
        }
    }
    let mut placed = None;
    let destination = section.destination.given().and_then(|at| {
        let store = one_of((&at.value.store, &at.place), "store", &file.stores, reader);
        let mut prefixes = prefixes(name, at, writers, reader);
        let prefix = prefixes.as_mut().map(|prefixes| &mut prefixes.data);
        placed = partitioning(&section.partitioning, prefix, transform.as_deref(), reader);
        let file_extension = match &at.value.file_extension {
            Field::Given(at) => Some((Some(at.value.0.clone()), at.place.clone())),
            Field::Absent => Some((None, at.place.below("file_extension"))),
            Field::Faulty => None,
        };
        Some(destination(store?, prefixes?, file_extension?))
    });
    let backup = match &section.backup {
        Field::Given(at) => backup(name, at, &file.stores, writers, reader).map(Some),
        Field::Absent => Some(None),
        Field::Faulty => None,
    };
    let prefix = destination.as_ref().map(|destination| &destination.prefix);
    if let Some(prefix) = prefix {
        check_columns(&section.schema, prefix, reader);
    }
    let partitions = section.partitions.given();
    let register = partitions
        .zip(prefix)
        .and_then(|(at, prefix)| register_partitions(&at.value.register, section, prefix, reader));
    let (partitioning, complete) = placed?;
    let format = format?;
    let packed = match &format {
        Format::Records(options) => options.compression,
        Format::Parquet(_) => RecordsCompression::None,
    };
    Some(DeliveryStream {
        buffering: buffering?.packed(packed),
        format,
        transform: transform?,
        schema: schema?,
        destination: destination?,
        backup: backup?,
        partitioning,
        complete,
        register_partitions: register?,
        partitions_place: partitions?.place.clone(),
    })
}

fn backup(
    stream: &StreamName,
    at: &At<BackupSection>,
    stores: &Field<Named<StoreSection>>,
    writers: &Writers,
    reader: &mut Reader<'_>,
) -> Option<Backup> {
    let section = &at.value;
    let store = one_of((&section.store, &at.place), "store", stores, reader);
    let prefix = backup_prefix(stream, at, writers, reader);
    let buffering = section.buffering.value().and_then(|value| buffering(value, reader));
    let format = RecordsOptions {
        compression: *section.compression.value()?,
        delimiter: *section.delimiter.value()?,
    };
    let Prefix { template, text, place } = prefix?;
    Some(Backup {
        store: store?,
        prefix: template,
        prefix_text: text,
        prefix_place: place,
        format,
        buffering: buffering?.packed(format.compression),
    })
}

fn destination(
    store: String,
    prefixes: Prefixes,
    (file_extension, file_extension_place): (Option<String>, Place),
) -> Destination {
    let Prefixes { data, error } = prefixes;
    Destination {
        store,
        prefix: data.template,
        prefix_text: data.text,
        prefix_place: data.place,
        error_prefix: error.template,
        error_prefix_text: error.text,
        error_prefix_place: error.place,
        file_extension,
        file_extension_place,
    }
}

/// The name that a stream gives, or the only one there is.
pub(super) fn one_of<S>(
    (name, section_place): (&Field<Text>, &Place),
    what: &str,
    named: &Field<Named<S>>,
    reader: &mut Reader<'_>,
) -> Option<String> {
    let known: Vec<&str> = named.value()?.names().collect();
    match (name, known.as_slice()) {
        // That there is none is a fault of the section itself.
        (Field::Faulty, _) | (_, []) => None,
        (Field::Given(At { value: Text(name), place }), known) => {
            if !known.contains(&name.as_str()) {
                reader.fault(place.clone(), unknown(what, name, known));
                return None;
            }
            Some(name.clone())
        }
        (Field::Absent, [only]) => Some((*only).to_owned()),
        (Field::Absent, known) => {
            let known = listed(known.iter().copied());
            let message =
                format_args!("there are several, so one must be named: write one of {known}");
            reader.fault(section_place.below(what), message);
            None
        }
    }
}
