//! The two prefixes of a stream: their defaults, and what tenants demand of them.
//!
//! Owns which text stands where the file has none, and that no two tenants share a folder. Does
//! not own the language of prefixes (`partition`).

use std::collections::BTreeSet;

use super::destination::FileExtension;
use super::faults::{Place, listed};
use super::reader::{At, Field, List, Reader};
use super::shape::{BackupSection, DestinationSection, IdentitySection};
use super::values::Text;
use crate::partition::{self, Group, GroupPlace, ObjectName, Slot, Template, Zone, escape};
use crate::record::{ErrorOutputType, StreamName, Tenant};

const TENANT: &str = "!{lakehose:tenant}";
const ERROR_TYPE: &str = "!{firehose:error-output-type}/";
const DATE_FOLDERS: &str = "year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/";
/// Firehose's implicit date, as an expression.
const DATE: &str = "!{timestamp:yyyy/MM/dd/HH}/";
/// More changes than any stream's definition will see.
const WIDEST_VERSION: u64 = 999_999_999;

/// Both prefixes of a stream.
#[derive(Debug)]
pub(super) struct Prefixes {
    pub(super) data: Prefix,
    pub(super) error: Prefix,
}

/// A checked prefix.
#[derive(Debug)]
pub(super) struct Prefix {
    pub(super) template: Template,
    /// The text with what was appended.
    pub(super) text: String,
    pub(super) place: Place,
}

/// Who may write, as far as prefixes depend on it.
#[derive(Debug)]
pub(super) struct Writers {
    all: Vec<Writer>,
    /// Whether `all` is everyone; if not, faults are noted that must be mended first.
    is_complete: bool,
}

#[derive(Debug)]
struct Writer {
    place: Place,
    tenant: Option<Tenant>,
    streams: Option<BTreeSet<StreamName>>,
}

impl Writers {
    pub(super) fn of(identities: &Field<List<IdentitySection>>) -> Self {
        let items = identities.value().map(|List(items)| items.as_slice());
        let all: Vec<Writer> =
            items.unwrap_or_default().iter().filter_map(|item| Writer::of(item.given()?)).collect();
        let is_complete = items.is_some_and(|items| items.len() == all.len());
        Self { all, is_complete }
    }

    /// Whoever they are: nothing is demanded of prefixes for their sake.
    pub(super) fn unknown() -> Self {
        Self { all: Vec::new(), is_complete: false }
    }

    fn of_stream(&self, stream: &StreamName) -> Vec<&Writer> {
        let may_write = |writer: &&Writer| {
            writer.streams.as_ref().is_none_or(|streams| streams.contains(stream))
        };
        self.all.iter().filter(may_write).collect()
    }
}

impl Writer {
    fn of(At { value: section, place }: &At<IdentitySection>) -> Option<Self> {
        if section.tenant.is_faulty() || section.streams.is_faulty() {
            return None;
        }
        let streams = match section.streams.value() {
            None => None,
            Some(List(names)) if names.iter().any(Field::is_faulty) => return None,
            Some(List(names)) => Some(names.iter().filter_map(Field::value).cloned().collect()),
        };
        Some(Self { place: place.clone(), tenant: section.tenant.value().cloned(), streams })
    }
}

/// The prefixes of `stream`, unless there is a fault.
pub(super) fn prefixes(
    stream: &StreamName,
    At { value: section, place }: &At<DestinationSection>,
    writers: &Writers,
    reader: &mut Reader<'_>,
) -> Option<Prefixes> {
    let of_stream = writers.of_stream(stream);
    let has_tenants = of_stream.iter().any(|writer| writer.tenant.is_some());
    let zone = section.time_zone.value()?.0;
    let defaults = Defaults { stream, place, has_tenants, zone };
    let data = data_prefix(&section.prefix, &defaults, reader);
    let error = error_prefix(section, data.as_ref(), &defaults, reader);
    if writers.is_complete {
        for (prefix, field) in [(&data, &section.prefix), (&error, &section.error_prefix)] {
            // What is made from the other prefix is mended there.
            if let (Some(prefix), Some(_)) = (prefix, field.given()) {
                check_shared(prefix, &of_stream, reader);
            }
        }
        check_tenants([&data, &error], stream, writers, &of_stream, reader);
        let extension = match &section.file_extension {
            Field::Given(At { value: FileExtension(extension), .. }) => extension,
            _ => ".parquet",
        };
        for (prefix, extension) in [(&data, extension), (&error, "")] {
            if let Some(prefix) = prefix {
                check_length(prefix, (stream, extension), &of_stream, reader);
            }
        }
    }
    Some(Prefixes { data: data?, error: error? })
}

/// The prefix of a stream's backup, unless there is a fault.
pub(super) fn backup_prefix(
    stream: &StreamName,
    At { value: section, place }: &At<BackupSection>,
    writers: &Writers,
    reader: &mut Reader<'_>,
) -> Option<Prefix> {
    let of_stream = writers.of_stream(stream);
    let has_tenants = of_stream.iter().any(|writer| writer.tenant.is_some());
    let tenant_folder = if has_tenants { format!("tenant={TENANT}/") } else { String::new() };
    let default = format!("raw/{stream}/{tenant_folder}{DATE_FOLDERS}");
    let prefix = prefix_or(default, (&section.prefix, Zone::UTC), place, reader);
    if let Some(prefix) = &prefix
        && let Some(slot) = prefix.template.slots().first()
    {
        let (expression, origin) = match slot {
            Slot::HookKey(key) => (format!("partitionKeyFromLambda:{key}"), "a hook"),
            Slot::QueryKey(key) => (format!("partitionKeyFromQuery:{key}"), "the query"),
            Slot::Event(_) => ("event:...".to_owned(), "what the record holds"),
        };
        let message = format_args!(
            "!{{{expression}}} comes from {origin}, and the backup has records as they were before: \
             remove it"
        );
        reader.fault(prefix.place.clone(), message);
    }
    if writers.is_complete {
        if let (Some(prefix), Some(_)) = (&prefix, section.prefix.given()) {
            check_shared(prefix, &of_stream, reader);
        }
        check_tenants([&prefix, &None], stream, writers, &of_stream, reader);
        if let Some(prefix) = &prefix {
            check_length(prefix, (stream, ".parquet"), &of_stream, reader);
        }
    }
    prefix
}

struct Defaults<'a> {
    stream: &'a StreamName,
    /// Where the destination stands, or what lacks it.
    place: &'a Place,
    has_tenants: bool,
    zone: Zone,
}

impl Defaults<'_> {
    fn tenant_folder(&self) -> String {
        if self.has_tenants { format!("tenant={TENANT}/") } else { String::new() }
    }

    fn data(&self) -> String {
        format!("{}/{}{DATE_FOLDERS}", self.stream, self.tenant_folder())
    }

    fn error(&self) -> String {
        format!("errors/{}/{}{ERROR_TYPE}{DATE_FOLDERS}", self.stream, self.tenant_folder())
    }
}

fn data_prefix(
    field: &Field<Text>,
    defaults: &Defaults<'_>,
    reader: &mut Reader<'_>,
) -> Option<Prefix> {
    prefix_or(defaults.data(), (field, defaults.zone), defaults.place, reader)
}

/// The prefix of a section that stands at `place`, or the default one.
fn prefix_or(
    default: String,
    (field, zone): (&Field<Text>, Zone),
    place: &Place,
    reader: &mut Reader<'_>,
) -> Option<Prefix> {
    let kind = partition::Place::Prefix;
    match field {
        Field::Faulty => None,
        Field::Absent => parse(default, (kind, zone), place.below("prefix"), reader),
        Field::Given(At { value: Text(text), place }) => {
            let mut prefix = parse(text.clone(), (kind, zone), place.clone(), reader)?;
            // Nor does Firehose give a date to a prefix with keys.
            if !prefix.template.has_timestamp() && prefix.template.slots().is_empty() {
                prefix.template = prefix.template.with_implicit_date();
                prefix.text.push_str(DATE);
            }
            Some(prefix)
        }
    }
}

fn error_prefix(
    section: &DestinationSection,
    data: Option<&Prefix>,
    defaults: &Defaults<'_>,
    reader: &mut Reader<'_>,
) -> Option<Prefix> {
    let kind = (partition::Place::ErrorPrefix, defaults.zone);
    match (&section.error_prefix, &section.prefix) {
        (Field::Faulty, _) | (Field::Absent, Field::Faulty) => None,
        (Field::Given(At { value: Text(text), place }), _) => {
            parse(text.clone(), kind, place.clone(), reader)
        }
        (Field::Absent, Field::Absent) => {
            parse(defaults.error(), kind, defaults.place.below("error_prefix"), reader)
        }
        (Field::Absent, Field::Given(At { value: Text(literal), place })) => {
            // Without a prefix its fault comes first.
            let template = &data?.template;
            if template.has_expressions() {
                let has_tenants = defaults.has_tenants || template.uses_tenant();
                let example = Defaults { has_tenants, ..*defaults }.error();
                let message = format_args!(
                    "it is needed because prefix has expressions: write for example \
                     error_prefix: \"{example}\""
                );
                reader.fault(defaults.place.below("error_prefix"), message);
                return None;
            }
            parse(format!("{literal}{ERROR_TYPE}{DATE}"), kind, place.clone(), reader)
        }
    }
}

fn parse(
    text: String,
    (kind, zone): (partition::Place, Zone),
    place: Place,
    reader: &mut Reader<'_>,
) -> Option<Prefix> {
    match Template::parse_in(&text, kind, zone) {
        Ok(template) => Some(Prefix { template, text, place }),
        Err(error) => {
            reader.fault(place, error);
            None
        }
    }
}

/// Where several tenants write, each needs folders of its own.
fn check_shared(prefix: &Prefix, writers: &[&Writer], reader: &mut Reader<'_>) {
    let tenants: BTreeSet<Option<&Tenant>> =
        writers.iter().map(|writer| writer.tenant.as_ref()).collect();
    if tenants.len() > 1 && !prefix.template.separates_tenants() {
        let names = listed(tenants.iter().map(|tenant| tenant.map_or("(none)", Tenant::as_str)));
        let message = format_args!(
            "several tenants write to this stream ({names}): put tenant={TENANT}/ into prefix and \
             error_prefix, as a whole folder, so that none reads another's records"
        );
        reader.fault(prefix.place.clone(), message);
    }
}

/// A prefix with the tenant in it needs writers that have one.
fn check_tenants(
    prefixes: [&Option<Prefix>; 2],
    stream: &StreamName,
    writers: &Writers,
    of_stream: &[&Writer],
    reader: &mut Reader<'_>,
) {
    let mut using = prefixes.into_iter().flatten().filter(|prefix| prefix.template.uses_tenant());
    let Some(first) = using.next() else {
        return;
    };
    if writers.all.is_empty() {
        let message = format_args!(
            "{TENANT} comes from identities, and there are none: add identities with a tenant, \
             or remove it"
        );
        for prefix in std::iter::once(first).chain(using) {
            reader.fault(prefix.place.clone(), message);
        }
        return;
    }
    for writer in of_stream.iter().filter(|writer| writer.tenant.is_none()) {
        let message = format_args!(
            "the prefix of stream '{stream}' has {TENANT}, and this identity may write to it: \
             give it a tenant, or leave the stream out of its streams"
        );
        reader.fault(writer.place.below("tenant"), message);
    }
}

/// No record that is accepted may turn out to have no key.
fn check_length(
    prefix: &Prefix,
    (stream, extension): (&StreamName, &str),
    writers: &[&Writer],
    reader: &mut Reader<'_>,
) {
    let tenants = writers.iter().filter_map(|writer| writer.tenant.as_ref());
    let longest = |length: fn(&str) -> usize| {
        tenants.clone().max_by_key(|tenant| length(&escape(tenant.as_str())))
    };
    let widest = prefix.template.widest_instant();
    // The bound of the prefix counts characters, that of the key bytes.
    for tenant in [longest(|text| text.chars().count()), longest(str::len)] {
        let error = Some(ErrorOutputType::FormatConversionFailed);
        // Values that are too long fail their records; the shortest have to fit.
        let place = GroupPlace::Placed(prefix.template.example("0", widest));
        let group = Group { tenant: tenant.cloned(), place };
        let message = match prefix.template.evaluate(widest, &group, error, &mut || 0) {
            Err(error) => error.to_string(),
            Ok(evaluated) => {
                let name = ObjectName {
                    stream,
                    version: WIDEST_VERSION,
                    instant: widest,
                    zone: prefix.template.zone(),
                    random: 0,
                    extension,
                };
                match name.key(&evaluated.prefix) {
                    Err(error) => error.to_string(),
                    Ok(_) => continue,
                }
            }
        };
        // What is written twice is reported once.
        reader.fault(prefix.place.clone(), message);
    }
}
