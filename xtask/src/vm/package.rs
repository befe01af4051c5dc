//! Debian's kernel packages: which there are, which is meant, and getting one unpacked without installing it.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, bail};

use super::{modules, space};
use crate::lacking::Lacking;
use crate::{command, packages};

/// Names of packages that apt is asked for; most of them are not what is meant ([`Candidate::read`]).
const NAMES: &str = "^linux-image-[0-9].*-amd64$";

/// A kernel package that apt knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Name of the package.
    pub(crate) name: String,
    /// Version of the package, which begins with that of the kernel.
    pub(crate) version: String,
    /// Bytes that it needs on the disk: packed and unpacked.
    bytes: u64,
}

/// A package that is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// What `uname -r` says in it.
    pub(crate) release: String,
    /// The kernel.
    pub(crate) image: PathBuf,
    /// `lib/modules/RELEASE`.
    pub(crate) modules: PathBuf,
}

impl Candidate {
    /// A paragraph of `apt-cache show`; `None` when it is no kernel, but a name for the newest, or for debugging.
    fn read(paragraph: &str) -> Option<Self> {
        let field =
            |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let number = |name: &str| field(name)?.parse::<u64>().ok();
        let (name, version) = (field("Package")?.to_owned(), field("Version")?.to_owned());
        let candidate = Self { name, version, bytes: number("Size")? + number("Installed-Size")? * 1024 };
        let release = candidate.release();
        // A name for the newest has two numbers and nothing in it; real-time kernels are another kernel.
        let is_kernel = release.split(['.', '-', '+']).take(3).all(|part| part.parse::<u32>().is_ok());
        (is_kernel && !release.contains("-rt-")).then_some(candidate)
    }

    /// What `uname -r` will say in it.
    pub(crate) fn release(&self) -> &str {
        self.name.strip_prefix("linux-image-").unwrap_or(&self.name)
    }

    fn is_cloud(&self) -> bool {
        self.name.ends_with("-cloud-amd64")
    }

    /// Whether it is one of those that a person means by `6.1`, `6.1.192` or `6.1.0-56`.
    fn is(&self, wanted: &str) -> bool {
        begins_with_version(self.release(), wanted) || begins_with_version(&self.version, wanted)
    }

    /// Name of the folder that it is unpacked to.
    fn folder(&self) -> String {
        // A colon is for the epoch of a version.
        format!("{}_{}", self.name, self.version.replace(':', "%3a"))
    }

    /// The package that was unpacked to a folder of this name.
    fn of_folder(folder: &str) -> Option<Self> {
        let (name, version) = folder.split_once('_')?;
        let is_kernel = name.starts_with("linux-image-");
        is_kernel.then(|| Self { name: name.to_owned(), version: version.replace("%3a", ":"), bytes: 0 })
    }
}

/// Whether the beginning is whole numbers: 6.1 is not the beginning of 6.12.
fn begins_with_version(version: &str, wanted: &str) -> bool {
    let rest = version.strip_prefix(wanted);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The newest kernel of a version, unpacked below `folder`, and the version of its package. When apt cannot give it, it
/// is the newest of those that were unpacked before.
pub(crate) fn get(wanted: &str, folder: &Path) -> Result<(String, Unpacked)> {
    let found = resolve(wanted).and_then(|candidate| fetched(wanted, candidate, folder));
    let candidate = found.or_else(|error| unpacked_before(wanted, folder, error))?;
    let unpacked = found_in(&folder.join(candidate.folder()), candidate.release())?;
    Ok((candidate.version, unpacked))
}

/// The candidate, unpacked; or the one that follows it, when apt's lists name what the archive has no more.
fn fetched(wanted: &str, candidate: Candidate, folder: &Path) -> Result<Candidate> {
    let Err(error) = unpack(&candidate, folder) else {
        return Ok(candidate);
    };
    if error.is::<Lacking>() || !packages::is_root()? {
        return Err(error);
    }
    eprintln!("warning: {error:#}");
    packages::update().with_context(|| format!("{error:#}"))?;
    let candidate = resolve(wanted)?;
    unpack(&candidate, folder)?;
    Ok(candidate)
}

/// The newest of those that are unpacked already, else the error.
fn unpacked_before(wanted: &str, folder: &Path, error: anyhow::Error) -> Result<Candidate> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let known: Vec<Candidate> = names.filter_map(|name| Candidate::of_folder(&name)).collect();
    let Some(candidate) = choose(&known, wanted, compare)? else {
        return Err(if error.is::<Lacking>() { error } else { lacking_kernel(wanted, &error) });
    };
    eprintln!("warning: {error:#}");
    println!("vm: {} {} is used, which was unpacked before", candidate.name, candidate.version);
    Ok(candidate)
}

fn lacking_kernel(wanted: &str, error: &anyhow::Error) -> anyhow::Error {
    Lacking(format!(
        "apt did not give the kernel {wanted}: {error:#}\n\
         With a network, run: sudo apt-get update; or give a kernel of your own: \
         cargo xtask vm --image FILE --modules DIR"
    ))
    .into()
}

/// The newest package of a kernel version, the cloud kind first.
fn resolve(wanted: &str) -> Result<Candidate> {
    let mut known = candidates()?;
    if !known.iter().any(|candidate| candidate.is(wanted)) && packages::is_root()? {
        // The lists may be older than the kernel, or not there yet. Without a network the answer is what is known.
        if let Err(error) = packages::update() {
            eprintln!("warning: {error:#}");
        }
        known = candidates()?;
    }
    choose(&known, wanted, compare)?.ok_or_else(|| not_found(&known, wanted))
}

fn not_found(known: &[Candidate], wanted: &str) -> anyhow::Error {
    let mut releases: Vec<&str> = known.iter().map(Candidate::release).collect();
    releases.sort_unstable();
    let there = if releases.is_empty() { "none at all".to_owned() } else { releases.join(", ") };
    Lacking(format!(
        "apt knows no kernel package of version {wanted}. It knows: {there}.\n\
         run: sudo apt-get update; or give a kernel of your own: cargo xtask vm --image FILE --modules DIR"
    ))
    .into()
}

fn choose(
    known: &[Candidate],
    wanted: &str,
    compare: impl Fn(&str, &str) -> Result<Ordering>,
) -> Result<Option<Candidate>> {
    let mut best: Option<&Candidate> = None;
    for candidate in known.iter().filter(|candidate| candidate.is(wanted)) {
        let better = match best {
            None => true,
            Some(best) if best.is_cloud() != candidate.is_cloud() => candidate.is_cloud(),
            Some(best) => compare(&candidate.version, &best.version)?.is_gt(),
        };
        if better {
            best = Some(candidate);
        }
    }
    Ok(best.cloned())
}

/// The order of Debian's versions, which is dpkg's to say.
fn compare(one: &str, other: &str) -> Result<Ordering> {
    for (relation, order) in [("gt", Ordering::Greater), ("lt", Ordering::Less)] {
        let mut dpkg = Command::new("dpkg");
        dpkg.args(["--compare-versions", one, relation, other]);
        if dpkg.status().context("cannot start dpkg")?.success() {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

fn candidates() -> Result<Vec<Candidate>> {
    let found = apt_cache(&["search", "--names-only", NAMES])?;
    let names: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let shown = apt_cache(&[&["show", "--no-all-versions"], &names[..]].concat())?;
    Ok(shown.split("\n\n").filter_map(Candidate::read).collect())
}

fn apt_cache(args: &[&str]) -> Result<String> {
    if Command::new("apt-cache").arg("--version").output().is_err() {
        return Err(Lacking(
            "kernels come from Debian's packages, and this machine has no apt.\n\
             Give a kernel of your own: cargo xtask vm --image FILE --modules DIR"
                .into(),
        )
        .into());
    }
    command::output(Command::new("apt-cache").args(args))
}

/// Gets a package unpacked below `folder`, once: what is there was finished, because it is renamed as the last step.
fn unpack(candidate: &Candidate, folder: &Path) -> Result<()> {
    let place = folder.join(candidate.folder());
    if !place.exists() {
        space::check(folder, candidate.bytes, "to unpack a kernel package")?;
        let beside = folder.join(format!(".{}.{}", candidate.folder(), process::id()));
        let fetched = fetch(candidate, &beside).and_then(|()| {
            fs::rename(&beside, &place).with_context(|| format!("cannot place {}", place.display()))
        });
        // After a failure only: a finished one has another name by now.
        let _ = fs::remove_dir_all(&beside);
        fetched?;
    }
    Ok(())
}

fn fetch(candidate: &Candidate, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let exact = format!("{}={}", candidate.name, candidate.version);
    println!("vm: getting {exact}");
    // As root apt would go down to a user who may not write here, and warn.
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download", &exact]).current_dir(to);
    command::output(&mut apt)?;
    let package =
        fs::read_dir(to)?.find_map(|entry| Some(entry.ok()?.path())).context("apt-get left no file")?;
    command::output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(to))?;
    fs::remove_file(&package)?;
    modules::depmod(to, candidate.release())
}

fn found_in(place: &Path, release: &str) -> Result<Unpacked> {
    let image = place.join(format!("boot/vmlinuz-{release}"));
    let modules = ["lib", "usr/lib"].map(|lib| place.join(lib).join("modules").join(release));
    let modules = modules.into_iter().find(|folder| folder.is_dir());
    let (true, Some(modules)) = (image.is_file(), modules) else {
        bail!(
            "{} holds no kernel {release} with modules, as Debian's packages do: remove the folder to get it again",
            place.display()
        );
    };
    Ok(Unpacked { release: release.to_owned(), image, modules })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(release: &str, version: &str) -> Candidate {
        let paragraph = format!(
            "Package: linux-image-{release}\nVersion: {version}\nInstalled-Size: 100\nFilename: x\nSize: 5"
        );
        Candidate::read(&paragraph).unwrap()
    }

    /// The numbers of a version in their order: enough for those here.
    fn by_numbers(one: &str, other: &str) -> Ordering {
        let numbers =
            |text: &str| text.split(['.', '-']).map(|n| n.parse().unwrap_or(0)).collect::<Vec<u32>>();
        numbers(one).cmp(&numbers(other))
    }

    fn chosen(wanted: &str) -> Option<String> {
        let known = [
            candidate("6.1.0-9-cloud-amd64", "6.1.27-1"),
            candidate("6.1.0-56-cloud-amd64", "6.1.192-2"),
            candidate("6.1.0-57-amd64", "6.1.200-1"),
            candidate("6.12.9+deb12-cloud-amd64", "6.12.9-1"),
            candidate("6.12.117+deb12-cloud-amd64", "6.12.117-1"),
            candidate("6.5.0-1-amd64", "6.5.3-1"),
        ];
        choose(&known, wanted, |one, other| Ok(by_numbers(one, other)))
            .unwrap()
            .map(|candidate| candidate.release().to_owned())
    }

    #[test]
    fn newest_of_a_version_is_chosen_and_cloud_comes_first() {
        assert_eq!(chosen("6.1").as_deref(), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(chosen("6.12").as_deref(), Some("6.12.117+deb12-cloud-amd64"));
        assert_eq!(chosen("6.5").as_deref(), Some("6.5.0-1-amd64"));
    }

    #[test]
    fn any_beginning_of_a_version_names_a_kernel_and_half_a_number_does_not() {
        assert_eq!(chosen("6.1.27").as_deref(), Some("6.1.0-9-cloud-amd64"));
        assert_eq!(chosen("6.1.0-9").as_deref(), Some("6.1.0-9-cloud-amd64"));
        assert_eq!(chosen("6.12.9").as_deref(), Some("6.12.9+deb12-cloud-amd64"));
        assert_eq!(chosen("6.12.1"), None);
        assert_eq!(chosen("5.15"), None);
    }

    #[test]
    fn names_for_the_newest_and_other_kinds_are_no_kernels() {
        for release in ["6.12-cloud-amd64", "6.1.0-56-rt-amd64", "cloud-amd64"] {
            let paragraph = format!("Package: linux-image-{release}\nVersion: 6\nInstalled-Size: 1\nSize: 1");
            assert_eq!(Candidate::read(&paragraph), None, "{release}");
        }
        assert_eq!(candidate("6.1.0-56-cloud-amd64", "6.1.192-2").bytes, 5 + 100 * 1024);
    }

    #[test]
    fn what_is_not_found_is_named_with_what_is_there() {
        let error = not_found(&[candidate("6.5.0-1-amd64", "6.5.3-1")], "9.9");
        assert!(error.is::<Lacking>());
        let text = error.to_string();
        assert!(
            text.contains("9.9") && text.contains("6.5.0-1-amd64") && text.contains("apt-get update"),
            "{text}"
        );
        assert!(not_found(&[], "9.9").to_string().contains("none at all"));
    }

    #[test]
    fn order_of_versions_is_dpkgs() {
        assert_eq!(compare("6.1.192-2", "6.1.27-1").unwrap(), Ordering::Greater);
        assert_eq!(compare("6.1~rc1", "6.1").unwrap(), Ordering::Less);
        assert_eq!(compare("6.1", "6.1").unwrap(), Ordering::Equal);
    }

    #[test]
    fn kernel_that_was_unpacked_before_is_used_when_apt_gives_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "linux-image-6.1.0-9-cloud-amd64_6.1.27-1",
            "linux-image-6.1.0-56-cloud-amd64_6.1.192-2",
            ".linux-image-6.1.0-57-cloud-amd64_6.1.193-1.4711",
            "linux-image-6.12.9-cloud-amd64_6.12.9-1",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let found = unpacked_before("6.1", folder.path(), anyhow::anyhow!("no network")).unwrap();
        assert_eq!((found.release(), found.version.as_str()), ("6.1.0-56-cloud-amd64", "6.1.192-2"));
        let error = unpacked_before("6.5", folder.path(), anyhow::anyhow!("no network")).unwrap_err();
        assert!(error.is::<Lacking>() && error.to_string().contains("6.5: no network"), "{error}");
    }

    #[test]
    fn folder_and_package_name_one_another() {
        let one = candidate("6.1.0-56-cloud-amd64", "1:6.1.192-2");
        assert_eq!(one.folder(), "linux-image-6.1.0-56-cloud-amd64_1%3a6.1.192-2");
        assert_eq!(Candidate::of_folder(&one.folder()), Some(Candidate { bytes: 0, ..one }));
        assert_eq!(Candidate::of_folder("lost+found"), None);
    }

    #[test]
    fn folder_that_holds_no_kernel_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = found_in(folder.path(), "6.1.0-56-cloud-amd64").unwrap_err().to_string();
        assert!(error.contains("6.1.0-56-cloud-amd64") && error.contains("remove the folder"), "{error}");
    }
}
