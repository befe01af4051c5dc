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
        if self.store.is_none() {
            self.store = Store::follow(state_dir)?;
            self.version = None;
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
