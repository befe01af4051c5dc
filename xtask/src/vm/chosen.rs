//! Which tests run in a guest, and how.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use protocol::Task;

use super::qemu::Accel;
use crate::command;
use crate::test::NOT_YET;
use crate::workspace::Workspace;

/// The tiers that need a kernel, in the order in which they run.
pub(crate) const TIERS: [&str; 4] = ["datapath", "system", "nat", "cli"];
/// Where the guest has the test binaries.
pub(crate) const TESTS: &str = "/tests";
/// Where the guest has netdp.
pub(crate) const NETDP: &str = "/usr/local/bin/netdp";

/// Seconds that a test may take in a guest that is emulated.
const LIMIT: u64 = 360;
/// The same for one that takes minutes on the machine itself (`--all`).
const LONG: u64 = 1800;

/// Tests that do not run in a guest unless asked for: the beginning of their names, and why.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("system", "speed::", "compares speeds, of which an emulated processor has none of its own"),
    ("system", "scale::", "a thousand containers take long under emulation, and say nothing about a kernel"),
    ("system", "ways::every_way_works_past_netfilter_with_ip_forward_0_and_policy_accept", POLICY),
    ("system", "ways::every_way_works_past_netfilter_with_ip_forward_1", POLICY),
    ("system", "ways::host_reaches_containers", DECIDED),
    ("system", "ways::port_published_on_one_address", DECIDED),
    ("system", "wire::checksums_are_right_at_every_end_with_offloads_off", OFFLOADS),
    ("system", "wire::source_ports", DECIDED),
    ("system", "wire::tcpdump", OFFLOADS),
    ("system", "wire::two_containers", DECIDED),
    ("system", "crash::run_directory", CONTROLLER),
    ("system", "upgrade::other_schema_is", CONTROLLER),
    ("system", "upgrade::pinned", CONTROLLER),
    ("system", "upgrade::upgrade_by_clsact", CLSACT),
    ("system", "upgrade::other_schema_by_clsact", CLSACT),
    ("datapath", "forged::hundred_thousand", RATE),
    ("datapath", "ipv6::cost::", "measures time, of which an emulated processor has its own idea"),
    ("datapath", "ipv4::", "runs in every guest with addresses of IPv6"),
    ("system", "ipv6::", CONTROLLER),
    ("system", "follow::", CONTROLLER),
    ("system", "change::", CONTROLLER),
    ("system", "leave::", CONTROLLER),
    ("system", "stale::", CONTROLLER),
    ("system", "source::", DECIDED),
    ("system", "many_connections::", RATE),
    ("system", "resolver::", RATE),
    ("system", "deny::list_", CONTROLLER),
    ("system", "deny::crash", CONTROLLER),
    ("system", "deny::program_of", CONTROLLER),
    ("system", "deny::interface", CONTROLLER),
    ("system", "deny::mtu", CONTROLLER),
    ("system", "deny::frame", DECIDED),
    ("system", "deny::mode", CONTROLLER),
    ("system", "deny::who_is_denied", DECIDED),
    ("system", "deny::own_address", DECIDED),
    ("system", "deny::ten_thousand", RATE),
    ("system", "isolation::malformed", DECIDED),
    ("system", "isolation::spoofed", DECIDED),
    ("system", "isolation::vlan", DECIDED),
    ("system", "isolation::another_networks_gateway", DECIDED),
    ("system", "isolation::outside_cannot", DECIDED),
    ("system", "isolation::icc_false", DECIDED),
    ("system", "isolation::interface_that_is_no_uplink", DECIDED),
    ("system", "isolation::network_without_masquerade", DECIDED),
    ("system", "reserve::two_hosts", CONTROLLER),
    ("system", "reserve::reservation", CONTROLLER),
    ("system", "reserve::port_", CONTROLLER),
    ("system", "slow_path::broadcast", DECIDED),
    ("system", "slow_path::closed_udp_port_of_a_container", DECIDED),
    ("system", "slow_path::arp", DECIDED),
    ("system", "slow_path::traceroute", DECIDED),
    ("system", "slow_path::tcp_finds", PATH),
    ("system", "six::tcp_over_ipv6_finds", PATH),
    ("system", "six::closed", DECIDED),
    ("system", "six::container_sends", DECIDED),
    ("system", "six::echoes", DECIDED),
    ("system", "six::ipv6_goes", CONTROLLER),
    ("system", "six::outside_reaches", DECIDED),
    ("system", "six::port_published", DECIDED),
    ("system", "without_tcx::", CLSACT),
    ("system", "borrowed::", CONTROLLER),
    ("system", "configured::", CONTROLLER),
    ("system", "connect::", CONTROLLER),
    ("system", "deep::", CONTROLLER),
    ("system", "dhcp::", CONTROLLER),
    ("system", "dhcp_hostile::", CONTROLLER),
    ("system", "dhcp_on_bridge::", CONTROLLER),
    ("system", "dns::", CONTROLLER),
    ("system", "dns_load::", RATE),
    ("system", "follow_networks::", CONTROLLER),
    ("system", "gone::", CONTROLLER),
    ("system", "lan::", CONTROLLER),
    ("system", "leases::", CONTROLLER),
    ("system", "moby::", CONTROLLER),
    ("system", "names::", CONTROLLER),
    ("system", "on_lan::", CONTROLLER),
    ("system", "parallel::", RATE),
    ("system", "port_mapping::", DECIDED),
    ("system", "port_range::", RATE),
    ("system", "reachability::", DECIDED),
    ("system", "routes::", CONTROLLER),
    ("system", "run::", CONTROLLER),
    ("cli", "config::", CONTROLLER),
    ("cli", "networks::", CONTROLLER),
    ("cli", "run::", CONTROLLER),
    ("cli", "trace::", CONTROLLER),
    ("system", "bed::", "is about the harness, not about netdp"),
    ("cli", "deny::", CONTROLLER),
    ("cli", "timers::", CONTROLLER),
    ("cli", "limits::", CONTROLLER),
    ("cli", "defaults::", CONTROLLER),
    ("cli", "contract::", "is about the words and the JSON of commands, the same on every kernel"),
    ("cli", "database::", "is about files and SQLite, which are the same on every kernel"),
    ("cli", "bad_input::", "is refused by netdp itself before it asks the kernel for anything"),
    ("cli", "interrupted::", "kills within milliseconds, in which an emulated processor has not begun yet"),
    ("cli", "options::", "is arithmetic on addresses and names, the same on every kernel"),
];

/// The tests of the tier `nat` that run in a guest: of each kind some that are quick, because the guest is ten times as slow.
const NAT: &[&str] = &[
    "attacks::client_is_known_by_its_own_address_on_every_way_to_a_published_port",
    "errors::eight_bytes_inside_are_enough",
    "errors::no_error_ends_a_mapping",
    "hairpin::published_port_sees_the_outside_endpoint_of_a_neighbour_for_udp",
    "mapping::two_containers_with_one_identifier_each_get_their_answers",
    "mapping::udp_endpoint_is_seen_as_one_by_every_remote_and_port",
    "path::stream_of_a_container_finds_the_smaller_mtu_in_the_middle_in_both_directions",
    "path::streams_find_the_smaller_mtu_behind_a_link_that_delays",
    "tcp::segment_out_of_the_window_resets_nothing",
    "tcp::simultaneous_open_connects",
];

/// How many times as long as on the machine itself a test is patient in a guest that is emulated. Not more, because every
/// test that waits for something not to happen waits so long.
const SLOW: &str = "2";

/// These hide TCX from netdp.
const CLSACT: &str = "runs on the machine itself, and the test without that name has no other way on 6.1";

/// What a guest has time for is what kernels differ in.
const CONTROLLER: &str = "is about what the controller writes, the same on every kernel";
const DECIDED: &str = "is decided by the programs alone, whose packet tests run in every guest";
const RATE: &str = "is about how many in a time, of which an emulated processor has its own idea";

/// Of four.
const POLICY: &str =
    "differs from the one that runs by another mixture of forwarding and policy, and takes a minute";
const PATH: &str = "is a slower way to see what a packet that is too big is answered, which runs";
const OFFLOADS: &str = "differs from the one that runs by what the host's interfaces do, which are the same";

/// Tests that nothing may run beside: they measure, or count on what happens within a time.
const ALONE: &[(&str, &str)] =
    &[("system", "speed::"), ("system", "scale::"), ("system", "crash::"), ("system", "ways::every_way")];

/// A test binary of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// Its name, which is that of the tier.
    pub(crate) tier: String,
    /// Where cargo put it.
    pub(crate) path: PathBuf,
}

/// What the command line says about the choice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// Parts of names; a test that has none of them does not run. All run when there are none.
    pub(crate) filters: Vec<String>,
    /// The tiers whose tests run; all of them when none is named.
    pub(crate) tiers: Vec<String>,
    /// Those too that are left out otherwise.
    pub(crate) all: bool,
    /// Budgets are not to fail a test.
    pub(crate) bless: bool,
}

/// What runs, and what does not and why.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) tasks: Vec<Task>,
    /// How many tests each reason leaves out.
    pub(crate) left_out: BTreeMap<&'static str, Vec<String>>,
}

/// Builds the test binaries and says where they are.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<Binary>> {
    let mut cargo = command::cargo();
    cargo.current_dir(&workspace.root).args(["test", "--locked", "--no-run", "-p", "tests"]);
    for tier in TIERS {
        cargo.args(["--test", tier]);
    }
    println!("$ {}", command::line(&cargo));
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(std::process::Stdio::inherit());
    let output = cargo.output().context("cannot start cargo")?;
    anyhow::ensure!(output.status.success(), "the tests do not build");
    let mut binaries = executables(&String::from_utf8_lossy(&output.stdout));
    binaries.sort_by_key(|binary| TIERS.iter().position(|tier| *tier == binary.tier));
    Ok(binaries)
}

/// The test binaries in cargo's messages.
fn executables(messages: &str) -> Vec<Binary> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let binary = |message: Value| {
        let tier = message["target"]["name"].as_str()?.to_owned();
        Some(Binary { tier, path: message["executable"].as_str()?.into() })
    };
    messages.filter(|message| message["reason"] == "compiler-artifact").filter_map(binary).collect()
}

/// The names of all tests of a binary, but for those of what is not there yet.
pub(crate) fn list(binary: &Binary) -> Result<Vec<String>> {
    let not_yet = not_yet(binary)?;
    if !not_yet.is_empty() {
        println!("vm: {} tests of {} are of what is not there yet", not_yet.len(), binary.tier);
    }
    let mut names = names(binary, &[])?;
    names.retain(|name| !not_yet.contains(name));
    Ok(names)
}

fn names(binary: &Binary, which: &[&str]) -> Result<Vec<String>> {
    let listed =
        command::output(Command::new(&binary.path).args(["--list", "--format", "terse"]).args(which))?;
    Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// libtest says why it ignores a test when it is to run it, and not when it lists it.
fn not_yet(binary: &Binary) -> Result<Vec<String>> {
    let ignored = names(binary, &["--ignored"])?;
    if ignored.is_empty() {
        return Ok(Vec::new());
    }
    let said = command::output(Command::new(&binary.path).arg("--exact").args(&ignored))?;
    let marked = |line: &str| Some(line.strip_prefix("test ")?.split_once(NOT_YET)?.0.to_owned());
    Ok(said.lines().filter_map(marked).collect())
}

impl Choice {
    /// Chooses among the tests of all binaries, given by tier.
    pub(crate) fn of(tests: &[(String, Vec<String>)], wish: &Wish) -> Self {
        let mut choice = Self::default();
        for (tier, names) in tests.iter().filter(|(tier, _)| wish.wants_tier(tier)) {
            for name in names.iter().filter(|name| wish.wants(name)) {
                match left_out(tier, name) {
                    Some(why) if !wish.all => {
                        choice.left_out.entry(why).or_default().push(format!("{tier} {name}"));
                    }
                    Some(_) | None => choice.tasks.push(task(tier, name, wish)),
                }
            }
        }
        choice
    }
}

impl Choice {
    /// The tasks, as patient as their guest is slow.
    pub(crate) fn tasks_under(&self, accel: Accel) -> Vec<Task> {
        let mut tasks = self.tasks.clone();
        if accel == Accel::Tcg {
            for task in &mut tasks {
                task.environment.insert("NETDP_TEST_SLOW".to_owned(), SLOW.to_owned());
            }
        }
        tasks
    }
}

impl Wish {
    fn wants_tier(&self, tier: &str) -> bool {
        self.tiers.is_empty() || self.tiers.iter().any(|wanted| wanted == tier)
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|part| name.contains(part.as_str()))
    }
}

fn left_out(tier: &str, name: &str) -> Option<&'static str> {
    if tier == "nat" && !NAT.contains(&name) {
        return Some("has a quicker one of its kind, and a guest is ten times as slow");
    }
    let found = LEFT_OUT.iter().find(|(of, beginning, _)| *of == tier && name.starts_with(beginning));
    found.map(|(_, _, why)| *why)
}

/// One test in a process of its own: one that hangs is killed alone.
fn task(tier: &str, name: &str, wish: &Wish) -> Task {
    let command = [&format!("{TESTS}/{tier}"), "--exact", name, "--include-ignored", "--nocapture"];
    let mut environment = BTreeMap::from([("NETDP_BIN".to_owned(), NETDP.to_owned())]);
    if wish.bless {
        environment.insert("NETDP_BLESS".to_owned(), "1".to_owned());
    }
    // The test that loads every program loads it by itself.
    if tier == "datapath" {
        environment.insert("NETDP_TEST_PROGRAMS".to_owned(), "/sys/fs/bpf".to_owned());
    }
    Task {
        tier: tier.to_owned(),
        name: name.to_owned(),
        command: command.map(str::to_owned).into(),
        environment,
        says: Some("test result: ok. 1 passed".to_owned()),
        limit: if left_out(tier, name).is_some() { LONG } else { LIMIT },
        alone: listed(ALONE, tier, name),
    }
}

fn listed(list: &[(&str, &str)], tier: &str, name: &str) -> bool {
    list.iter().any(|(of, beginning)| *of == tier && name.starts_with(beginning))
}

/// Where a test binary is in the guest.
pub(crate) fn place(binary: &Binary) -> PathBuf {
    Path::new(TESTS).join(&binary.tier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests() -> Vec<(String, Vec<String>)> {
        vec![
            ("datapath".into(), vec!["verifier::size".into(), "table::full".into()]),
            ("system".into(), vec!["speed::stream".into(), "modules::sctp".into()]),
        ]
    }

    fn names(wish: &Wish) -> Vec<String> {
        Choice::of(&tests(), wish).tasks.into_iter().map(|task| task.name).collect()
    }

    #[test]
    fn what_is_left_out_has_a_reason_and_runs_when_all_is_asked_for() {
        let choice = Choice::of(&tests(), &Wish::default());
        assert_eq!(choice.left_out.values().flatten().collect::<Vec<_>>(), ["system speed::stream"]);
        assert_eq!(names(&Wish::default()), ["verifier::size", "table::full", "modules::sctp"]);
        assert_eq!(names(&Wish { all: true, ..Wish::default() }).len(), 4);
    }

    #[test]
    fn chosen_tests_of_the_nat_exist() {
        let workspace = Workspace::find().unwrap();
        for name in NAT {
            let (module, function) = name.split_once("::").unwrap();
            let path = workspace.root.join(format!("tests/nat/{module}.rs"));
            let source = std::fs::read_to_string(path).unwrap();
            assert!(source.contains(&format!("\nfn {function}() {{")), "{name}");
        }
        assert!(left_out("nat", NAT[0]).is_none() && left_out("nat", "aging::any").is_some());
    }

    #[test]
    fn tests_are_patient_where_the_processor_is_emulated() {
        let choice = Choice::of(&tests(), &Wish::default());
        let slow = |accel| choice.tasks_under(accel)[0].environment.contains_key("NETDP_TEST_SLOW");
        assert!(slow(Accel::Tcg) && !slow(Accel::Kvm));
    }

    #[test]
    fn filters_are_parts_of_names() {
        let wish = Wish { filters: vec!["full".into(), "sctp".into()], ..Wish::default() };
        assert_eq!(names(&wish), ["table::full", "modules::sctp"]);
    }

    #[test]
    fn tiers_are_all_or_those_that_are_named() {
        let wish = Wish { tiers: vec!["system".into()], all: true, ..Wish::default() };
        assert_eq!(names(&wish), ["speed::stream", "modules::sctp"]);
    }

    #[test]
    fn task_runs_one_test_ignored_or_not_and_must_see_it_pass() {
        let task = task("system", "modules::sctp", &Wish { bless: true, ..Wish::default() });
        assert_eq!(
            task.command,
            ["/tests/system", "--exact", "modules::sctp", "--include-ignored", "--nocapture"]
        );
        assert_eq!(task.says.as_deref(), Some("test result: ok. 1 passed"));
        assert_eq!(task.environment["NETDP_BLESS"], "1");
    }

    #[test]
    fn executables_are_those_of_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"aya\"},\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"cli\"},\"executable\":\"/t/cli-1\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executables(messages), [Binary { tier: "cli".into(), path: "/t/cli-1".into() }]);
    }
}
