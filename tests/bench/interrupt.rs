//! Ctrl-C: the run ends after the measurement that is under way, and takes everything away.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on a signal (interrupt, terminate, hang up) is heeded at the next step; a second one kills at once, and the
/// kernel takes down what is left.
pub(crate) fn heed() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\ninterrupted: taking everything away");
    };
    ctrlc::set_handler(handler).expect("no other handler is set");
}

/// Whether somebody wants the run to end.
pub(crate) fn came() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
