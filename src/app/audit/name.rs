//! What the name of an object tells: its stream, its instance, and what it holds.
//!
//! Owns the way back from the names that `partition::ObjectName` makes.

/// The parts of a name that are of interest here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// The stream, behind whatever the prefix puts in front of it.
    pub(super) stream: &'a str,
    /// The mark of the instance: the first eight digits of the UUID.
    pub(super) mark: &'a str,
    /// The end of the name with its dot; may be empty.
    pub(super) extension: &'a str,
}

const UUID_CHARS: usize = 36;
/// `yyyy-MM-dd-HH-mm-ss`
const TIME_CHARS: usize = 19;
const MARK_CHARS: usize = 8;

impl<'a> Name<'a> {
    /// Reads the name at the end of a key; `None` when it is not one of ours. Whatever follows the
    /// UUID from a dot on is the extension, since streams may name their own.
    pub(super) fn of(key: &'a str) -> Option<Self> {
        let name = key.rsplit('/').next()?;
        let dots = name.match_indices('.').map(|(at, _)| at);
        dots.chain([name.len()]).find_map(|at| {
            let (stem, extension) = name.split_at(at);
            let (front, uuid) = cut(stem, UUID_CHARS)?;
            let (front, time) = cut(front, TIME_CHARS)?;
            let (stream, version) = front.rsplit_once('-')?;
            let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
            let is_time = time.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
            let fits = is_hex(uuid) && is_time && is_version && !stream.is_empty();
            fits.then(|| Self { stream, mark: &uuid[..MARK_CHARS], extension })
        })
    }
}

/// Cuts the last `count` characters off, and the hyphen before them.
fn cut(text: &str, count: usize) -> Option<(&str, &str)> {
    let at = text.len().checked_sub(count)?;
    let (front, end) = text.split_at_checked(at)?;
    end.is_ascii().then_some((front.strip_suffix('-')?, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{ObjectName, Zone};
    use crate::record::{StreamName, UnixMillis};

    #[test]
    fn the_names_of_objects_come_back() {
        let stream = StreamName::new("web-2.clicks").expect("a name");
        for extension in [".parquet", ".gz", ".zst", "", ".rows.v2.parquet", ".-1", "."] {
            let name = ObjectName {
                stream: &stream,
                version: 1,
                instant: UnixMillis(1_533_632_585_999),
                zone: &Zone::UTC,
                random: 0xa9fa_96af_e4e4_009f_3ac3_1f80_4714_faaa,
                extension,
            };
            let key = name.key("a/b=c/").expect("a key");
            let expected = Name { stream: "web-2.clicks", mark: "a9fa96af", extension };
            assert_eq!(Name::of(&key), Some(expected));
        }
    }

    #[test]
    fn other_names_are_none_of_ours() {
        for key in [
            "",
            "/",
            "a/part-00000.parquet",
            "_SUCCESS",
            "a/ünïcode-of-some-length-and-more-of-it",
            "clicks-x-2018-08-07-09-03-05-a9fa96af-e4e4-409f-bac3-1f804714faaa.parquet",
            "-1-2018-08-07-09-03-05-a9fa96af-e4e4-409f-bac3-1f804714faaa.parquet",
        ] {
            assert_eq!(Name::of(key), None, "{key}");
        }
    }
}
