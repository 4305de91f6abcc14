//! What kind of volume a folder lies on, and whether it keeps what was synced.
//!
//! Owns the names of file systems that a data directory must not lie on without somebody's word for
//! it. Does not own what is done about them.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

/// A file system that may lose what was synced, or that the service cannot be sure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsafeVolume {
    /// The name that `mount` gives it.
    pub name: &'static str,
    /// What is wrong with it.
    pub peril: Peril,
}

/// What may happen to files that were synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peril {
    /// They are in memory.
    Memory,
    /// They go with the container.
    Container,
    /// A server has them, whose locks and syncs may mean less than those of a disk.
    Network,
}

/// Displays as `lies on tmpfs, ...`, for a sentence that begins with the folder.
impl fmt::Display for UnsafeVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.peril {
            Peril::Memory => "which is memory: it is empty after a restart of the machine",
            Peril::Container => {
                "the writable layer of a container: it is gone when the container is replaced"
            }
            Peril::Network => {
                "which is no disk of this machine: a sync or a lock there may not mean what it \
                 should"
            }
        };
        write!(f, "lies on {}, {what}", self.name)
    }
}

/// By `f_type` of `statfs(2)`, as `linux/magic.h` has it.
const UNSAFE: [(u64, &str, Peril); 11] = [
    (0x0102_1994, "tmpfs", Peril::Memory),
    (0x8584_58f6, "ramfs", Peril::Memory),
    (0x794c_7630, "overlay", Peril::Container),
    (0x6175_6673, "aufs", Peril::Container),
    (0x6969, "nfs", Peril::Network),
    (0x517b, "smb", Peril::Network),
    (0xff53_4d42, "cifs", Peril::Network),
    (0xfe53_4d42, "smb3", Peril::Network),
    (0x0102_1997, "9p", Peril::Network),
    (0x5346_414f, "afs", Peril::Network),
    (0x6573_5546, "fuse", Peril::Network),
];

fn of_magic(magic: u64) -> Option<UnsafeVolume> {
    let found = UNSAFE.into_iter().find(|(number, ..)| *number == magic);
    found.map(|(_, name, peril)| UnsafeVolume { name, peril })
}

/// What is unsafe about the volume that `path` lies on, or will once it is made; `None` where nothing
/// is known against it.
///
/// # Errors
/// What the file system answers.
pub fn unsafe_volume(path: &Path) -> io::Result<Option<UnsafeVolume>> {
    for ancestor in path.ancestors() {
        let here = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match magic(here) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return Ok(found?.and_then(of_magic)),
        }
    }
    Ok(None)
}

#[cfg(target_os = "linux")]
fn magic(path: &Path) -> io::Result<Option<u64>> {
    // Magics have 32 bits; on some machines the field is a signed number of as many.
    Ok(Some(rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff))
}

/// Elsewhere file systems have no numbers that everybody agrees on.
#[cfg(not(target_os = "linux"))]
fn magic(_path: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_lies_where_its_parent_lies() {
        let here = unsafe_volume(Path::new(".")).expect("it is asked");
        for path in ["not/there/yet", "./not"] {
            assert_eq!(unsafe_volume(Path::new(path)).expect("it is asked"), here);
        }
    }

    #[test]
    fn what_is_wrong_with_a_volume_is_said() {
        for (magic, words) in [
            (
                0x0102_1994,
                "lies on tmpfs, which is memory: it is empty after a restart of the machine",
            ),
            (
                0x794c_7630,
                "lies on overlay, the writable layer of a container: it is gone when the container \
                 is replaced",
            ),
            (
                0x6969,
                "lies on nfs, which is no disk of this machine: a sync or a lock there may not mean \
                 what it should",
            ),
        ] {
            assert_eq!(of_magic(magic).expect("it is unsafe").to_string(), words);
        }
    }

    #[test]
    fn file_systems_of_disks_are_safe() {
        // ext2 to ext4, xfs, btrfs, zfs, f2fs, bcachefs.
        for magic in [0xef53, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0xf2f5_2010, 0xca45_1a4e] {
            assert_eq!(of_magic(magic), None);
        }
        let told = of_magic(0x0102_1994).expect("it is known").to_string();
        assert!(told.starts_with("lies on tmpfs, which is memory"), "{told}");
    }
}
