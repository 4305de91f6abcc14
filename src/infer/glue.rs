//! A proposal as the `TableInput` that AWS Glue's CreateTable takes.
//!
//! Owns the JSON. Does not own the call, nor where the bucket is: the location names one to replace.

use serde_json::{Value as Json, json};

use super::propose::{Proposal, ProposedColumn, TENANT_FOLDER};

/// Glue's bound for a column's comment.
const COMMENT_BYTES_MAX: usize = 255;

impl Proposal {
    /// The table with the classes of Parquet, for `aws glue create-table --table-input`.
    #[must_use]
    pub fn to_glue(&self) -> String {
        let name = self.stream.as_str().to_ascii_lowercase().replace(['.', '-'], "_");
        let columns: Vec<_> = self.columns.iter().map(column).collect();
        let tenant = self.has_tenants.then_some(&TENANT_FOLDER);
        let keys = tenant.into_iter().chain(self.folders());
        let keys: Vec<_> = keys.map(|key| json!({"Name": key, "Type": "string"})).collect();
        let table = json!({
            "Name": name,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"EXTERNAL": "TRUE", "classification": "parquet"},
            "PartitionKeys": keys,
            "StorageDescriptor": {
                "Columns": columns,
                "Location": format!("s3://YOUR-BUCKET/{}/", self.stream),
                "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                "SerdeInfo": {
                    "SerializationLibrary":
                        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
                    "Parameters": {"serialization.format": "1"},
                },
            },
        });
        format!("{table:#}\n")
    }
}

fn column(proposed: &ProposedColumn) -> Json {
    let column = &proposed.column;
    let mut json = json!({"Name": column.name, "Type": column.hive_type.to_string()});
    let notes: Vec<_> = proposed.notes.iter().map(|note| note.text.as_str()).collect();
    let comment = notes.join("; ").replace(|c: char| c.is_control(), " ");
    if !comment.is_empty() {
        json["Comment"] = comment[..comment.floor_char_boundary(COMMENT_BYTES_MAX)].into();
    }
    json
}
