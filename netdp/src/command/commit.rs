//! A change of the database and of the kernel, made together.

use crate::Error;
use crate::instance::{self, Session};
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

/// Makes a change of the database and brings all of the kernel in line with it: both hold, or neither.
pub(super) async fn with_all(
    session: &mut Session,
    edit: impl FnOnce(&Change<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let change = session.store.begin()?;
    edit(&change)?;
    if !session.kernel.is_up() {
        return Ok(change.commit()?);
    }
    session.mark_all()?;
    let applied = instance::sync(&session.store, &mut session.kernel).await;
    let result = commit(change, applied, &mut session.kernel).await;
    session.unmark()?;
    result
}
