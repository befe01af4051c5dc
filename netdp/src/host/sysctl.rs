//! Kernel settings under `/proc/sys`, and the promise to put them back.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens a file in it. So a setting of
//! another namespace is read and written on a thread that has entered it (`netns::in_netns`).

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A setting that could not be read, written or remembered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The setting itself.
    #[error("cannot {operation} sysctl {sysctl}: {cause}; {}", remedy(cause))]
    Access {
        /// `read` or `write VALUE to`.
        operation: String,
        /// Which.
        sysctl: Sysctl,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The file of first values.
    #[error("cannot {operation} {path}: {cause}; it holds the sysctl values that `netdp down` puts back")]
    File {
        /// `read` or `write`.
        operation: &'static str,
        /// Its path.
        path: PathBuf,
        /// What was wrong.
        cause: io::Error,
    },
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "the interface is gone, or this kernel has no such setting",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "run netdp as root where /proc/sys is writable"
        }
        _ => "the kernel does not take that value",
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sysctl {
    /// Path under `/proc/sys`, for example `net/ipv4/conf/lo/route_localnet`.
    path: String,
}

impl std::fmt::Display for Sysctl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)
    }
}

impl Sysctl {
    /// `path` is relative to `/proc/sys` and uses slashes, as names of interfaces may hold dots.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into() }
    }

    /// A setting of one interface for IPv4, for example `forwarding`.
    pub fn ipv4(interface: &str, key: &str) -> Self {
        Self::new(format!("net/ipv4/conf/{interface}/{key}"))
    }

    /// A setting of one interface for IPv6, for example `disable_ipv6`.
    pub fn ipv6(interface: &str, key: &str) -> Self {
        Self::new(format!("net/ipv6/conf/{interface}/{key}"))
    }

    fn file(&self) -> PathBuf {
        Path::new("/proc/sys").join(&self.path)
    }

    /// The value in the calling thread's namespace, without the final newline; `None` where there is no
    /// such setting, for example because the interface is gone or the kernel has no IPv6.
    pub fn get(&self) -> Result<Option<String>, Error> {
        match fs::read_to_string(self.file()) {
            Ok(value) => Ok(Some(value.trim_end().to_owned())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::Access { operation: "read".into(), sysctl: self.clone(), cause }),
        }
    }

    /// Writes the value in the calling thread's namespace.
    pub fn set(&self, value: &str) -> Result<(), Error> {
        let operation = || format!("write {value} to");
        fs::write(self.file(), value).map_err(|cause| Error::Access {
            operation: operation(),
            sysctl: self.clone(),
            cause,
        })
    }

    /// Writes the value where the setting exists; tells whether it does.
    pub fn set_if_there(&self, value: &str) -> Result<bool, Error> {
        match self.set(value) {
            Ok(()) => Ok(true),
            Err(Error::Access { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The values that settings of the host had before netdp changed them, kept in a file of the run directory.
///
/// The caller holds the run directory's lock.
#[derive(Debug, Clone)]
pub struct FirstValues {
    file: PathBuf,
}

impl FirstValues {
    /// Those of the instance with this run directory.
    pub fn of(run_dir: &Path) -> Self {
        Self { file: run_dir.join("sysctls.json") }
    }

    /// Sets a value after having remembered the one before. Only the first is remembered, and only when it
    /// differs.
    pub fn set(&self, sysctl: &Sysctl, value: &str) -> Result<(), Error> {
        if sysctl.get()?.as_deref() == Some(value) {
            return Ok(());
        }
        self.remember(sysctl)?;
        sysctl.set(value)
    }

    fn remember(&self, sysctl: &Sysctl) -> Result<(), Error> {
        let mut values = self.load()?;
        if values.contains_key(sysctl) {
            return Ok(());
        }
        // One that does not exist is reported by the write that follows.
        let Some(value) = sysctl.get()? else {
            return Ok(());
        };
        values.insert(sysctl.clone(), value);
        self.store(&values)
    }

    /// Puts every remembered value back and forgets it. An interface that is gone is no error; one value
    /// that cannot be put back does not keep the others from it, and is kept for the next time.
    pub fn put_back(&self) -> Result<(), Vec<Error>> {
        let values = self.load().map_err(|error| vec![error])?;
        let (mut left, mut errors) = (BTreeMap::new(), Vec::new());
        for (sysctl, value) in values {
            if let Err(error) = sysctl.set_if_there(&value) {
                errors.push(error);
                left.insert(sysctl, value);
            }
        }
        let kept = if left.is_empty() { self.forget() } else { self.store(&left) };
        errors.extend(kept.err());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The same for some of them.
    pub fn put_back_of<'a>(&self, paths: impl IntoIterator<Item = &'a String>) -> Result<(), Vec<Error>> {
        let mut values = self.load().map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        for sysctl in paths.into_iter().map(Sysctl::new) {
            let Some(value) = values.remove(&sysctl) else { continue };
            errors.extend(sysctl.set_if_there(&value).err());
        }
        errors.extend(self.store(&values).err());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// What `put_back` would write.
    pub fn load(&self) -> Result<BTreeMap<Sysctl, String>, Error> {
        match fs::read(&self.file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.failed("read", error.into())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(cause) => Err(self.failed("read", cause)),
        }
    }

    /// Leaves either the old file or the new one, whenever it is cut short.
    fn store(&self, values: &BTreeMap<Sysctl, String>) -> Result<(), Error> {
        let write = || {
            let draft = self.file.with_extension("json.new");
            let mut file = fs::File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(values)?)?;
            file.sync_all()?;
            fs::rename(&draft, &self.file)
        };
        write().map_err(|cause| self.failed("write", cause))
    }

    fn forget(&self) -> Result<(), Error> {
        match fs::remove_file(&self.file) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(self.failed("remove", cause)),
            _ => Ok(()),
        }
    }

    fn failed(&self, operation: &'static str, cause: io::Error) -> Error {
        Error::File { operation, path: self.file.clone(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<Sysctl, String> {
        pairs.iter().map(|(path, value)| (Sysctl::new(*path), (*value).to_owned())).collect()
    }

    #[test]
    fn what_was_stored_is_loaded() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = FirstValues::of(dir.path());
        assert_eq!(first.load().expect("nothing yet"), BTreeMap::new());
        let two = values(&[("net/ipv4/conf/lo/accept_local", "0"), ("net/ipv4/conf/lo/route_localnet", "1")]);
        first.store(&two).expect("stored");
        assert_eq!(first.load().expect("loaded"), two);
    }

    #[test]
    fn a_setting_that_is_gone_is_put_back_without_complaint() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = FirstValues::of(dir.path());
        first.store(&values(&[("net/ipv4/conf/netdp-gone/forwarding", "0")])).expect("stored");
        first.put_back().expect("put back");
        assert!(!dir.path().join("sysctls.json").exists());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("sysctls.json");
        fs::write(&file, "{\"net/ipv4").expect("written");
        let errors = FirstValues::of(dir.path()).put_back().expect_err("damaged");
        assert!(errors[0].to_string().contains("sysctls.json"), "{errors:?}");
        assert!(file.exists());
    }

    #[test]
    fn a_value_that_is_right_already_is_not_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        let sysctl = Sysctl::ipv4("lo", "mc_forwarding");
        let value = sysctl.get().expect("readable").expect("there");
        FirstValues::of(dir.path()).set(&sysctl, &value).expect("nothing to do");
        assert!(!dir.path().join("sysctls.json").exists());
    }
}
