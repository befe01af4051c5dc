//! Room on the disk: asked for before it is used, and named when it runs out all the same.

use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;

use crate::lacking::Lacking;

/// Fails unless the file system of a folder has room for so many bytes.
pub(crate) fn check(folder: &Path, bytes: u64, what_for: &str) -> Result<()> {
    let system = statvfs(folder).with_context(|| format!("cannot tell the room in {}", folder.display()))?;
    let free = system.blocks_available() * system.fragment_size();
    enough(folder, free, bytes, what_for)
}

fn enough(folder: &Path, free: u64, bytes: u64, what_for: &str) -> Result<()> {
    if free < bytes {
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        return Err(Lacking(format!(
            "no space {what_for}: {} MB are needed in {}, {} MB are free.\n\
             Make room there, or move the target folder with CARGO_TARGET_DIR",
            megabytes(bytes),
            folder.display(),
            megabytes(free)
        ))
        .into());
    }
    Ok(())
}

/// The same error, as what the machine lacks when it is that the disk is full.
pub(crate) fn named(error: anyhow::Error) -> anyhow::Error {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::StorageFull)
    };
    // Programs that we run say it in words.
    if error.chain().any(full) || format!("{error:#}").contains("No space left on device") {
        return Lacking(format!(
            "no space left: {error:#}\nMake room there, or move the target folder with CARGO_TARGET_DIR"
        ))
        .into();
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_named_with_both_numbers() {
        let error = enough(Path::new("/x"), 1_000_000, 5_000_001, "for a test").unwrap_err();
        assert!(error.is::<Lacking>());
        let text = error.to_string();
        assert!(text.contains("6 MB") && text.contains("1 MB are free") && text.contains("/x"), "{text}");
        enough(Path::new("/x"), 5, 5, "").unwrap();
        check(Path::new("/"), 1, "").unwrap();
    }

    #[test]
    fn full_disk_is_told_from_other_failures() {
        let full = anyhow::Error::from(io::Error::from(ErrorKind::StorageFull)).context("cannot write /x");
        assert!(named(full).is::<Lacking>());
        let said = anyhow::anyhow!("`dpkg-deb -x` failed: cannot copy: No space left on device");
        assert!(named(said).is::<Lacking>());
        let other = anyhow::Error::from(io::Error::from(ErrorKind::NotFound));
        assert!(!named(other).is::<Lacking>());
    }

    #[test]
    fn really_full_disk_is_named() {
        let error = std::fs::write("/dev/full", "x").context("cannot write /dev/full").unwrap_err();
        assert!(named(error).is::<Lacking>());
    }
}
