//! Archives that the kernel unpacks into its first root (newc). Several in one file are unpacked one after the other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cpio::newc;

const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive that is being written.
pub(crate) struct Archive<W: Write> {
    out: Option<W>,
    /// Paths that it holds; one that comes again is left out.
    held: BTreeSet<PathBuf>,
}

impl Archive<BufWriter<File>> {
    /// A new file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::new(BufWriter::new(file)))
    }
}

impl<W: Write> Archive<W> {
    /// An archive without entries.
    pub(crate) fn new(out: W) -> Self {
        Self { out: Some(out), held: BTreeSet::new() }
    }

    /// The folders and links of a root whose programs and libraries are all below /usr, and the two devices that a
    /// program needs before anything is mounted.
    pub(crate) fn add_skeleton(&mut self) -> Result<()> {
        for (link, target) in
            [("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")]
        {
            self.add_link(Path::new(link), target)?;
        }
        for folder in
            ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/dev", "/proc", "/sys", "/run", "/tmp"]
        {
            self.add_folder(Path::new(folder))?;
        }
        for folder in ["/root", "/etc", "/var/lib", "/var/log", "/var/run", "/mnt"] {
            self.add_folder(Path::new(folder))?;
        }
        self.add_device("dev/console", (5, 1))?;
        self.add_device("dev/null", (1, 3))
    }

    /// A folder, after those above it.
    pub(crate) fn add_folder(&mut self, path: &Path) -> Result<()> {
        let path = &settled(path);
        if let Some(parent) = path.parent().filter(|parent| parent.parent().is_some()) {
            self.add_folder(parent)?;
        }
        self.add_entry(path, FOLDER | 0o755, &[])
    }

    /// A file with these bytes.
    pub(crate) fn add_bytes(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        self.add_folder(path.parent().context("a file has a folder")?)?;
        self.add_entry(path, REGULAR | (mode & 0o7777), bytes)
    }

    /// A copy of a file of this machine, with its permissions; links are followed.
    pub(crate) fn add_file(&mut self, path: &Path, from: &Path) -> Result<()> {
        if self.held.contains(&settled(path)) {
            return Ok(());
        }
        let unreadable = || format!("cannot read {}", from.display());
        let mode = fs::metadata(from).with_context(unreadable)?.permissions().mode();
        let bytes = fs::read(from).with_context(unreadable)?;
        self.add_bytes(path, mode, &bytes)
    }

    /// All files below a folder of this machine, at the same place below another.
    pub(crate) fn add_tree(&mut self, path: &Path, from: &Path) -> Result<()> {
        let entries = fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", from.display()))?;
            let (to, from) = (path.join(entry.file_name()), entry.path());
            if from.is_dir() {
                self.add_tree(&to, &from)?;
            } else if from.is_file() {
                self.add_file(&to, &from)?;
            }
        }
        Ok(())
    }

    fn add_link(&mut self, path: &Path, target: &str) -> Result<()> {
        self.held.insert(path.to_path_buf());
        let name = path.strip_prefix("/").unwrap_or(path).display().to_string();
        self.write(newc::Builder::new(&name).mode(LINK | 0o777), target.as_bytes())
    }

    fn add_device(&mut self, name: &str, (major, minor): (u32, u32)) -> Result<()> {
        let builder = newc::Builder::new(name).mode(CHARACTER_DEVICE | 0o600);
        self.write(builder.rdev_major(major).rdev_minor(minor), &[])
    }

    fn add_entry(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        let path = settled(path);
        let name =
            path.strip_prefix("/").unwrap_or(&path).to_str().context("a name that is no UTF-8")?.to_owned();
        if name.is_empty() || !self.held.insert(path) {
            return Ok(());
        }
        self.write(newc::Builder::new(&name).mode(mode), bytes)
    }

    fn write(&mut self, builder: newc::Builder, bytes: &[u8]) -> Result<()> {
        let Some(out) = self.out.take() else {
            bail!("the archive failed before");
        };
        let size = u32::try_from(bytes.len()).context("an archive holds files below 4 GiB")?;
        let number = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        let mut writer = builder.ino(number).nlink(1).write(out, size);
        writer.write_all(bytes)?;
        self.out = Some(writer.finish()?);
        Ok(())
    }

    /// Writes the end, and gives back what was written to.
    pub(crate) fn finish(mut self) -> Result<W> {
        let out = self.out.take().context("the archive failed before")?;
        let mut out = newc::trailer(out)?;
        out.flush()?;
        Ok(out)
    }
}

/// The place of a path where /bin, /sbin, /lib and /lib64 are links into /usr.
fn settled(path: &Path) -> PathBuf {
    let moved = ["/bin", "/sbin", "/lib", "/lib64"].into_iter().any(|folder| path.starts_with(folder));
    if moved { Path::new("/usr").join(path.strip_prefix("/").unwrap_or(path)) } else { path.to_path_buf() }
}

/// Puts archives one after the other into a file.
pub(crate) fn join(parts: &[&Path], to: &Path) -> Result<()> {
    let mut out = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    for part in parts {
        let mut from = File::open(part).with_context(|| format!("cannot read {}", part.display()))?;
        let length =
            io::copy(&mut from, &mut out).with_context(|| format!("cannot write {}", to.display()))?;
        // The kernel looks for the next archive at a multiple of four.
        let padding = usize::try_from(length.next_multiple_of(4) - length).unwrap_or(0);
        out.write_all(&[0; 4][..padding])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and contents, read by another reader of the format.
    fn listed(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let (mut rest, mut entries) = (bytes, Vec::new());
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return entries;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = Vec::new();
            rest = reader.to_writer(&mut content).unwrap();
            entries.push((name, mode, content));
        }
    }

    #[test]
    fn file_comes_after_its_folders_and_once() {
        let mut archive = Archive::new(Vec::new());
        archive.add_bytes(Path::new("/a/b/c"), 0o755, b"one").unwrap();
        archive.add_bytes(Path::new("/a/b/c"), 0o755, b"two").unwrap();
        archive.add_bytes(Path::new("/a/d"), 0o644, b"").unwrap();
        let entries = listed(&archive.finish().unwrap());
        let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/d"]);
        assert_eq!(entries[2].1, 0o100_755);
        assert_eq!(entries[2].2, b"one");
    }

    #[test]
    fn skeleton_has_a_console_and_one_place_for_programs() {
        let mut archive = Archive::new(Vec::new());
        archive.add_skeleton().unwrap();
        archive.add_bytes(Path::new("/bin/sh"), 0o755, b"#").unwrap();
        let entries = listed(&archive.finish().unwrap());
        let of = |name: &str| entries.iter().find(|entry| entry.0 == name).cloned();
        assert_eq!(of("bin").unwrap().2, b"usr/bin");
        assert_eq!(of("usr/bin/sh").unwrap().2, b"#");
        assert_eq!(of("dev/console").unwrap().1, 0o020_600);
    }

    #[test]
    fn later_archive_does_not_put_a_folder_in_the_place_of_a_link() {
        let mut archive = Archive::new(Vec::new());
        archive.add_bytes(Path::new("/lib64/ld.so"), 0o755, b"#").unwrap();
        let entries = listed(&archive.finish().unwrap());
        let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["usr", "usr/lib64", "usr/lib64/ld.so"]);
    }

    #[test]
    fn joined_archives_begin_at_multiples_of_four() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, all) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("all"));
        fs::write(&one, "12345").unwrap();
        fs::write(&two, "abcd").unwrap();
        join(&[&one, &two], &all).unwrap();
        assert_eq!(fs::read(&all).unwrap(), b"12345\0\0\0abcd");
    }
}
