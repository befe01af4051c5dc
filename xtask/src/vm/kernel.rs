//! A kernel to boot: from a package, or a file of the user's own.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::package;

/// A kernel, and its modules if it has any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// What `uname -r` says in it.
    pub(crate) release: String,
    /// Tells this build of it from another: the version of the package, or when the file was written.
    pub(crate) version: String,
    /// The file that is booted.
    pub(crate) image: PathBuf,
    /// Its folder below lib/modules; without one, all that is needed is taken for built in.
    pub(crate) modules: Option<PathBuf>,
}

/// What the boot protocol's header begins with, and where (`Documentation/arch/x86/boot.rst`).
const MAGIC: (&[u8], usize) = (b"HdrS", 0x202);
/// Where the header says where the release is written.
const VERSION_POINTER: usize = 0x20e;
/// Enough of a file for the header and the release.
const HEAD: u64 = 0x8000;

impl Kernel {
    /// The newest of a version, from its package.
    pub(crate) fn of_package(wanted: &str, folder: &Path) -> Result<Self> {
        let (version, unpacked) = package::get(wanted, folder)?;
        check_image(&unpacked.image)?;
        Ok(Self {
            release: unpacked.release,
            version,
            image: unpacked.image,
            modules: Some(unpacked.modules),
        })
    }

    /// One of the user's own, with the modules that are given, else with those that this machine has of its release.
    pub(crate) fn of_file(image: &Path, modules: Option<&Path>) -> Result<Self> {
        let written = check_image(image)?;
        let named =
            modules.and_then(|folder| folder.canonicalize().ok()?.file_name()?.to_str().map(str::to_owned));
        if let (Some(folder), Some(named)) = (modules, &named)
            && *named != written
        {
            bail!(
                "{} are modules of the kernel {named}, and {} is the kernel {written}",
                folder.display(),
                image.display()
            );
        }
        let changed = image.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self {
            version: changed.as_secs().to_string(),
            image: image.to_path_buf(),
            modules: modules.map(Path::to_path_buf).or_else(|| installed(&written)),
            release: written,
        })
    }

    /// What a person calls it: the first two numbers.
    pub(crate) fn short(&self) -> String {
        short(&self.release)
    }
}

/// The modules of a release that are installed on this machine.
fn installed(release: &str) -> Option<PathBuf> {
    let folder = installed_below(Path::new("/lib/modules"), release);
    match &folder {
        Some(folder) => println!("vm: the modules of {release} are those in {}", folder.display()),
        None => println!(
            "vm: no --modules, and none in /lib/modules/{release}: all that the tests need is taken for built in, and \
             a test of what is not there fails by itself"
        ),
    }
    folder
}

fn installed_below(all: &Path, release: &str) -> Option<PathBuf> {
    Some(all.join(release)).filter(|folder| folder.join("modules.dep").is_file())
}

/// The first two numbers of a release.
pub(crate) fn short(release: &str) -> String {
    let numbers: Vec<&str> = release.split(|c: char| !c.is_ascii_digit()).take(2).collect();
    numbers.join(".")
}

/// The release that a kernel's file says it is; an error that tells a file that is no kernel from one that is none
/// at all.
fn check_image(image: &Path) -> Result<String> {
    let file = File::open(image).with_context(|| format!("cannot read the kernel {}", image.display()))?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).with_context(|| format!("cannot read {}", image.display()))?;
    release_in(&head).with_context(|| {
        format!(
            "{} is no kernel that can be booted: it has no boot header of Linux for x86 (a bzImage, \
             as /boot/vmlinuz-* is; an uncompressed vmlinux is not one)",
            image.display()
        )
    })
}

fn release_in(head: &[u8]) -> Option<String> {
    let (magic, at) = MAGIC;
    if head.get(at..at + magic.len())? != magic {
        return None;
    }
    let pointer = [*head.get(VERSION_POINTER)?, *head.get(VERSION_POINTER + 1)?];
    let start = usize::from(u16::from_le_bytes(pointer)) + 0x200;
    let text = head.get(start..)?.split(|byte| *byte == 0).next()?;
    let text = String::from_utf8_lossy(text);
    text.split(' ').next().filter(|release| !release.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x1000];
        bytes[0x202..0x206].copy_from_slice(magic);
        bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        let release = b"6.1.0-56-cloud-amd64 (debian-kernel@lists) #1\0";
        bytes[0x300..0x300 + release.len()].copy_from_slice(release);
        bytes
    }

    #[test]
    fn release_is_read_from_the_header() {
        assert_eq!(release_in(&image(b"HdrS")).as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(short("6.1.0-56-cloud-amd64"), "6.1");
        assert_eq!(short("6.12.117+deb12-cloud-amd64"), "6.12");
    }

    #[test]
    fn what_is_no_kernel_is_told_from_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        for bytes in [Vec::new(), b"\x7fELF".to_vec(), image(b"Nope"), vec![0; 0x208]] {
            std::fs::write(&file, bytes).unwrap();
            let error = format!("{:#}", Kernel::of_file(&file, None).unwrap_err());
            assert!(error.contains("is no kernel"), "{error}");
        }
        let error = format!("{:#}", Kernel::of_file(&folder.path().join("gone"), None).unwrap_err());
        assert!(error.contains("cannot read the kernel") && error.contains("gone"), "{error}");
    }

    #[test]
    fn modules_on_this_machine_are_those_of_the_very_release() {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("6.1.0-mine");
        std::fs::create_dir(&modules).unwrap();
        assert_eq!(installed_below(folder.path(), "6.1.0-mine"), None, "without modules.dep");
        std::fs::write(modules.join("modules.dep"), "").unwrap();
        assert_eq!(installed_below(folder.path(), "6.1.0-mine"), Some(modules));
        assert_eq!(installed_below(folder.path(), "6.1.0"), None);
    }

    #[test]
    fn modules_of_another_kernel_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, modules) = (folder.path().join("image"), folder.path().join("6.5.0"));
        std::fs::write(&file, image(b"HdrS")).unwrap();
        std::fs::create_dir(&modules).unwrap();
        let error = Kernel::of_file(&file, Some(&modules)).unwrap_err().to_string();
        assert!(error.contains("6.5.0") && error.contains("6.1.0-56-cloud-amd64"), "{error}");
    }
}
