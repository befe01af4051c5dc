//! `netdp limits`, `netdp defaults`, `netdp timers` and `netdp deny`: what holds for the whole host.

use clap::{Args, Subcommand};

use super::{Plain, key_value};
use crate::deny::{self, Prefix};

/// `netdp limits ...`
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// List the limits: value, default, range, and of what each is
    #[command(visible_alias = "list", after_help = "Examples:\n  netdp limits ls\n  netdp limits ls -o json")]
    Ls(Plain),
    /// Set limits; they hold at once, for flows that begin, and after the next `netdp up`. Only that of the table waits for
    /// the `netdp up` after the next `netdp down`
    Set(LimitsSet),
    /// Give limits their defaults back
    Reset(LimitsReset),
}

/// `netdp limits set`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp limits set flows=65536 half-open=8192\n  \
    netdp limits set table=1000000    a million flows, some 500 MB of memory, after netdp down and netdp up")]
pub struct LimitsSet {
    /// A limit of `netdp limits ls`, and its value.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = key_value)]
    pub limits: Vec<(String, String)>,
}

/// `netdp limits reset`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp limits reset flows\n  netdp limits reset    all of them")]
pub struct LimitsReset {
    /// Limits of `netdp limits ls`; all when none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp defaults ...`
#[derive(Debug, Subcommand)]
pub enum Defaults {
    /// List the defaults
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  netdp defaults ls\n  netdp defaults ls -o json"
    )]
    Ls(Plain),
    /// Set defaults; they hold at once, for new flows, and after the next `netdp up`
    Set(DefaultsSet),
    /// Have them as they were at first
    Reset(DefaultsReset),
}

/// `netdp defaults set`
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  netdp defaults set udp-filtering=endpoint-independent")]
pub struct DefaultsSet {
    /// A default of `netdp defaults ls`, which is an option of `netdp network create -o` too, and its value.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = key_value)]
    pub defaults: Vec<(String, String)>,
}

/// `netdp defaults reset`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  netdp defaults reset udp-mapping\n  netdp defaults reset    all of them"
)]
pub struct DefaultsReset {
    /// Defaults of `netdp defaults ls`; all when none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp timers ...`
#[derive(Debug, Subcommand)]
pub enum Timers {
    /// List the timers: seconds, default, what an RFC asks for, and what each is for
    #[command(visible_alias = "list", after_help = "Examples:\n  netdp timers ls\n  netdp timers ls -o json")]
    Ls(Plain),
    /// Set timers; they hold at once, for the flows that are there too, and after the next `netdp up`
    Set(TimersSet),
    /// Give timers their defaults back
    Reset(TimersReset),
}

/// `netdp timers set`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp timers set established=7440 replied=180\n  \
    netdp timers set --unsafe established=3600    below what RFC 5382 asks for")]
pub struct TimersSet {
    /// Allow less than an RFC asks for: connections that are only quiet may be cut.
    #[arg(long = "unsafe")]
    pub below_floor: bool,
    /// A timer of `netdp timers ls`, and the seconds without a packet after which a flow has ended.
    #[arg(required = true, value_name = "NAME=SECONDS", value_parser = key_value)]
    pub timers: Vec<(String, String)>,
}

/// `netdp timers reset`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  netdp timers reset established\n  netdp timers reset    all of them")]
pub struct TimersReset {
    /// Timers of `netdp timers ls`; all when none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// `netdp deny ...`
#[derive(Debug, Subcommand)]
pub enum Deny {
    /// Refuse all that comes in by an uplink from these prefixes; one that is in the list already stays in it
    Add(DenyAdd),
    /// Let them in again
    #[command(visible_alias = "remove")]
    Rm(DenyRm),
    /// Show the deny list
    #[command(visible_alias = "list", after_help = "Examples:\n  netdp deny ls\n  netdp deny ls -o json")]
    Ls(Plain),
}

/// `netdp deny add`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    netdp deny add 198.51.100.0/24\n  \
    netdp deny add 203.0.113.7 2001:db8:bad::/48    an address alone is a prefix of one\n  \
    netdp drops                                     counts what was refused as \"denied\"\n\n\
    The list outlives netdp down and a reboot, and holds while no controller runs. Answers to what containers or\n\
    the host send there are refused too. ARP and neighbour discovery pass.")]
pub struct DenyAdd {
    /// Also a prefix of length 0, which is everybody.
    #[arg(short, long)]
    pub force: bool,
    /// Addresses with the length of their prefix.
    #[arg(required = true, value_name = "CIDR", value_parser = deny::prefix)]
    pub prefixes: Vec<Prefix>,
}

/// `netdp deny rm`
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  netdp deny rm 198.51.100.0/24\n  netdp deny rm 203.0.113.7 2001:db8:bad::/48"
)]
pub struct DenyRm {
    /// Prefixes as netdp deny ls shows them.
    #[arg(required = true, value_name = "CIDR", value_parser = deny::prefix)]
    pub prefixes: Vec<Prefix>,
}
