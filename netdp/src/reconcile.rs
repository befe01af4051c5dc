//! Takes the steps of a plan, and takes them back when one fails.

use crate::Error;
use crate::plan::{Change, Step};
use crate::world::World;

/// What a run did, so that it can be taken back.
#[derive(Debug, Default)]
#[must_use = "what was done is kept or taken back"]
pub struct Applied {
    inverses: Vec<Step>,
}

/// Takes the steps in order. When one fails, or the operator wants to stop, those before it are taken back,
/// and the error is the answer.
pub async fn apply<W: World>(world: &mut W, changes: &[Change]) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    for change in changes {
        tracing::debug!(step = ?change.step, "apply");
        let taken =
            if world.interrupted() { Err(Error::Interrupted) } else { world.apply(&change.step).await };
        if let Err(error) = taken {
            applied.undo(world).await;
            return Err(error);
        }
        applied.inverses.extend(change.inverse.clone());
    }
    Ok(applied)
}

impl Applied {
    /// The change holds; nothing is taken back any more.
    pub fn keep(self) {}

    /// Adds what a later run did.
    pub fn extend(&mut self, later: Self) {
        self.inverses.extend(later.inverses);
    }

    /// Takes everything back, last first. One step that cannot be taken back does not keep the others from
    /// it; what is left then has our alias and goes with the next command that looks at everything.
    pub async fn undo<W: World>(self, world: &mut W) {
        for step in self.inverses.iter().rev() {
            tracing::debug!(?step, "undo");
            if let Err(error) = world.apply(step).await {
                tracing::warn!(?step, %error, "could not be taken back");
            }
        }
    }
}

/// Takes the steps of a removal: all of them, whatever fails, and the errors together.
pub async fn remove<W: World>(world: &mut W, changes: &[Change]) -> Result<(), Error> {
    let mut errors = Vec::new();
    for change in changes {
        tracing::debug!(step = ?change.step, "remove");
        if let Err(error) = world.apply(&change.step).await {
            errors.push(error);
        }
    }
    Error::all(errors)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::datapath::{Hook, XdpMode};
    use crate::desired::{Desired, RowKey};
    use crate::fake::{Fake, State};
    use crate::ipam;
    use crate::model::{
        Attachment, Bridge, Driver, Endpoint, Host, Mac, Netns, Network, OtherWays, Prefilter, Protocol,
        PublishedPort, Uplink,
    };
    use crate::names::Id;
    use crate::plan::{plan, removal, teardown};
    use crate::sources::Sources;
    use crate::world::Scope;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn host() -> Host {
        let uplink = |ifindex, name: &str| Uplink {
            ifindex,
            name: name.to_owned(),
            mac: Mac([2, 0, 0, 0, 0, 9]),
            mtu: 1500,
            addr4: Some(Ipv4Addr::new(192, 0, 2, 10)),
            addr6: Some("2001:db8::10".parse().unwrap()),
        };
        Host {
            uplinks: vec![uplink(20, "eth0"), uplink(21, "eth1")],
            addresses: [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 10).into()].into(),
            passing: BTreeSet::new(),
            other_ways: OtherWays::default(),
            prefilters: [("eth0".to_owned(), Prefilter::Auto), ("eth1".to_owned(), Prefilter::Generic)]
                .into(),
            accepts_local: true,
        }
    }

    fn network(number: u8) -> Network {
        let pool = |subnet: String| {
            let request = ipam::Request { subnet: Some(subnet.parse().unwrap()), ..ipam::Request::default() };
            Some(ipam::choose(&request, ipam::Default::Docker, &[]).unwrap())
        };
        let bridge = Bridge {
            pool4: pool(format!("10.{number}.0.0/16")),
            pool6: pool(format!("fd00:{number}::/64")),
            ..crate::fake::bridge(number)
        };
        Network {
            number: number.into(),
            id: Id::stored(format!("{number:064x}")),
            name: format!("net{number}").parse().unwrap(),
            created: 0,
            driver: Driver::Bridge(bridge),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    fn endpoint(network: u8, last: u8) -> Endpoint {
        let address = Ipv4Addr::new(10, network, 0, last);
        let port = PublishedPort {
            protocol: Protocol::Tcp,
            host_address: Ipv4Addr::UNSPECIFIED.into(),
            host_port: Some(8000 + u16::from(last)),
            container_port: 80,
            sources: "10.0.0.0/8,192.0.2.0/24".parse().unwrap(),
        };
        let attachment = Attachment {
            id: Id::stored(format!("{network:05}{last:05}{:054}", 0)),
            network: network.into(),
            addr4: Some(address),
            addr6: Some(Ipv6Addr::new(0xfd00, network.into(), 0, 0, 0, 0, 0, last.into())),
            mac: Mac::of_address(address),
            ifname: "eth0".to_owned(),
            options: crate::model::AttachmentOptions::default(),
            ports: vec![port],
            lease: None,
        };
        Endpoint {
            id: Id::stored(format!("{last:064x}")),
            name: format!("c{last}").parse().unwrap(),
            created: 0,
            netns: Netns { path: format!("/run/netns/c{last}").into(), device: 4, inode: u64::from(last) },
            options: crate::model::EndpointOptions::default(),
            attachments: vec![attachment],
        }
    }

    /// Two networks with two endpoints in the first and one in the second.
    fn everything() -> Desired {
        let mut desired = Desired::default();
        desired.add_host(&host());
        for number in [1, 2] {
            desired.add_network(&network(number));
        }
        for (number, last) in [(1, 2), (1, 3), (2, 4)] {
            let endpoint = endpoint(number, last);
            desired.add_attachment(&network(number), &endpoint, &endpoint.attachments[0]);
        }
        desired
    }

    fn one_endpoint() -> Desired {
        let endpoint = endpoint(1, 9);
        let mut desired = Desired::default();
        desired.add_network(&network(1));
        desired.add_attachment(&network(1), &endpoint, &endpoint.attachments[0]);
        desired
    }

    fn sync(world: &mut Fake, desired: &Desired, scope: Scope<'_>) -> Result<usize, Error> {
        run(async {
            let observed = world.observe(scope).await?;
            let changes = plan(desired, &observed)?;
            apply(world, &changes).await?.keep();
            Ok(changes.len())
        })
    }

    fn synced() -> Fake {
        let mut world = Fake::new(host());
        sync(&mut world, &everything(), Scope::Everything).unwrap();
        world
    }

    /// Numbers of links differ between a world that had a failure and one that had none.
    fn without_numbers(state: &State) -> impl PartialEq + std::fmt::Debug {
        let links = state.links.iter().map(|(name, facts)| (name.clone(), facts.up, facts.alias.clone()));
        let counts = [state.addresses.len(), state.hooks.len(), state.entries.len()];
        (links.collect::<Vec<_>>(), counts, state.binds)
    }

    #[test]
    fn a_second_sync_finds_nothing_to_do() {
        let mut world = synced();
        assert_eq!(sync(&mut world, &everything(), Scope::Everything).unwrap(), 0);
        assert_eq!(world.state.hooks.iter().filter(|(hook, _)| *hook == Hook::FromContainer).count(), 3);
        assert_eq!(world.state.sysctls["net/ipv4/conf/lo/route_localnet"], "1");
        assert!(world.state.binds && world.state.loaded);
    }

    #[test]
    fn wherever_the_first_sync_fails_the_world_is_as_before() {
        let steps = synced().taken;
        assert!(steps > 40, "only {steps} steps");
        for step in 0..steps {
            let mut world = Fake::new(host());
            let before = world.state.clone();
            world.fail_at = Some(step);
            assert!(sync(&mut world, &everything(), Scope::Everything).is_err());
            assert_eq!(world.state, before, "after a failure of step {step}");
        }
    }

    #[test]
    fn wherever_an_attach_fails_the_world_is_as_before() {
        let mut world = synced();
        let (before, start) = (world.state.clone(), world.taken);
        let steps = sync(&mut world, &one_endpoint(), Scope::Of(&one_endpoint())).unwrap();
        assert!((5..15).contains(&steps), "{steps} steps");
        for step in start..start + steps {
            let mut world = synced();
            world.fail_at = Some(step);
            assert!(sync(&mut world, &one_endpoint(), Scope::Of(&one_endpoint())).is_err());
            assert_eq!(world.state, before, "after a failure of step {step}");
        }
    }

    #[test]
    fn wherever_a_sync_is_killed_the_next_one_completes_it() {
        let whole = synced();
        for step in 0..whole.taken {
            let mut world = Fake::new(host());
            (world.fail_at, world.crash) = (Some(step), true);
            assert!(sync(&mut world, &everything(), Scope::Everything).is_err());
            world.fail_at = None;
            sync(&mut world, &everything(), Scope::Everything).unwrap();
            assert_eq!(without_numbers(&world.state), without_numbers(&whole.state), "killed at step {step}");
            assert_eq!(sync(&mut world, &everything(), Scope::Everything).unwrap(), 0);
        }
    }

    #[test]
    fn wherever_an_attach_is_killed_the_next_sync_removes_it() {
        let whole = synced();
        for step in 0..12 {
            let mut world = synced();
            (world.fail_at, world.crash) = (Some(world.taken + step), true);
            let _ = sync(&mut world, &one_endpoint(), Scope::Of(&one_endpoint()));
            world.fail_at = None;
            sync(&mut world, &everything(), Scope::Everything).unwrap();
            assert_eq!(without_numbers(&world.state), without_numbers(&whole.state), "killed at step {step}");
        }
    }

    #[test]
    fn a_teardown_leaves_the_host_as_found() {
        let mut world = synced();
        run(async {
            let observed = world.observe(Scope::Everything).await.unwrap();
            remove(&mut world, &teardown(&observed)).await.unwrap();
        });
        assert_eq!(world.state, Fake::new(host()).state);
    }

    #[test]
    fn a_teardown_goes_on_after_errors_and_names_them() {
        let mut world = synced();
        run(async {
            let observed = world.observe(Scope::Everything).await.unwrap();
            world.fail_at = Some(world.taken + 3);
            assert!(remove(&mut world, &teardown(&observed)).await.is_err());
        });
        assert!(!world.state.loaded);
    }

    #[test]
    fn one_endpoint_goes_and_the_others_do_not_notice() {
        let whole = synced();
        let mut world = synced();
        let desired = one_endpoint();
        world.begin_flows();
        let others = world.state.flows.clone();
        sync(&mut world, &desired, Scope::Of(&desired)).unwrap();
        assert_eq!(world.state.hooks.len(), whole.state.hooks.len() + 1);
        world.begin_flows();
        assert_eq!(world.state.flows.len(), others.len() + 3, "one by each address, that of the link too");
        let endpoint = endpoint(1, 9);
        let mut alone = Desired::default();
        alone.add_attachment(&network(1), &endpoint, &endpoint.attachments[0]);
        run(async {
            let observed = world.observe(Scope::Of(&alone)).await.unwrap();
            remove(&mut world, &removal(&alone, &observed)).await.unwrap();
        });
        assert_eq!(world.state.flows, others, "the flows of the others go on");
        world.state.flows.clear();
        assert_eq!(world.state, whole.state);
    }

    #[test]
    fn another_mode_of_the_prefilter_replaces_it_and_comes_back_when_something_fails() {
        let whole = synced();
        assert_eq!(whole.state.prefilters, [(20, XdpMode::Native), (21, XdpMode::Generic)].into());
        let mut desired = everything();
        desired.prefilters = [("eth0".to_owned(), Prefilter::Generic)].into();
        let mut world = synced();
        assert_eq!(sync(&mut world, &desired, Scope::Everything).unwrap(), 2);
        assert_eq!(world.state.prefilters, [(20, XdpMode::Generic)].into());
        let denied = "198.51.100.0/24".parse().unwrap();
        desired.prefilters =
            [("eth0".to_owned(), Prefilter::Generic), ("eth1".to_owned(), Prefilter::Auto)].into();
        desired.add_denied(denied);
        desired.bridges.get_mut("br-1").unwrap().mtu = 1400;
        let mut world = synced();
        let before = world.state.clone();
        world.fail_at = Some(world.taken + 2);
        assert!(sync(&mut world, &desired, Scope::Everything).is_err());
        assert_eq!(world.state, before);
    }

    /// A network that is on a LAN by the host's interface lan0.
    fn on_lan() -> (Fake, Desired) {
        let mut world = Fake::new(host());
        world.add_foreign("lan0");
        let mut network = network(1);
        if let Driver::Bridge(bridge) = &mut network.driver {
            bridge.parent = Some("lan0".to_owned());
        }
        let mut desired = Desired::default();
        desired.add_host(&host());
        desired.add_network(&network);
        (world, desired)
    }

    #[test]
    fn port_of_a_bridge_is_joined_or_free_wherever_it_ends() {
        let is_joined = |world: &Fake| {
            let state = &world.state;
            state.links.get("br-1").is_some_and(|it| state.links["lan0"].controller == Some(it.index))
        };
        let (mut whole, desired) = on_lan();
        sync(&mut whole, &desired, Scope::Everything).unwrap();
        assert!(is_joined(&whole));
        assert_eq!(sync(&mut whole, &desired, Scope::Everything).unwrap(), 0);
        for step in 0..whole.taken {
            let (mut failed, _) = on_lan();
            let before = failed.state.clone();
            failed.fail_at = Some(step);
            assert!(sync(&mut failed, &desired, Scope::Everything).is_err());
            assert_eq!(failed.state, before, "after a failure of step {step}");
            let (mut killed, _) = on_lan();
            (killed.fail_at, killed.crash) = (Some(step), true);
            assert!(sync(&mut killed, &desired, Scope::Everything).is_err());
            killed.fail_at = None;
            sync(&mut killed, &desired, Scope::Everything).unwrap();
            assert!(is_joined(&killed), "killed at step {step}");
        }
        run(async {
            let observed = whole.observe(Scope::Everything).await.unwrap();
            remove(&mut whole, &teardown(&observed)).await.unwrap();
        });
        assert_eq!(whole.state, on_lan().0.state);
    }

    #[test]
    fn interface_with_addresses_of_the_host_or_of_another_bridge_is_no_port() {
        let (mut world, desired) = on_lan();
        let lan0 = world.state.links["lan0"].index;
        world.state.addresses.insert((lan0, "192.0.2.77/24".parse().unwrap()));
        sync(&mut world, &desired, Scope::Everything).unwrap();
        assert_eq!(world.state.links["lan0"].controller, None);
        let (mut world, desired) = on_lan();
        world.state.links.get_mut("lan0").unwrap().controller = Some(20);
        sync(&mut world, &desired, Scope::Everything).unwrap();
        assert_eq!(world.state.links["lan0"].controller, Some(20));
        let (mut world, desired) = on_lan();
        world.state.addresses.insert((lan0, "fe80::7/64".parse().unwrap()));
        sync(&mut world, &desired, Scope::Everything).unwrap();
        assert!(world.state.links["lan0"].controller.is_some(), "an address of the link is nobody's way");
    }

    /// The same by VLAN 20 of it, with a network beside it.
    fn on_vlan() -> (Fake, Desired) {
        let (world, mut desired) = on_lan();
        let mut other = network(2);
        if let Driver::Bridge(bridge) = &mut other.driver {
            bridge.parent = Some("lan0.20".to_owned());
        }
        desired.add_network(&other);
        (world, desired)
    }

    #[test]
    fn vlan_is_made_where_what_it_is_one_of_is_up_and_keeps_nothing_else_waiting() {
        let is_joined = |world: &Fake| {
            let links = &world.state.links;
            links.get("lan0.20").is_some_and(|it| it.up && it.controller == Some(links["br-2"].index))
        };
        let (mut whole, desired) = on_vlan();
        let (bridges, vlans) = (desired.bridges.clone(), desired.vlans.clone());
        let part = Desired { bridges, vlans, ..Desired::default() };
        let lan0 = whole.state.links["lan0"].clone();
        let spoil: [fn(&mut Fake); 2] = [
            |world| drop(world.state.links.remove("lan0")),
            |world| world.state.links.get_mut("lan0").unwrap().up = false,
        ];
        for spoil in spoil {
            let (mut world, _) = on_vlan();
            spoil(&mut world);
            sync(&mut world, &desired, Scope::Everything).unwrap();
            assert!(world.state.loaded && world.state.links["br-2"].up);
            assert!(!world.state.links.contains_key("lan0.20"));
            let observed = run(world.observe(Scope::Of(&part))).unwrap();
            let steps = plan(&part, &observed).unwrap();
            assert!(steps.iter().all(|it| !format!("{:?}", it.step).contains("lan0.20")), "{steps:?}");
            world.state.links.insert("lan0".to_owned(), lan0.clone());
            sync(&mut world, &desired, Scope::Everything).unwrap();
            assert!(is_joined(&world));
        }
        sync(&mut whole, &desired, Scope::Everything).unwrap();
        assert!(is_joined(&whole));
        for link in ["lan0", "lan0.20"] {
            whole.state.links.get_mut(link).unwrap().up = false;
        }
        assert_eq!(sync(&mut whole, &desired, Scope::Everything).unwrap(), 0, "it is down with its base");
        whole.state.links.get_mut("lan0").unwrap().up = true;
        assert_eq!(sync(&mut whole, &desired, Scope::Everything).unwrap(), 1);
        assert!(is_joined(&whole));
    }

    #[test]
    fn vlan_that_is_trusted_and_cannot_be_made_has_no_rows() {
        let (mut world, mut desired) = on_vlan();
        world.state.links.get_mut("lan0").unwrap().up = false;
        let (mut network, endpoint) = (network(3), endpoint(3, 2));
        let Driver::Bridge(bridge) = &mut network.driver else { unreachable!() };
        bridge.trusted = ["lan0.20".to_owned()].into();
        desired.add_network(&network);
        desired.add_attachment(&network, &endpoint, &endpoint.attachments[0]);
        sync(&mut world, &desired, Scope::Everything).unwrap();
        world.state.links.get_mut("lan0").unwrap().up = true;
        sync(&mut world, &desired, Scope::Everything).unwrap();
        assert_eq!(sync(&mut world, &desired, Scope::Everything).unwrap(), 0);
    }

    /// One endpoint in a network that trusts these.
    fn trusting(trusted: &[&str]) -> Desired {
        let (mut network, endpoint) = (network(1), endpoint(1, 2));
        let Driver::Bridge(bridge) = &mut network.driver else { unreachable!() };
        bridge.trusted = trusted.iter().map(|name| (*name).to_owned()).collect();
        let mut desired = Desired::default();
        desired.add_host(&host());
        desired.add_network(&network);
        desired.add_attachment(&network, &endpoint, &endpoint.attachments[0]);
        desired
    }

    #[test]
    fn an_interface_that_is_trusted_has_rows_as_long_as_it_is_there_and_trusted() {
        let mut world = Fake::new(host());
        let trusted = |world: &Fake| -> BTreeSet<u32> {
            let number = |key: &RowKey| match key {
                RowKey::Source(key) => key.source.ifindex(),
                _ => None,
            };
            world.state.entries.keys().filter_map(number).collect()
        };
        sync(&mut world, &trusting(&["eth1", "late"]), Scope::Everything).unwrap();
        assert_eq!(trusted(&world), [21].into());
        world.add_foreign("late");
        let late = world.state.links["late"].index;
        assert_eq!(sync(&mut world, &trusting(&["eth1", "late"]), Scope::Everything).unwrap(), 2);
        assert_eq!(trusted(&world), [21, late].into());
        sync(&mut world, &trusting(&["late"]), Scope::Everything).unwrap();
        assert_eq!(trusted(&world), [late].into());
        sync(&mut world, &trusting(&[]), Scope::Everything).unwrap();
        assert_eq!(trusted(&world), BTreeSet::new());
    }

    #[test]
    fn an_interface_of_somebody_elses_is_not_touched() {
        let mut world = Fake::new(host());
        world.add_foreign("br-1");
        let before = world.state.clone();
        let error = sync(&mut world, &everything(), Scope::Everything).unwrap_err();
        assert!(error.to_string().contains("br-1"), "{error}");
        assert_eq!(world.state, before);
    }

    #[test]
    fn a_changed_uplink_is_followed() {
        let mut world = synced();
        world.begin_flows();
        world.host.uplinks.remove(1);
        let mut desired = Desired::default();
        desired.add_host(&world.host);
        for number in [1, 2] {
            desired.add_network(&network(number));
        }
        sync(&mut world, &desired, Scope::Everything).unwrap();
        assert!(world.state.hooks.iter().all(|(_, number)| *number != 21));
        assert!(world.state.links.keys().all(|name| !name.starts_with("nd")));
        assert!(world.state.flows.is_empty(), "of three endpoints that are gone");
    }

    /// Kills the removal of one endpoint at a step and syncs; says whether a step was left to be killed at.
    fn kill_removal(step: usize, desired: &Desired, alone: &Desired) -> bool {
        let mut world = synced();
        sync(&mut world, desired, Scope::Of(desired)).unwrap();
        world.begin_flows();
        (world.fail_at, world.crash) = (Some(world.taken + step), true);
        let killed = run(async {
            let observed = world.observe(Scope::Of(alone)).await.unwrap();
            remove(&mut world, &removal(alone, &observed)).await.is_err()
        });
        (world.fail_at, world.cut_short) = (None, true);
        sync(&mut world, &everything(), Scope::Everything).unwrap();
        let mut live = world.clone();
        live.begin_flows();
        assert_eq!(world.state.flows, live.state.flows, "killed at step {step}");
        killed
    }

    #[test]
    fn wherever_a_removal_is_killed_the_next_sync_ends_the_flows() {
        let (desired, endpoint) = (one_endpoint(), endpoint(1, 9));
        let mut alone = Desired::default();
        alone.add_attachment(&network(1), &endpoint, &endpoint.attachments[0]);
        let steps = (0..20).take_while(|step| kill_removal(*step, &desired, &alone)).count();
        assert!((6..20).contains(&steps), "{steps} steps");
    }

    #[test]
    fn flows_by_a_port_end_after_its_row_has_got_another_meaning() {
        let mut world = synced();
        let everybody =
            |endpoint: &mut Endpoint| endpoint.attachments[0].ports[0].sources = Sources::default();
        let other_port = |endpoint: &mut Endpoint| endpoint.attachments[0].ports[0].container_port = 81;
        for change in [everybody, other_port] {
            let (mut endpoint, mut desired) = (endpoint(1, 2), Desired::default());
            change(&mut endpoint);
            desired.add_attachment(&network(1), &endpoint, &endpoint.attachments[0]);
            let observed = run(world.observe(Scope::Of(&desired))).unwrap();
            let steps: Vec<Step> =
                plan(&desired, &observed).unwrap().into_iter().map(|change| change.step).collect();
            assert!(matches!(steps[..], [Step::Put(_), Step::EndFlows]), "{steps:?}");
        }
    }

    #[test]
    fn a_link_that_is_made_anew_leaves_no_flow_to_the_old_one() {
        let mut world = synced();
        world.begin_flows();
        run(world.apply(&Step::DeleteLinks { links: vec!["br-1".to_owned()] })).unwrap();
        sync(&mut world, &everything(), Scope::Everything).unwrap();
        let flows = world.state.flows.len();
        world.begin_flows();
        assert_eq!((flows, world.state.flows.len()), (3, 9), "two of three endpoints were on that bridge");
    }

    #[test]
    fn a_bridge_that_somebody_removed_comes_back_with_its_ports() {
        let mut world = synced();
        run(world.apply(&Step::DeleteLinks { links: vec!["br-1".to_owned()] })).unwrap();
        sync(&mut world, &everything(), Scope::Everything).unwrap();
        let bridge = world.state.links["br-1"].index;
        let ports = world.state.links.values().filter(|facts| facts.controller == Some(bridge)).count();
        assert_eq!(ports, 2);
        assert_eq!(sync(&mut world, &everything(), Scope::Everything).unwrap(), 0);
    }
}
