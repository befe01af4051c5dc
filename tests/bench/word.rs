//! The names of arms, scenarios, families and kinds as the command line has them.

use clap::ValueEnum;

/// The word of a value.
pub(crate) fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
