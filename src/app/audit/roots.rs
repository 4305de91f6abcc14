//! Where objects of a stream lie, and what an object is by where it lies.

use super::name::Name;
use crate::config::{self, Config, DeliveryStream};
use crate::plan::Target;

/// What the objects below a prefix are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Data,
    Error,
    Backup,
}

/// Where objects of a stream lie.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) role: Role,
    pub(super) target: Target,
    /// The text that all their keys begin with.
    pub(super) literal: String,
    /// Whether plain records are written here, whose names have no extension.
    is_plain: bool,
    /// What the names of its data end with, where that is not the format's own, and whether these
    /// are files of rows.
    named: Option<(String, bool)>,
}

impl Root {
    pub(super) fn folder(&self) -> &str {
        self.literal.rfind('/').map_or("", |slash| &self.literal[..=slash])
    }

    pub(super) fn of(config: &Config, settings: &DeliveryStream) -> Vec<Self> {
        let literal = |text: &str| text.split("!{").next().unwrap_or_default().to_owned();
        let destination = &settings.destination;
        let target = |store: &String| config.stores[store].target(store);
        let has_rows = matches!(settings.format, config::Format::Parquet(_));
        let named = destination.file_extension.clone().map(|extension| (extension, has_rows));
        let data_is_plain = match &settings.format {
            config::Format::Parquet(_) => false,
            // Those that are named are told by that.
            config::Format::Records(options) => named.is_none() && is_plain(options),
        };
        let mut roots = vec![
            Self {
                role: Role::Data,
                target: target(&destination.store),
                literal: literal(&destination.prefix_text),
                is_plain: data_is_plain,
                named,
            },
            Self {
                role: Role::Error,
                target: target(&destination.store),
                literal: literal(&destination.error_prefix_text),
                is_plain: false,
                named: None,
            },
        ];
        let rule = settings.partitioning.event_time.as_ref().filter(|rule| rule.uses_late_prefix());
        roots.extend(rule.map(|rule| {
            let literal = format!("{}{}", rule.late_folder, roots[0].literal);
            Self { literal, ..roots[0].clone() }
        }));
        roots.extend(settings.backup.as_ref().map(|backup| Self {
            role: Role::Backup,
            target: target(&backup.store),
            literal: literal(&backup.prefix_text),
            is_plain: is_plain(&backup.format),
            named: None,
        }));
        roots
    }
}

fn is_plain(options: &crate::convert::RecordsOptions) -> bool {
    options.compression == crate::convert::RecordsCompression::None
}

/// What an object is by its key; `None` when it is not below any prefix of the stream.
pub(super) fn role_of(roots: &[Root], key: &str) -> Option<Role> {
    let extension = Name::of(key).map(|name| name.extension);
    let fits = |root: &&Root| key.starts_with(&root.literal);
    let longest = roots.iter().filter(fits).map(|root| root.literal.len()).max()?;
    let mut fitting = roots.iter().filter(fits).filter(|root| root.literal.len() == longest);
    let first = fitting.clone().next()?;
    // Of two prefixes that begin alike, failures have no extension.
    let by_extension = fitting.find(|root| match root.role {
        Role::Error => extension == Some(""),
        Role::Data | Role::Backup => extension != Some("") || root.is_plain,
    });
    Some(by_extension.unwrap_or(first).role)
}

/// Whether an object that is known to be a `role` ends with a footer of Parquet, by its name.
pub(super) fn has_footer(roots: &[Root], role: Role, key: &str) -> bool {
    let named = roots.iter().filter(|root| root.role == role).find_map(|root| root.named.as_ref());
    match named {
        Some((extension, has_rows)) if key.ends_with(extension.as_str()) => *has_rows,
        _ => key.ends_with(".parquet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_rows_are_known_by_the_name_that_the_stream_gives_them() {
        let target =
            || Target { store: "s".into(), url: "s3://lake".into(), endpoint: None, region: None };
        let roots = |named: Option<(&str, bool)>| {
            let root = |role, named| Root {
                role,
                target: target(),
                literal: String::new(),
                is_plain: false,
                named,
            };
            let named = named.map(|(extension, has_rows)| (extension.to_owned(), has_rows));
            [root(Role::Data, named), root(Role::Backup, None)]
        };
        let own = roots(None);
        assert!(
            has_footer(&own, Role::Data, "a/x.parquet") && !has_footer(&own, Role::Data, "a/x.gz")
        );
        let rows = roots(Some((".gz", true)));
        assert!(
            has_footer(&rows, Role::Data, "a/x.gz") && has_footer(&rows, Role::Data, "a/x.parquet")
        );
        assert!(!has_footer(&rows, Role::Backup, "a/x.gz"));
        let records = roots(Some((".parquet", false)));
        assert!(!has_footer(&records, Role::Data, "a/x.parquet"));
    }
}
