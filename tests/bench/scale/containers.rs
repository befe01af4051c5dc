//! Containers: what a thousand neighbours cost a packet, an attach, a start and the controller.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use tests::namespace::Namespace;
use tests::process::Service;
use tests::topology::{Bed, Host, OUTSIDE, address_of};

use super::clock::milliseconds;
use super::effort::Effort;
use super::figure::{Bar, Row, Sweep};
use super::ports::SLOPE;
use super::resource;
use super::turn::{go_on, in_turn};
use super::way::Way;
use crate::ending::Ending;
use crate::server::Servers;

/// How long a controller is watched that has nothing to do.
const REST: Duration = Duration::from_secs(10);
/// What it may take of memory then, in MiB, and of one processor, in percent.
const RESIDENT: Bar = Bar::Median(25.0);
const AT_REST: Bar = Bar::Median(0.1);
/// Milliseconds of an attach without the start of its process.
const ATTACH: Bar = Bar::Median(5.0);

/// A host with so many containers.
struct Crowd {
    host: Host,
    /// In the order in which they were attached.
    containers: Vec<Namespace>,
    /// One that comes and goes.
    spare: Namespace,
}

/// One host for each number of containers.
pub(super) fn sweep(effort: &Effort) -> Result<Sweep, Ending> {
    let bed = Bed::new();
    let mut crowds = Vec::new();
    for containers in effort.containers {
        eprintln!("attaching {containers}");
        crowds.push(Crowd::gather(&bed, *containers)?);
    }
    let mut rows = traffic(&bed, &crowds, effort)?;
    rows.push(row("memory of maps", "MiB", each(&crowds, |crowd| vec![resource::maps(&crowd.host)])));
    eprintln!("attaching and detaching one more");
    rows.extend(coming_and_going(&crowds, effort)?);
    eprintln!("down and up");
    rows.extend(restarts(&crowds, effort)?);
    eprintln!("at rest");
    rows.extend(rest(&crowds)?);
    let notes = vec![
        "attach, detach, up --once and down are the time of the whole process; the namespaces are there before".to_owned(),
        "process alone is `netdp --version`; an attach without it is the paired difference".to_owned(),
        "up, nothing to mend is with all of the datapath there; restart is from kill -9 to a controller that is ready".to_owned(),
    ];
    Ok(Sweep { of: "containers", sizes: effort.containers.to_vec(), rows, notes })
}

impl Crowd {
    fn gather(bed: &Bed, containers: u32) -> Result<Self, Ending> {
        let host = bed.unwatched_host(&format!("c{containers}"));
        host.up_once();
        let mut crowd =
            Self { spare: bed.namespace(&format!("c{containers}-spare")), containers: Vec::new(), host };
        for n in 0..containers {
            go_on()?;
            let ns = bed.namespace(&format!("c{containers}-{n}"));
            crowd.attach(&ns);
            crowd.containers.push(ns);
        }
        // It opens more connections than there are ports.
        crowd.client().set_sysctl("net/ipv4/tcp_tw_reuse", "1");
        Ok(crowd)
    }

    fn attach(&self, ns: &Namespace) -> f64 {
        let path = ns.path().to_str().unwrap();
        milliseconds(self.host.command(&["attach", "--netns", path, "--name", ns.name()]))
    }

    fn client(&self) -> &Namespace {
        self.containers.first().unwrap()
    }

    fn server(&self) -> &Namespace {
        self.containers.last().unwrap()
    }
}

fn row(what: &str, unit: &'static str, values: Vec<Vec<f64>>) -> Row {
    Row::new(what, unit, values)
}

fn each(crowds: &[Crowd], value: impl FnMut(&Crowd) -> Vec<f64>) -> Vec<Vec<f64>> {
    crowds.iter().map(value).collect()
}

/// From the first container, to the last and to the outside.
fn traffic(bed: &Bed, crowds: &[Crowd], effort: &Effort) -> Result<Vec<Row>, Ending> {
    let _outside = Servers::start(&bed.outside.ns, &[]);
    let _servers: Vec<Servers> = crowds.iter().map(|crowd| Servers::start(crowd.server(), &[])).collect();
    let local = |crowd: &Crowd| address_of(crowd.server(), "eth0");
    let locally: Vec<Way> =
        crowds.iter().map(|crowd| Way::new(crowd.client(), local(crowd), &crowd.host, &["local"])).collect();
    let outward: Vec<Way> = crowds
        .iter()
        .map(|crowd| Way::new(crowd.client(), OUTSIDE, &crowd.host, &["masqueraded", "reply"]))
        .collect();
    let (rounds, sizes, length) = (effort.rounds, crowds.len(), effort.length);
    eprintln!("traffic");
    let rows = vec![
        row(
            "container to container, one transaction",
            "us",
            in_turn(rounds, sizes, |at| locally[at].rr(length))?,
        ),
        row(
            "container to outside, one transaction",
            "us",
            in_turn(rounds, sizes, |at| outward[at].rr(length))?,
        ),
        row(
            "container to outside, one connection",
            "us",
            in_turn(rounds, sizes, |at| outward[at].crr(length))?,
        ),
    ];
    locally.iter().chain(&outward).try_for_each(Way::prove)?;
    Ok(rows.into_iter().map(|row| row.at_most(SLOPE)).collect())
}

/// One more container, attached and detached again and again.
fn coming_and_going(crowds: &[Crowd], effort: &Effort) -> Result<Vec<Row>, Ending> {
    let took = RefCell::new([const { Vec::new() }; 4].map(|_: Vec<f64>| vec![Vec::new(); crowds.len()]));
    in_turn(effort.commands, crowds.len(), |at| {
        let crowd = &crowds[at];
        let process = milliseconds(crowd.host.command(&["--version"]));
        let attach = crowd.attach(&crowd.spare);
        let detach = milliseconds(crowd.host.command(&["detach", crowd.spare.name()]));
        let each = [process, attach, attach - process, detach];
        for (times, time) in took.borrow_mut().iter_mut().zip(each) {
            times[at].push(time);
        }
        Ok(attach)
    })?;
    let [process, attach, without, detach] = took.into_inner();
    Ok(vec![
        row("process alone", "ms", process),
        row("attach", "ms", attach),
        row("attach without its process", "ms", without).at_most(ATTACH),
        row("detach", "ms", detach),
    ])
}

/// The whole host: down and up, and the controller killed and started.
fn restarts(crowds: &[Crowd], effort: &Effort) -> Result<Vec<Row>, Ending> {
    let (rounds, sizes) = (effort.restarts, crowds.len());
    let (down, up) = (RefCell::new(vec![Vec::new(); sizes]), RefCell::new(vec![Vec::new(); sizes]));
    let mended = in_turn(rounds, sizes, |at| {
        let host = &crowds[at].host;
        down.borrow_mut()[at].push(milliseconds(host.command(&["down"])));
        up.borrow_mut()[at].push(milliseconds(host.command(&["up", "--once"])));
        Ok(milliseconds(host.command(&["up", "--once"])))
    })?;
    let killed = in_turn(rounds, sizes, |at| {
        crowds[at].host.up().kill();
        let begin = Instant::now();
        let controller = crowds[at].host.up();
        let took = begin.elapsed().as_secs_f64() * 1000.0;
        controller.kill();
        Ok(took)
    })?;
    Ok(vec![
        row("down", "ms", down.into_inner()),
        row("up --once after down", "ms", up.into_inner()),
        row("up --once, nothing to mend", "ms", mended),
        row("restart of a killed controller", "ms", killed),
    ])
}

/// What controllers take that have nothing to do, all at the same time.
fn rest(crowds: &[Crowd]) -> Result<Vec<Row>, Ending> {
    let controllers: Vec<Service> = crowds.iter().map(|crowd| crowd.host.up()).collect();
    // What they do at their start is not at rest.
    pause(REST / 4)?;
    let before: Vec<f64> =
        controllers.iter().map(|controller| resource::processor_time(controller.id())).collect();
    let begin = Instant::now();
    pause(REST)?;
    let share = |(controller, before): (&Service, &f64)| {
        let spent = resource::processor_time(controller.id()) - before;
        vec![spent / begin.elapsed().as_secs_f64() * 100.0]
    };
    let shares = controllers.iter().zip(&before).map(share).collect();
    let memory: Vec<(f64, f64)> =
        controllers.iter().map(|controller| resource::memory(controller.id())).collect();
    Ok(vec![
        row("controller at rest, resident", "MiB", memory.iter().map(|(rss, _)| vec![*rss]).collect())
            .at_most(RESIDENT),
        row("controller at rest, its share (PSS)", "MiB", memory.iter().map(|(_, pss)| vec![*pss]).collect()),
        row("controller at rest, processor over 10 s", "%", shares).at_most(AT_REST),
    ])
}

/// Ends early when somebody wants the run to end.
fn pause(time: Duration) -> Result<(), Ending> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        go_on()?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
