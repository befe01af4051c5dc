//! Where things are in this checkout.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders that the routines work in. All paths are absolute.
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The workspace that this xtask belongs to.
    ///
    /// The target folder is the one that holds the running program: this way every setting that can move it
    /// (environment, configuration file) is respected without asking cargo.
    pub(crate) fn find() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir.parent().context("xtask lies outside a workspace")?.to_path_buf();
        let exe = env::current_exe().context("cannot tell where xtask runs from")?;
        let target = exe.ancestors().nth(2).context("xtask does not run from a target folder")?.to_path_buf();
        Ok(Self { root, target })
    }

    /// The object that is embedded in `netdp`.
    pub(crate) fn object(&self) -> PathBuf {
        self.target.join("bpf/netdp.bpf.o")
    }

    /// bpf-linker, built by `setup`.
    pub(crate) fn linker(&self) -> PathBuf {
        self.tools().join("bin/bpf-linker")
    }

    /// The root that `cargo install` installs tools to.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The `netdp` of a profile (`debug` or `release`).
    pub(crate) fn netdp(&self, profile: &str) -> PathBuf {
        self.target.join(profile).join("netdp")
    }

    /// The path as a person in the root folder would write it.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}
