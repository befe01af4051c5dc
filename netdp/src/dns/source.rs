//! The directory, as the database has it at this moment.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::directory::Directory;
use crate::store::{self, Store};

/// Reads the database anew when it has changed.
#[derive(Debug)]
pub struct Source {
    state_dir: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    store: Option<Store>,
    /// Which file that is of: the operator may move it away and begin anew, or put a copy in its place.
    file: Option<(u64, u64)>,
    version: Option<i64>,
    directory: Arc<Directory>,
}

impl Source {
    /// Of the database in a state directory, which need not be there yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), read: Mutex::default() }
    }

    /// What was committed last. Asked for after a query has come in, so that a change is seen by all queries that were sent
    /// after it. Without a database that can be read, it is what was there before.
    pub fn current(&self) -> Arc<Directory> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = read.follow(&self.state_dir) {
            tracing::warn!("cannot read what endpoints are called: {error}");
            read.store = None;
        }
        Arc::clone(&read.directory)
    }
}

impl Read {
    fn follow(&mut self, state_dir: &Path) -> Result<(), store::Error> {
        let file = Store::file(state_dir);
        if self.store.is_none() || self.file != file {
            self.store = Store::follow(state_dir)?;
            (self.file, self.version) = (file, None);
        }
        let Some(store) = &self.store else { return Ok(()) };
        let mut version = store.data_version()?;
        // Several tables are read, and a change between them must not be seen by half.
        while self.version != Some(version) {
            let directory = Directory::new(&store.networks()?, &store.endpoints()?, &store.resolver()?);
            self.directory = Arc::new(directory);
            self.version = Some(version);
            version = store.data_version()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_database_in_the_place_of_another_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let add = |number| {
            let store = Store::open(dir.path()).unwrap();
            let change = store.begin().unwrap();
            change.add_network(&fixture::network(number, &format!("n{number}"), false)).unwrap();
            change.commit().unwrap();
        };
        let source = Source::new(dir.path());
        let knows = |gateway: &str| source.current().is_ours(gateway.parse().unwrap());
        assert!(!knows("10.5.0.1"), "there is none yet");
        add(5);
        assert!(knows("10.5.0.1"));
        // As the operator is told to do with one that is damaged.
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let path = file.unwrap().path();
            std::fs::rename(&path, path.with_extension("bad")).unwrap();
        }
        assert!(knows("10.5.0.1"), "without one it is what was there before");
        add(6);
        assert!(knows("10.6.0.1") && !knows("10.5.0.1"));
        add(7);
        assert!(knows("10.7.0.1"));
    }
}
