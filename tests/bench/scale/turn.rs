//! All sizes in turn, round by round, in an order that alternates, so that whatever else the machine does falls on all of them.

use crate::ending::Ending;
use crate::interrupt;

/// One value per round for each of so many.
pub(super) fn in_turn(
    rounds: u32,
    sizes: usize,
    mut measure: impl FnMut(usize) -> Result<f64, String>,
) -> Result<Vec<Vec<f64>>, Ending> {
    let mut values = vec![Vec::new(); sizes];
    let mut order: Vec<usize> = (0..sizes).collect();
    for _ in 0..rounds {
        for at in &order {
            go_on()?;
            values[*at].push(measure(*at).map_err(Ending::Failed)?);
        }
        order.reverse();
    }
    Ok(values)
}

/// Unless somebody wants the run to end.
pub(super) fn go_on() -> Result<(), Ending> {
    if interrupt::came() { Err(Ending::Interrupted) } else { Ok(()) }
}
