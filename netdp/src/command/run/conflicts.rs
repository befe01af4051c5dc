//! Options of `netdp run` that contradict each other, as Docker has them.

use crate::cli::{NetworkArg, Run};
use crate::process::Error;

/// How the words for a mode begin or read.
pub(super) const CONTAINER: &str = "container:";

/// What the words after `--network` mean.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Host,
    None,
    Container,
    Named,
}

impl Kind {
    fn of(arg: &NetworkArg) -> Self {
        match arg.name.as_str() {
            "host" => Self::Host,
            "none" => Self::None,
            name if name.starts_with(CONTAINER) => Self::Container,
            _ => Self::Named,
        }
    }
}

/// Whether a network of netdp's is wanted.
pub(super) fn needs_datapath(args: &Run) -> bool {
    args.networks.is_empty() || args.networks.iter().any(|arg| Kind::of(arg) == Kind::Named)
}

/// Refuses what contradicts itself, before anything is looked at.
pub(super) fn check(args: &Run) -> Result<(), Error> {
    let kinds: Vec<Kind> = args.networks.iter().map(Kind::of).collect();
    if kinds.len() > 1 {
        if kinds.contains(&Kind::None) {
            return Err(Error::NoneWithOthers);
        }
        if kinds.iter().any(|kind| matches!(kind, Kind::Host | Kind::Container)) {
            return Err(Error::SharedWithOthers);
        }
    }
    twice(args)?;
    match kinds.first() {
        Some(Kind::Container) => container(args),
        Some(Kind::Host) => host(args),
        Some(Kind::None) => without_address(args),
        Some(Kind::Named) | None => Ok(()),
    }
}

/// An option and the same in the long form of `--network`.
fn twice(args: &Run) -> Result<(), Error> {
    let Some(first) = args.networks.first() else { return Ok(()) };
    let conflict = |given: bool, text| if given { Err(Error::Conflict(text)) } else { Ok(()) };
    conflict(
        !args.aliases.is_empty() && !first.aliases.is_empty(),
        "cannot specify both --network-alias and per-network alias",
    )?;
    conflict(
        args.ip.is_some() && first.ip.is_some(),
        "cannot specify both --ip and per-network IPv4 address",
    )?;
    conflict(
        args.ip6.is_some() && first.ip6.is_some(),
        "cannot specify both --ip6 and per-network IPv6 address",
    )?;
    conflict(
        args.mac_address.is_some() && first.mac_address.is_some(),
        "cannot specify both --mac-address and per-network MAC address",
    )
}

/// The network of another process is as that process has it.
fn container(args: &Run) -> Result<(), Error> {
    for (given, text) in [
        (args.hostname.is_some(), "hostname and the network mode"),
        (
            !args.links.is_empty(),
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (!args.dns.is_empty() || !args.dns_search.is_empty(), "dns and the network mode"),
        (!args.dns_options.is_empty(), "dns and the network mode"),
        (!args.add_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
        (has_mac(args), "mac-address and the network mode"),
        (!args.publish.is_empty() || args.publish_all, "port publishing and the container type network mode"),
        (!args.expose.is_empty(), "port exposing and the container type network mode"),
    ] {
        if given {
            return Err(Error::Conflict(text));
        }
    }
    without_address(args)
}

/// Docker discards published ports there with a warning: the process is on the host's addresses already.
fn host(args: &Run) -> Result<(), Error> {
    if !args.links.is_empty() {
        return Err(Error::Conflict(
            "host type networking can't be used with links. This would result in undefined behavior",
        ));
    }
    if has_mac(args) {
        return Err(Error::Conflict("mac-address and the network mode"));
    }
    without_address(args)?;
    if !args.publish.is_empty() || args.publish_all {
        eprintln!("warning: published ports are discarded when using host network mode");
    }
    Ok(())
}

fn has_mac(args: &Run) -> bool {
    args.mac_address.is_some() || args.networks.iter().any(|arg| arg.mac_address.is_some())
}

fn without_address(args: &Run) -> Result<(), Error> {
    let first = args.networks.first();
    if args.ip.is_some()
        || args.ip6.is_some()
        || first.is_some_and(|arg| arg.ip.is_some() || arg.ip6.is_some())
    {
        return Err(Error::Conflict("user specified IP address and the network mode"));
    }
    if !args.aliases.is_empty() || first.is_some_and(|arg| !arg.aliases.is_empty()) {
        return Err(Error::Alias);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn checked(line: &str) -> Result<(), String> {
        let words = ["netdp", "run"].into_iter().chain(line.split_whitespace()).chain(["--", "true"]);
        let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command")
        };
        check(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn what_goes_together_goes() {
        for line in [
            "",
            "--network blue --network red --ip 10.0.0.9 --network-alias a",
            "--network name=blue,ip=10.0.0.9 --network name=red,alias=x",
            "--network host -p 80:80 --add-host a:1.2.3.4 --hostname h",
            "--network none --hostname h",
            "--network container:web -e A=b",
        ] {
            assert_eq!(checked(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_told_in_dockers_words() {
        for (line, words) in [
            ("--network none --network blue", "private (none) mode"),
            ("--network blue --network host", "sharing network namespace with another container or host"),
            ("--network container:a --network blue", "sharing network namespace"),
            ("--network container:a -p 80", "port publishing and the container type network mode"),
            ("--network container:a -P", "port publishing"),
            ("--network container:a --expose 80", "port exposing"),
            ("--network container:a --hostname h", "hostname and the network mode"),
            ("--network container:a --dns 1.1.1.1", "dns and the network mode"),
            ("--network container:a --add-host a:1.2.3.4", "custom host-to-IP mapping"),
            ("--network container:a --link b", "container type network can't be used with links"),
            ("--network container:a --mac-address 02:42:0a:00:00:01", "mac-address and the network mode"),
            ("--network container:a --ip 10.0.0.1", "user specified IP address"),
            ("--network container:a --network-alias b", "network-scoped alias"),
            ("--network host --link b", "host type networking can't be used with links"),
            ("--network host --ip 10.0.0.1", "user specified IP address"),
            ("--network none --ip6 fd00::1", "user specified IP address"),
            ("--network name=blue,ip=10.0.0.1 --ip 10.0.0.2", "both --ip and per-network"),
        ] {
            let error = checked(line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
