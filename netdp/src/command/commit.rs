//! A change of the database and of the kernel, made together.

use crate::Error;
use crate::reconcile::Applied;
use crate::store::Change;
use crate::world::Kernel;

/// Keeps what was applied when the database keeps it too.
pub(super) async fn commit(
    change: Change<'_>,
    applied: Result<Applied, Error>,
    kernel: &mut Kernel,
) -> Result<(), Error> {
    let applied = applied?;
    match change.commit() {
        Ok(()) => {
            applied.keep();
            Ok(())
        }
        Err(error) => {
            applied.undo(kernel).await;
            Err(error.into())
        }
    }
}
