//! Kernel modules that a test needs.
//!
//! Such a test is `#[ignore = "runs in the VM: needs the module NAME"]`, so that the machine that people work on is
//! never asked for a module; in the VM the ignored tests are run as well.

use std::process::Command;

/// Loads a module, or finds that it is loaded or built in; fails the test when this kernel does not have it.
pub fn needs(module: &str) {
    let ran = Command::new("modprobe").arg(module).output();
    let said = match ran {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("modprobe: {error}"),
    };
    panic!(
        "the kernel module {module} is needed and cannot be loaded ({said}): run this test by `cargo xtask vm`"
    );
}
