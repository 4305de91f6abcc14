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
}

impl Root {
    pub(super) fn folder(&self) -> &str {
        self.literal.rfind('/').map_or("", |slash| &self.literal[..=slash])
    }

    pub(super) fn of(config: &Config, settings: &DeliveryStream) -> Vec<Self> {
        let literal = |text: &str| text.split("!{").next().unwrap_or_default().to_owned();
        let destination = &settings.destination;
        let target = |store: &String| config.stores[store].target(store);
        let data_is_plain = match &settings.format {
            config::Format::Parquet(_) => false,
            config::Format::Records(options) => is_plain(options),
        };
        let mut roots = vec![
            Self {
                role: Role::Data,
                target: target(&destination.store),
                literal: literal(&destination.prefix_text),
                is_plain: data_is_plain,
            },
            Self {
                role: Role::Error,
                target: target(&destination.store),
                literal: literal(&destination.error_prefix_text),
                is_plain: false,
            },
        ];
        roots.extend(settings.backup.as_ref().map(|backup| Self {
            role: Role::Backup,
            target: target(&backup.store),
            literal: literal(&backup.prefix_text),
            is_plain: is_plain(&backup.format),
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
