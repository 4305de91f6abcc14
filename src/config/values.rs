//! The texts that settings are written as.
//!
//! Owns the form of every scalar but sizes, times and secrets. Does not own relations between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::faults::shown;
use super::json_schema::{self, any_case};
use super::reader::{Reader, Scalar, Setting, Source};
use super::settings::StoreUrl;
use super::units::{parse_size, parse_time, show_size, show_time, size_pattern, time_pattern};
use crate::partition::DEFAULT_PARTITION;
use crate::record::{StreamName, Tenant};
use crate::table::HiveType;

/// Text without a rule of its own here; what it means is checked where it is used.
#[derive(Clone, Debug)]
pub(super) struct Text(pub(super) String);

impl Scalar for Text {
    const EXPECTED: &'static str = "a text";

    fn json_schema() -> Json {
        json_schema::text(<Self as Scalar>::EXPECTED)
    }

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

impl Scalar for SocketAddr {
    const EXPECTED: &'static str = "an address and a port, such as 127.0.0.1:4573";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^.+:[0-9]{1,5}$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let expected = <Self as Scalar>::EXPECTED;
        text.parse()
            .map_err(|_| format!("{} is no IP address with a port: write {expected}", shown(text)))
    }
}

/// A path of the file system.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Scalar for Folder {
    const EXPECTED: &'static str = "the path of a folder";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^((?!\$\{)[^\x00-\x1f])+$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(char::is_control) {
            return Err("this is no path: write the path of a folder".to_owned());
        }
        Ok(Self(text.into()))
    }
}

/// The path of a file.
#[derive(Clone, Debug)]
pub(super) struct FilePath(pub(super) PathBuf);

impl Scalar for FilePath {
    const EXPECTED: &'static str = "the path of a file";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^((?!\$\{)[^\x00-\x1f])+$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(char::is_control) {
            return Err("this is no path: write the path of a file".to_owned());
        }
        Ok(Self(text.into()))
    }
}

/// A size in bytes between two bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<const MIN: u64, const MAX: u64> Scalar for Size<MIN, MAX> {
    const EXPECTED: &'static str = "a size, such as 64 MiB";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, &size_pattern())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let bytes = parse_size(text)?;
        if bytes < MIN {
            return Err(format!("{} is too small: write at least {}", shown(text), show_size(MIN)));
        }
        if bytes > MAX {
            return Err(format!("{} is too large: write at most {}", shown(text), show_size(MAX)));
        }
        Ok(Self(bytes))
    }
}

/// A time of at most so many seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeUpTo<const SECONDS_MAX: u64>(pub(super) Duration);

impl<const SECONDS_MAX: u64> Scalar for TimeUpTo<SECONDS_MAX> {
    const EXPECTED: &'static str = "a time, such as 60 s";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, &time_pattern())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let time = parse_time(text)?;
        let max = Duration::from_secs(SECONDS_MAX);
        if time > max {
            return Err(format!("{} is too long: write at most {}", shown(text), show_time(max)));
        }
        Ok(Self(time))
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";

    fn json_schema() -> Json {
        json_schema::truth()
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("expected true or false, found {}", shown(text))),
        }
    }
}

impl Scalar for StreamName {
    const EXPECTED: &'static str = "the name of a delivery stream";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, "^[A-Za-z0-9_.-]{1,64}$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|error| format!("{} is no stream name: {error}", shown(text)))
    }
}

impl Scalar for Tenant {
    const EXPECTED: &'static str = "a tenant's name";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^((?!\$\{)[^\x00-\x1f])+$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text == DEFAULT_PARTITION {
            let reason = "is how readers write a missing value: choose another";
            return Err(format!("{} {reason}", shown(text)));
        }
        Self::new(text).map_err(|error| format!("{} is no tenant: {error}", shown(text)))
    }
}

/// The public half of a producer's credentials.
#[derive(Clone, Debug)]
pub(super) struct AccessKey(pub(super) String);

impl Scalar for AccessKey {
    const EXPECTED: &'static str = "an access key of 1 to 128 letters, digits and '_'";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, "^[A-Za-z0-9_]{1,128}$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_word && (1..=128).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("expected {}", <Self as Scalar>::EXPECTED))
    }
}

/// The name of a database or table, in lower case as Glue keeps it.
#[derive(Clone, Debug)]
pub(super) struct TableWord(pub(super) String);

impl Scalar for TableWord {
    const EXPECTED: &'static str = "a name of 1 to 255 letters, digits, '_' and '-'";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^[^\x00-\x2c./:-@\[-^`{-\x7f]{1,255}$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_word = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        if is_word && (1..=255).contains(&text.len()) {
            return Ok(Self(text.to_lowercase()));
        }
        Err(format!("expected {}, found {}", <Self as Scalar>::EXPECTED, shown(text)))
    }
}

impl Scalar for HiveType {
    const EXPECTED: &'static str = "a column type, such as string";

    fn json_schema() -> Json {
        // Editors complete the words; `check` reads what stands between the brackets.
        let whole = [
            "boolean",
            "tinyint",
            "smallint",
            "int",
            "integer",
            "bigint",
            "float",
            "double",
            "decimal",
            "string",
            "binary",
            "date",
            "timestamp",
        ];
        let open = ["decimal", "char", "varchar", "array", "map", "struct"];
        let pattern = format!(r"^\s*(({})\s*|({})\s*[(<].*)$", any_case(&whole), any_case(&open));
        let form = <Self as Scalar>::EXPECTED;
        json!({"description": form, "anyOf": [{"enum": whole}, {"type": "string", "pattern": pattern}]})
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| {
            let count = |one: char| text.matches(one).count();
            // `{price: decimal(12,2)}` is a mapping of 'price' and '2)'.
            let is_cut = count('(') > count(')') || count('<') > count('>');
            let hint =
                if is_cut { "; between braces a comma ends it, so quote the type" } else { "" };
            format!("{error}{hint}")
        })
    }
}

/// The kind of a catalog.
#[derive(Clone, Copy, Debug)]
pub(super) enum CatalogType {
    /// Files in a folder.
    Files,
    /// AWS Glue, or what speaks its API.
    Glue,
}

impl Scalar for CatalogType {
    const EXPECTED: &'static str = "files or glue";

    fn json_schema() -> Json {
        json_schema::words(&["files", "glue"])
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "files" => Ok(Self::Files),
            "glue" => Ok(Self::Glue),
            _ => Err(format!(
                "{} is not among the types of catalogs: write files or glue",
                shown(text)
            )),
        }
    }
}

impl Setting for StoreUrl {
    const EXPECTED: &'static str = "s3://bucket/path, file:///folder or file:./folder";

    fn json_schema() -> Json {
        json_schema::pattern(
            Self::EXPECTED,
            r"^(s3://[A-Za-z0-9._-]{3,63}(/.*)?|file:(//)?(/|\./|\.\./).*)$",
        )
    }

    fn read(source: &Source<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let Text(text) = Text::read(source, reader)?;
        let parsed = parse_url(&text).and_then(|url| match url {
            Self::File { path } => {
                let absolute = reader.environment.absolute(&path);
                let path = absolute.map_err(|error| format!("no working directory: {error}"))?;
                Ok(Self::File { path })
            }
            Self::S3 { .. } => Ok(url),
        });
        parsed.map_err(|message| reader.fault(source.place(), message)).ok()
    }
}

fn parse_url(text: &str) -> Result<StoreUrl, String> {
    if text.contains(char::is_control) {
        return Err("the URL has a control character: remove it".to_owned());
    }
    if !text.starts_with("file:") {
        check_no_credentials(text)?;
    }
    let unknown = || format!("{} is no store: write {}", shown(text), StoreUrl::EXPECTED);
    if let Some(rest) = text.strip_prefix("s3://") {
        return parse_s3(rest);
    }
    let path = text.strip_prefix("file:").ok_or_else(unknown)?;
    let path = match path.strip_prefix("//") {
        Some(absolute) if !absolute.starts_with('/') => {
            return Err("a path behind 'file://' begins with '/': write file:///folder, or \
                        file:./folder for one below the working directory"
                .to_owned());
        }
        Some(absolute) => absolute,
        None => path,
    };
    if !["/", "./", "../"].iter().any(|start| path.starts_with(start)) {
        return Err(unknown());
    }
    Ok(StoreUrl::File { path: path.into() })
}

/// Credentials in a URL would be printed with it, so the text is not repeated here either.
fn check_no_credentials(url: &str) -> Result<(), String> {
    if url.contains('@') {
        return Err("the URL has a user or password: use access_key and secret".to_owned());
    }
    Ok(())
}

fn parse_s3(rest: &str) -> Result<StoreUrl, String> {
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_bucket = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_bucket) {
        let rule = "write s3://bucket with 3 to 63 letters, digits, '.', '-' and '_'";
        return Err(format!("{} is no bucket: {rule}", shown(bucket)));
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_odd = |folder: &str| matches!(folder, "" | "." | "..");
    if !path.is_empty() && path.split('/').any(is_odd) {
        return Err("the path has an empty, '.' or '..' folder: write plain folders".to_owned());
    }
    Ok(StoreUrl::S3 { bucket: bucket.to_owned(), path: path.to_owned() })
}

/// The URL of a server, without a slash at its end.
#[derive(Clone, Debug)]
pub(super) struct Endpoint(pub(super) String);

impl Scalar for Endpoint {
    const EXPECTED: &'static str = "a URL, such as http://minio:9000";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, r"^https?://[^\s?#\\@]+$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let expected = <Self as Scalar>::EXPECTED;
        check_no_credentials(text)?;
        let is_url = rest.is_some_and(|rest| {
            let odd =
                |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '\\');
            let authority = rest.split('/').next().unwrap_or_default();
            !rest.contains(odd) && is_authority(authority)
        });
        if !is_url {
            return Err(format!("{} is no http or https URL: write {expected}", shown(text)));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Whether `text` is a host and perhaps a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '[', ']']),
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// A region to sign for.
#[derive(Clone, Debug)]
pub(super) struct Region(pub(super) String);

impl Scalar for Region {
    const EXPECTED: &'static str = "a region, such as us-east-1";

    fn json_schema() -> Json {
        json_schema::pattern(<Self as Scalar>::EXPECTED, "^[A-Za-z0-9_-]{1,64}$")
    }

    fn parse(text: &str) -> Result<Self, String> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=64).contains(&text.len()) && text.chars().all(is_word) {
            return Ok(Self(text.to_owned()));
        }
        let expected = <Self as Scalar>::EXPECTED;
        Err(format!("{} is no region: write {expected}", shown(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_urls_are_buckets_or_folders() {
        let s3 = |bucket: &str, path: &str| {
            Ok(StoreUrl::S3 { bucket: bucket.to_owned(), path: path.to_owned() })
        };
        let file = |path: &str| Ok(StoreUrl::File { path: path.into() });
        assert_eq!(parse_url("s3://my-lake"), s3("my-lake", ""));
        assert_eq!(parse_url("s3://my-lake/a/b/"), s3("my-lake", "a/b"));
        assert_eq!(parse_url("file:///lake"), file("/lake"));
        assert_eq!(parse_url("file:/lake"), file("/lake"));
        assert_eq!(parse_url("file:./lake"), file("./lake"));
        for text in
            ["", "lake", "s3://", "s3://a", "s3://my lake", "s3://lake//x", "s3://lake/../x"]
        {
            assert!(parse_url(text).is_err(), "{text}");
        }
        for text in
            ["gs://lake", "file:lake", "file:", "file://lake", "file://./lake", "file:./a\0"]
        {
            assert!(parse_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_are_plain_urls() {
        for text in
            ["http://minio:9000", "https://a.b", "http://[::1]:9000", "https://a/storage/v1"]
        {
            assert!(Endpoint::parse(text).is_ok(), "{text}");
        }
        for text in ["minio:9000", "http://", "http://:9000", "http://a:b", "ftp://a", "http://a b"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        for text in ["http://me:hunter2@a", "me:hunter2@a"] {
            let error = Endpoint::parse(text).expect_err("a password");
            assert!(!error.contains("hunter2"), "{error}");
            let error = parse_url(&format!("s3://{text}")).expect_err("a password");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
