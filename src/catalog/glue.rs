//! AWS Glue's Data Catalog, or what speaks its API.
//!
//! Owns the calls and what their answers mean. Each call is one attempt: repeating it is the
//! caller's part. Does not choose tables or partitions, keeps nothing between two calls, and removes
//! nothing.
//!
//! Invariants: a partition gets the table's storage descriptor as it is at that moment, with its own
//! location; what is in the catalog already is only ever given columns that it lacks. Its values go by
//! the names in its location, in the order of the table's keys at that moment: a partition may have
//! waited since before the table was made anew.

mod answers;
mod shapes;

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aws_sdk_glue::Client;
use aws_sdk_glue::config::http::HttpResponse;
use aws_sdk_glue::config::retry::RetryConfig;
use aws_sdk_glue::config::timeout::TimeoutConfig;
use aws_sdk_glue::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_glue::types;
use futures::future::BoxFuture;

use self::answers::{EntryError, chain, invalid, is_passing};
use self::shapes::{columns_from, columns_to, fitted, known, missing_of, widened};
use super::{
    Catalog, CatalogError, Definition, Elsewhere, Found, Known, Refusal, Registration, is_below,
    is_same_location,
};
use crate::plan::CatalogPartition;
use crate::table::Table;

/// Glue's bound for one `BatchCreatePartition`, `BatchUpdatePartition`; also kept for reading.
const PARTITIONS_PER_CALL_MAX: usize = 100;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const CALL_PATIENCE: Duration = Duration::from_secs(30);

const PARQUET_INPUT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat";
const PARQUET_OUTPUT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat";
const PARQUET_SERDE: &str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";

/// Where a Glue catalog is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The region.
    pub region: String,
    /// The server, unless it is AWS.
    pub endpoint: Option<String>,
    /// The catalog, unless it is the account's own.
    pub catalog_id: Option<String>,
}

/// What calls are signed with.
#[derive(Clone)]
pub struct Keys {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// A Glue Data Catalog.
#[derive(Clone, Debug)]
pub struct GlueCatalog {
    client: Client,
    place: Place,
}

impl GlueCatalog {
    /// A catalog whose calls are signed with `keys`.
    #[must_use]
    pub fn with_keys(place: Place, keys: Keys) -> Self {
        let credentials = Credentials::new(keys.access_key, keys.secret, None, None, "settings");
        Self::new(place, Builder::default().credentials_provider(credentials))
    }

    /// A catalog whose calls are signed by what `chain` finds, the loaded configuration of the SDK.
    #[must_use]
    pub fn with_chain(place: Place, chain: impl Into<Builder>) -> Self {
        Self::new(place, chain.into())
    }

    fn new(place: Place, builder: Builder) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .operation_timeout(CALL_PATIENCE)
            .build();
        let mut builder = builder
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(place.region.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        builder.set_endpoint_url(place.endpoint.clone());
        Self { client: Client::from_conf(builder.build()), place }
    }

    async fn read_table(&self, database: &str, name: &str) -> Result<types::Table, CatalogError> {
        let call = self.client.get_table().database_name(database).name(name);
        let answer = call.set_catalog_id(self.place.catalog_id.clone()).send().await;
        let answer = answer.map_err(|error| self.table_error("read", (database, name), &error))?;
        answer.table.ok_or_else(|| invalid((database, name), "the answer has no table in it"))
    }

    async fn found(&self, database: &str, name: &str) -> Result<Found, CatalogError> {
        let table = self.read_table(database, name).await?;
        let descriptor = table.storage_descriptor().map_or(&[][..], |d| d.columns());
        let read = |columns: &[types::Column]| {
            columns_from(columns).map_err(|reason| invalid((database, name), &reason))
        };
        Ok(Found {
            made: table.create_time().map(ToString::to_string).unwrap_or_default(),
            table: Table {
                database: database.to_owned(),
                name: name.to_owned(),
                columns: read(descriptor)?,
                partition_keys: read(table.partition_keys())?,
                version: table.version_id().unwrap_or("0").to_owned(),
            },
        })
    }

    async fn define_own(&self, definition: &Definition) -> Result<(), CatalogError> {
        let wanted = &definition.table;
        let names = (wanted.database.as_str(), wanted.name.as_str());
        match self.read_table(names.0, names.1).await {
            Ok(table) => self.widen_table(definition, table).await,
            Err(CatalogError::Missing { .. }) => {
                self.create_database(names.0).await?;
                self.create_table(definition).await
            }
            Err(error) => Err(error),
        }
    }

    async fn check_own(&self, definition: &Definition) -> Result<(), CatalogError> {
        let Table { database, name, .. } = &definition.table;
        match self.read_table(database, name).await {
            Ok(table) => missing_of(definition, &table).map(|_| ()),
            Err(CatalogError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_database(&self, name: &str) -> Result<(), CatalogError> {
        let input = types::DatabaseInput::builder().name(name).build();
        let input = input.map_err(|error| invalid((name, ""), &error.to_string()))?;
        let call = self.client.create_database().database_input(input);
        match call.set_catalog_id(self.place.catalog_id.clone()).send().await {
            Err(error) if error.code() != Some("AlreadyExistsException") => {
                Err(self.failed(format!("make database {name}"), &error))
            }
            _ => Ok(()),
        }
    }

    async fn create_table(&self, definition: &Definition) -> Result<(), CatalogError> {
        let table = &definition.table;
        let names = (table.database.as_str(), table.name.as_str());
        let wrong = |error: aws_sdk_glue::error::BuildError| invalid(names, &error.to_string());
        let serde = types::SerDeInfo::builder()
            .serialization_library(PARQUET_SERDE)
            .parameters("serialization.format", "1")
            .build();
        let descriptor = types::StorageDescriptor::builder()
            .set_columns(Some(columns_to(&table.columns).map_err(wrong)?))
            .location(&definition.location)
            .input_format(PARQUET_INPUT)
            .output_format(PARQUET_OUTPUT)
            .serde_info(serde)
            .build();
        let input = types::TableInput::builder()
            .name(&table.name)
            .table_type("EXTERNAL_TABLE")
            .parameters("classification", "parquet")
            .parameters("EXTERNAL", "TRUE")
            .set_partition_keys(Some(columns_to(&table.partition_keys).map_err(wrong)?))
            .storage_descriptor(descriptor)
            .build()
            .map_err(wrong)?;
        let call = self.client.create_table().database_name(names.0).table_input(input);
        match call.set_catalog_id(self.place.catalog_id.clone()).send().await {
            Err(error) if error.code() != Some("AlreadyExistsException") => {
                Err(self.table_error("make", names, &error))
            }
            _ => Ok(()),
        }
    }

    /// Appends the columns that the table lacks. What is there is never changed: files written
    /// until now have it so.
    async fn widen_table(
        &self,
        definition: &Definition,
        table: types::Table,
    ) -> Result<(), CatalogError> {
        let wanted = &definition.table;
        let names = (wanted.database.as_str(), wanted.name.as_str());
        let (mut descriptor, missing) = missing_of(definition, &table)?;
        if missing.is_empty() {
            return Ok(());
        }
        let missing = columns_to(&missing).map_err(|error| invalid(names, &error.to_string()))?;
        descriptor.columns.get_or_insert_default().extend(missing);
        let input = types::TableInput::builder()
            .name(&table.name)
            .set_description(table.description)
            .set_owner(table.owner)
            .set_last_access_time(table.last_access_time)
            .set_last_analyzed_time(table.last_analyzed_time)
            .retention(table.retention)
            .set_table_type(table.table_type)
            .set_parameters(table.parameters)
            .set_partition_keys(table.partition_keys)
            .storage_descriptor(descriptor)
            .build()
            .map_err(|error| invalid(names, &error.to_string()))?;
        // By the version, so that two instances do not undo each other's columns.
        let call = self.client.update_table().database_name(names.0).table_input(input);
        let call = call.set_version_id(table.version_id);
        let answer = call.set_catalog_id(self.place.catalog_id.clone()).send().await;
        answer.map(|_| ()).map_err(|error| self.table_error("widen", names, &error))
    }

    async fn register_all(
        &self,
        partitions: &[CatalogPartition],
    ) -> Result<Registration, CatalogError> {
        let mut registration = Registration::default();
        let Some(first) = partitions.first() else {
            return Ok(registration);
        };
        let names = (first.database.as_str(), first.table.as_str());
        let table = self.read_table(names.0, names.1).await?;
        let keys: Vec<String> =
            table.partition_keys().iter().map(|key| key.name().to_owned()).collect();
        let descriptor = table
            .storage_descriptor
            .ok_or_else(|| invalid(names, "it has no storage descriptor"))?;
        let mut fitting = Vec::new();
        for partition in partitions {
            match fitted(partition, names, &keys) {
                Ok(fitted) => fitting.push((partition, fitted)),
                Err(reason) => {
                    let partition = partition.clone();
                    registration.refused.push(Refusal { partition, reason });
                }
            }
        }
        let mut existing = Vec::new();
        for some in fitting.chunks(PARTITIONS_PER_CALL_MAX) {
            let sent: Vec<&CatalogPartition> = some.iter().map(|(_, fitted)| fitted).collect();
            let mut errors = self.create(names, &sent, &descriptor).await?;
            for (partition, fitted) in some {
                match errors.remove(&fitted.values) {
                    None => registration.registered.push((*partition).clone()),
                    Some(error) if error.is_about_existing() => existing.push((*partition, fitted)),
                    Some(error) => {
                        let (partition, reason) = ((*partition).clone(), error.to_string());
                        registration.refused.push(Refusal { partition, reason });
                    }
                }
            }
            // An error that names none of the partitions may be of any of them.
            if let Some((values, error)) = errors.into_iter().next() {
                let attempt =
                    format!("register partitions of table {}.{} in Glue", names.0, names.1);
                let reason = format!("the answer has an error for the values {values:?}: {error}");
                return Err(CatalogError::Unreachable { attempt, reason });
            }
        }
        for some in existing.chunks(PARTITIONS_PER_CALL_MAX) {
            let asked: Vec<&CatalogPartition> = some.iter().map(|(_, fitted)| *fitted).collect();
            let locations = self.locations(names, &asked).await?;
            for (partition, fitted) in some {
                registration.registered.push((*partition).clone());
                let location = locations.get(&fitted.values);
                if let Some(location) = location
                    && !is_same_location(location, &partition.location)
                {
                    let (partition, location) = ((*partition).clone(), location.clone());
                    registration.elsewhere.push(Elsewhere { partition, location });
                }
            }
        }
        Ok(registration)
    }

    /// Tells by its values what went wrong with a partition.
    async fn create(
        &self,
        names: (&str, &str),
        partitions: &[&CatalogPartition],
        descriptor: &types::StorageDescriptor,
    ) -> Result<HashMap<Vec<String>, EntryError>, CatalogError> {
        let mut errors = HashMap::new();
        let mut calls: Vec<&[&CatalogPartition]> = vec![partitions];
        while let Some(some) = calls.pop() {
            let inputs = some.iter().map(|partition| {
                let mut descriptor = descriptor.clone();
                descriptor.location = Some(partition.location.clone());
                types::PartitionInput::builder()
                    .set_values(Some(partition.values.clone()))
                    .storage_descriptor(descriptor)
                    .build()
            });
            let call = self.client.batch_create_partition();
            let call = call.database_name(names.0).table_name(names.1);
            let call = call.set_partition_input_list(Some(inputs.collect()));
            match call.set_catalog_id(self.place.catalog_id.clone()).send().await {
                Ok(answer) => {
                    errors.extend(answer.errors.unwrap_or_default().into_iter().map(|error| {
                        let values = error.partition_values.unwrap_or_default();
                        (values, EntryError::of(error.error_detail))
                    }))
                }
                // The whole call can be refused for one that is there: then one by one.
                Err(error) if error.code() == Some("AlreadyExistsException") => match some {
                    [one] => {
                        errors.insert(one.values.clone(), EntryError::existing());
                    }
                    _ => calls.extend(some.chunks(1)),
                },
                Err(error) => {
                    return Err(self.table_error("register partitions of", names, &error));
                }
            }
        }
        Ok(errors)
    }

    async fn locations(
        &self,
        names: (&str, &str),
        partitions: &[&CatalogPartition],
    ) -> Result<HashMap<Vec<String>, String>, CatalogError> {
        let keys = partitions.iter().map(|partition| {
            types::PartitionValueList::builder().set_values(Some(partition.values.clone())).build()
        });
        let mut keys: Vec<_> =
            keys.collect::<Result<_, _>>().map_err(|error| invalid(names, &error.to_string()))?;
        let mut locations = HashMap::new();
        while !keys.is_empty() {
            let asked = keys.len();
            let call = self.client.batch_get_partition().database_name(names.0).table_name(names.1);
            let call = call.set_partitions_to_get(Some(keys));
            let answer = call.set_catalog_id(self.place.catalog_id.clone()).send().await;
            let answer =
                answer.map_err(|error| self.table_error("read partitions of", names, &error))?;
            let known = answer.partitions.unwrap_or_default().into_iter().map(known);
            locations.extend(known.map(|partition| (partition.values, partition.location)));
            // Glue answers as much as it can; an answer without anything is a busy Glue.
            keys = answer.unprocessed_keys.unwrap_or_default();
            if keys.len() >= asked {
                let attempt = format!("read partitions of table {}.{} in Glue", names.0, names.1);
                let reason = "it has processed none of the keys".to_owned();
                return Err(CatalogError::Unreachable { attempt, reason });
            }
        }
        Ok(locations)
    }

    async fn list(&self, database: &str, table: &str) -> Result<Vec<Known>, CatalogError> {
        let call = self.client.get_partitions().database_name(database).table_name(table);
        let call = call.set_catalog_id(self.place.catalog_id.clone()).exclude_column_schema(true);
        let mut pages = call.into_paginator().send();
        let mut partitions = Vec::new();
        while let Some(page) = pages.next().await {
            let names = (database, table);
            let page =
                page.map_err(|error| self.table_error("list partitions of", names, &error))?;
            partitions.extend(page.partitions.unwrap_or_default().into_iter().map(known));
        }
        Ok(partitions)
    }

    async fn widen_partitions(&self, definition: &Definition) -> Result<u64, CatalogError> {
        let names = (definition.table.database.as_str(), definition.table.name.as_str());
        let table = self.read_table(names.0, names.1).await?;
        let columns = table.storage_descriptor.and_then(|d| d.columns).unwrap_or_default();
        let call = self.client.get_partitions().database_name(names.0).table_name(names.1);
        let call = call.set_catalog_id(self.place.catalog_id.clone());
        let mut pages = call.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page =
                page.map_err(|error| self.table_error("list partitions of", names, &error))?;
            let partitions = page.partitions.unwrap_or_default().into_iter();
            let stale = partitions.filter_map(|partition| {
                let location = partition.storage_descriptor()?.location()?;
                let is_ours = is_below(location, &definition.location);
                if is_ours { widened(partition, &columns) } else { None }
            });
            let stale: Vec<_> = stale.collect();
            for some in stale.chunks(PARTITIONS_PER_CALL_MAX) {
                count += self.update(names, some).await?;
            }
        }
        Ok(count)
    }

    async fn update(
        &self,
        names: (&str, &str),
        inputs: &[types::PartitionInput],
    ) -> Result<u64, CatalogError> {
        let entry = |input: &types::PartitionInput| {
            types::BatchUpdatePartitionRequestEntry::builder()
                .set_partition_value_list(input.values.clone())
                .partition_input(input.clone())
                .build()
        };
        let entries: Vec<_> = inputs
            .iter()
            .map(entry)
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(names, &error.to_string()))?;
        let call = self.client.batch_update_partition().database_name(names.0).table_name(names.1);
        let call = call.set_entries(Some(entries));
        let answer = call.set_catalog_id(self.place.catalog_id.clone()).send().await;
        let answer =
            answer.map_err(|error| self.table_error("update partitions of", names, &error))?;
        let failures = answer.errors.unwrap_or_default();
        let count = inputs.len().saturating_sub(failures.len()) as u64;
        let errors = failures.into_iter().map(|failure| EntryError::of(failure.error_detail));
        // One that was removed meanwhile needs no columns.
        match errors.into_iter().find(|error| error.code != "EntityNotFoundException") {
            None => Ok(count),
            Some(error) => {
                let attempt = format!("update partitions of table {}.{} in Glue", names.0, names.1);
                Err(CatalogError::Unreachable { attempt, reason: error.to_string() })
            }
        }
    }

    fn table_error<E>(
        &self,
        verb: &str,
        (database, table): (&str, &str),
        error: &SdkError<E, HttpResponse>,
    ) -> CatalogError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if error.code() == Some("EntityNotFoundException") {
            let said = error.message().unwrap_or("it is not there");
            return CatalogError::Missing {
                database: database.to_owned(),
                table: table.to_owned(),
                hint: format!(
                    "Glue in {} answered '{said}'; make the table there, or give the stream's \
                     schema its columns",
                    self.place.region
                ),
            };
        }
        self.failed(format!("{verb} table {database}.{table}"), error)
    }

    fn failed<E>(&self, attempt: String, error: &SdkError<E, HttpResponse>) -> CatalogError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let place = self.place.endpoint.as_ref().unwrap_or(&self.place.region);
        let attempt = format!("{attempt} in Glue ({place})");
        let Some(code) = error.code() else {
            return CatalogError::Unreachable { attempt, reason: chain(error) };
        };
        let reason = format!("{code}: {}", error.message().unwrap_or("no message"));
        let is_server_error =
            error.raw_response().is_some_and(|answer| answer.status().is_server_error());
        if is_server_error || is_passing(code) {
            CatalogError::Unreachable { attempt, reason }
        } else {
            CatalogError::Refused { attempt, reason }
        }
    }
}

impl Catalog for GlueCatalog {
    fn table<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Found, CatalogError>> {
        Box::pin(self.found(database, table))
    }

    fn define<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async {
            if definition.is_ours { Box::pin(self.define_own(definition)).await } else { Ok(()) }
        })
    }

    fn check<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async {
            if definition.is_ours { Box::pin(self.check_own(definition)).await } else { Ok(()) }
        })
    }

    fn register<'a>(
        &'a self,
        partitions: &'a [CatalogPartition],
    ) -> BoxFuture<'a, Result<Registration, CatalogError>> {
        Box::pin(self.register_all(partitions))
    }

    fn partitions<'a>(
        &'a self,
        database: &'a str,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Known>, CatalogError>> {
        Box::pin(self.list(database, table))
    }

    fn widen<'a>(&'a self, definition: &'a Definition) -> BoxFuture<'a, Result<u64, CatalogError>> {
        Box::pin(self.widen_partitions(definition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let keys = Keys { access_key: "AK".into(), secret: "hidden".into() };
        let place = Place { region: "r".into(), endpoint: None, catalog_id: None };
        assert!(!format!("{keys:?}").contains("hidden"));
        assert!(!format!("{:?}", GlueCatalog::with_keys(place, keys)).contains("hidden"));
    }
}
