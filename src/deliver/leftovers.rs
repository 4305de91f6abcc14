//! What a put into a folder leaves behind when its process dies in the middle of it.
//!
//! The client of folders writes an object's bytes into a file beside its key, which is called like
//! the key with `#1` behind it, or the next number that is free, and renames that. Owns finding and
//! removing such files of one object. Touches no other file, whatever it is called.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, OsDisk};

/// Numbers in a row without a file that end the search. Names are given in order from 1 on, so that
/// one would do, unless a power cut has kept a later one only.
const MISSES_MAX: u32 = 16;

/// Removes the files that puts to `path` have staged and not renamed, for good: also a power cut
/// does not bring them back. No put to it may be under way.
pub(super) async fn remove(path: PathBuf) -> io::Result<()> {
    let work = move || remove_staged(&OsDisk, &path);
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn remove_staged(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let (mut misses, mut removed) = (0, 0);
    for number in 1_u32.. {
        match disk.remove(&staged(path, number)) {
            Ok(()) => (misses, removed) = (0, removed + 1),
            // A folder with such a name is somebody else's.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
                misses += 1;
            }
            Err(error) => return Err(error),
        }
        if misses == MISSES_MAX {
            break;
        }
    }
    if removed > 0 {
        tracing::info!(path = %path.display(), removed, "removed what unfinished puts had staged");
        disk.sync_dir(path.parent().unwrap_or(Path::new("/")))?;
    }
    Ok(())
}

fn staged(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!("#{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use futures::FutureExt as _;

    use super::super::{Effort, Outcome, Read, Stores, Unreadable, deliver};
    use crate::plan::{ObjectHeader, ObjectKind, Target, sha256_hex};

    const KEY: &str = "clicks/day=1/a%2Fb.parquet";

    fn header(url: &str) -> ObjectHeader {
        ObjectHeader {
            kind: ObjectKind::Data,
            target: Target { store: "lake".into(), url: url.into(), endpoint: None, region: None },
            key: KEY.into(),
            offset: 0,
            size_bytes: 5,
            sha256: sha256_hex(b"bytes"),
            row_count: 1,
            tenant: None,
            content_encoding: None,
            partition: None,
            event: None,
            renamed: 0,
            spoiled: false,
        }
    }

    /// Delivers the object into a folder in which `left` lies beside it; what is there afterwards.
    async fn delivered_beside(left: &[&str], may_be_there: bool) -> (Outcome, BTreeSet<String>) {
        let lake = tempfile::tempdir().expect("a folder");
        let place = lake.path().join("clicks/day=1");
        std::fs::create_dir_all(&place).expect("a folder");
        for name in left {
            std::fs::write(place.join(name), b"byt").expect("a file");
        }
        let header = header(&format!("file://{}", lake.path().display()));
        let read: Read<'_> = &|| async { Ok(Bytes::from_static(b"bytes")) }.boxed();
        let effort = Effort { attempts: 1, turns: 0, may_be_there };
        let stores = Stores::new(crate::deliver::Accesses::default());
        let outcome = deliver(&stores, &header, read, effort, &|_, _| {}).await;
        let entries = std::fs::read_dir(&place).expect("a folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("a name")
        };
        (outcome, entries.map(name).collect())
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn what_a_dead_process_staged_goes_when_its_object_is_put() {
        let left = ["a%2Fb.parquet#1", "a%2Fb.parquet#2", "a%2Fb.parquet#5"];
        let (outcome, found) = delivered_beside(&left, true).await;
        assert_eq!((outcome, found), (Outcome::There, names(&["a%2Fb.parquet"])));
    }

    #[tokio::test]
    async fn it_goes_too_when_the_object_is_found_and_when_its_key_is_taken() {
        let lake = tempfile::tempdir().expect("a folder");
        let place = lake.path().join("clicks/day=1");
        std::fs::create_dir_all(&place).expect("a folder");
        let header = header(&format!("file://{}", lake.path().display()));
        let stores = Stores::new(crate::deliver::Accesses::default());
        let effort = Effort { attempts: 1, turns: 0, may_be_there: true };
        for (there, wanted) in [("bytes", Outcome::There), ("other", Outcome::Taken)] {
            std::fs::write(place.join("a%2Fb.parquet"), there).expect("a file");
            std::fs::write(place.join("a%2Fb.parquet#1"), b"by").expect("a file");
            let read: Read<'_> = &|| {
                async { Err(Unreadable { error: "nothing is put".into(), is_final: false }) }
                    .boxed()
            };
            assert_eq!(deliver(&stores, &header, read, effort, &|_, _| {}).await, wanted);
            let left = std::fs::read_dir(&place).expect("a folder").count();
            assert_eq!(left, 1, "{there}");
        }
    }

    #[tokio::test]
    async fn nothing_else_beside_a_key_is_touched() {
        let others = [
            "a%2Fb.parquet#",
            "a%2Fb.parquet#0",
            "a%2Fb.parquet#01",
            "a%2Fb.parquet#1x",
            "a%2Fb.parquet.1",
            "b.parquet#1",
            "#1",
        ];
        let (outcome, found) = delivered_beside(&others, true).await;
        let mut all = names(&others);
        all.insert("a%2Fb.parquet".to_owned());
        assert_eq!((outcome, found), (Outcome::There, all));
    }

    #[tokio::test]
    async fn an_object_that_nobody_tried_before_has_no_leftovers() {
        let (outcome, found) = delivered_beside(&["a%2Fb.parquet#1"], false).await;
        let both = names(&["a%2Fb.parquet", "a%2Fb.parquet#1"]);
        assert_eq!((outcome, found), (Outcome::There, both));
    }
}
