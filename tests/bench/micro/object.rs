//! The objects that `cargo xtask bench --micro` has built (`netdp-ebpf/examples`).

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::ending::Ending;

/// The bytes of one.
pub(crate) fn read(name: &str) -> Result<Vec<u8>, Ending> {
    let folder = env::var_os("NETDP_MICRO").map(PathBuf::from).ok_or_else(|| {
        Ending::Lacking("NETDP_MICRO names no folder of objects: run it as cargo xtask bench --micro".into())
    })?;
    let path = folder.join(name).with_extension("stripped");
    fs::read(&path).map_err(|error| Ending::Failed(format!("cannot read {}: {error}", path.display())))
}
