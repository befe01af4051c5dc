//! `netdp run`: starts a process in a network of its own.
//!
//! Its namespaces are made first, then they are joined to their networks, and then its command begins: whatever fails before
//! leaves neither a process nor an address. All of that is one change, under the instance's lock. From then on the process
//! needs nobody: this netdp only waits for its end, to release what it had.

mod conflicts;
pub(super) mod ending;
mod files;
mod mode;
mod supervise;

use std::io::Write;
use std::path::PathBuf;

use super::Context;
use super::detach::{Rest, take_off};
use super::gone;
use super::host_gateway::HostGateway;
use super::join::{Container, Request, join};
use crate::Error;
use crate::cli::Run;
use crate::host::{bpffs, netns};
use crate::instance::{self, Place, Session};
use crate::model::{Endpoint, EndpointOptions, Network, Resolver};
use crate::names::{Id, Name};
use crate::process::background::{self, Report};
use crate::process::init::{Namespaces, NetworkFrom, Program, Start};
use crate::process::launch::{Launch, Started};
use crate::process::links::Linked;
use crate::process::{self, Mode, Processes, Record, Task};

pub(super) use files::{asked, refresh};
use mode::Resolved;

pub(super) async fn run<W: Write>(context: &mut Context<'_, W>, args: &Run) -> Result<u8, Error> {
    conflicts::check(args)?;
    let place = absolute(&context.place)?;
    if conflicts::needs_datapath(args) && !bpffs::is_mounted(&bpffs::path(&place.run_dir)) {
        return Err(Error::NotUp);
    }
    let report = if args.detach { Report::of_this() } else { None };
    if args.detach && report.is_none() {
        return in_background(context);
    }
    let forwarded = supervise::Signals::listen()?;
    let (started, record) = establish(&place, args).await?;
    if let Some(report) = report {
        report.send(&format!("{}\n", record.id)).map_err(Error::io("report that the process runs"))?;
    }
    supervise::to_the_end(&place, started, record, forwarded).await
}

fn in_background<W: Write>(context: &mut Context<'_, W>) -> Result<u8, Error> {
    match background::begin().map_err(Error::io("run in the background"))? {
        Ok(report) => {
            write!(context.out, "{report}")?;
            context.out.flush()?;
            Ok(0)
        }
        Err(code) => Ok(code),
    }
}

/// Whoever waits for a process goes to another directory meanwhile.
fn absolute(place: &Place) -> Result<Place, Error> {
    let whole = |path: &PathBuf| std::path::absolute(path).map_err(Error::io("find this directory"));
    Ok(Place { run_dir: whole(&place.run_dir)?, state_dir: whole(&place.state_dir)? })
}

/// Starts the process in its networks, or leaves everything as it was.
async fn establish(place: &Place, args: &Run) -> Result<(Started, Record), Error> {
    let mut session = Session::begin(place).await?;
    let processes = Processes::of(place);
    ending::settle(&mut session).await?;
    let networks = session.store.networks()?;
    let endpoints = session.store.endpoints()?;
    let resolved = mode::resolve(args, &networks, &endpoints, &processes)?;
    let links = files::links(args, &resolved, &networks, &endpoints, &processes)?;
    let gateway = HostGateway::of(&session.store, &networks)?;
    let mut record = record(args, &resolved, &gateway, links)?;
    free_name(&mut session, &networks, &endpoints, &record.name).await?;
    processes.save(&record)?;
    let making = Making { args, networks: &networks, resolved: &resolved, processes: &processes };
    match making.run(&mut session, &mut record).await {
        Ok(started) => Ok((started, record)),
        Err(error) => {
            ending::release(&mut session, &record.id).await;
            processes.remove(&record.id)?;
            Err(error)
        }
    }
}

/// Refuses a name that somebody has. What is left of one that is gone, as after a boot, makes room, as for `netdp attach`.
async fn free_name(
    session: &mut Session,
    networks: &[Network],
    endpoints: &[Endpoint],
    name: &Name,
) -> Result<(), Error> {
    Processes::of(&session.place).name_is_free(name, None)?;
    match endpoints.iter().find(|endpoint| endpoint.name == *name) {
        None => Ok(()),
        Some(endpoint) if gone::ends(session, endpoint).await? => {
            take_off(session, networks, endpoint, None, Rest::Goes).await
        }
        Some(endpoint) => Err(process::Error::taken(name, &endpoint.id).into()),
    }
}

fn record(
    args: &Run,
    resolved: &Resolved<'_>,
    gateway: &HostGateway,
    links: Vec<Linked>,
) -> Result<Record, Error> {
    let id = Id::random().map_err(Error::io("read random bytes"))?;
    let short = id.short(process::SHORT).to_owned();
    let name = match &args.name {
        Some(name) => name.clone(),
        None => Name::try_from(short.clone()).map_err(|error| Error::Unsupported(error.to_string()))?,
    };
    let workdir = args.workdir.clone().map_or_else(std::env::current_dir, Ok);
    Ok(Record {
        name,
        created: instance::now(),
        command: args.command.clone(),
        hostname: resolved.hostname(args.hostname.as_deref()).unwrap_or(short),
        mode: resolved.mode(),
        environment: Vec::new(),
        workdir: workdir.map_err(Error::io("find this directory"))?,
        user: args.user.clone(),
        options: options(args, gateway)?,
        links,
        detached: args.detach,
        remove: args.rm,
        task: None,
        mounts: None,
        monitor: Task::current(),
        started: None,
        ended: None,
        id,
    })
}

fn options(args: &Run, gateway: &HostGateway) -> Result<EndpointOptions, Error> {
    Ok(EndpointOptions {
        hostname: args.hostname.clone(),
        exposed: crate::publish::exposed(&args.expose),
        resolver: Resolver {
            servers: args.dns.clone(),
            search: args.dns_search.clone(),
            options: args.dns_options.clone(),
        },
        extra_hosts: gateway.lines(&args.add_hosts)?,
        ..EndpointOptions::default()
    })
}

/// A process that is being made.
struct Making<'a> {
    args: &'a Run,
    networks: &'a [Network],
    resolved: &'a Resolved<'a>,
    processes: &'a Processes,
}

impl Making<'_> {
    /// On an error the process ends with the socket that it waits at.
    async fn run(&self, session: &mut Session, record: &mut Record) -> Result<Started, Error> {
        let log = self.processes.log(&record.id);
        let log = record.detached.then(|| process::log::create(&log)).transpose()?;
        let launch = Launch::begin(&self.namespaces(session, record), log)?;
        record.task = Some(launch.task.clone());
        record.mounts = Some(launch.mounts);
        self.processes.save(record)?;
        let endpoint = self.join(session, record, launch.task.pid).await?;
        let mounts = files::write(session, self.networks, record, endpoint.as_ref())?;
        record.environment = files::environment(self.args, record);
        let mut started = launch.start(&Start { mounts, program: program(record) })?;
        record.started = Some(instance::now());
        if let Err(error) = self.processes.save(record) {
            // What nobody has written down nobody would end.
            let _ = started.child.start_kill();
            return Err(error.into());
        }
        Ok(started)
    }

    fn namespaces(&self, session: &Session, record: &Record) -> Namespaces {
        let network = match self.resolved {
            Resolved::Host => NetworkFrom::Here,
            Resolved::Container(other) => NetworkFrom::Path(other.netns.clone()),
            Resolved::None | Resolved::Networks(_) => NetworkFrom::New,
        };
        Namespaces { network, hostname: record.hostname.clone(), run_dir: session.place.run_dir.clone() }
    }

    /// Joins the namespace to every network that was asked for.
    async fn join(
        &self,
        session: &mut Session,
        record: &Record,
        pid: u32,
    ) -> Result<Option<Endpoint>, Error> {
        let Resolved::Networks(wanted) = self.resolved else { return Ok(None) };
        let container = Container::open(Some(&netns::path_of(pid)), None)?;
        let mut endpoint = None;
        for wanted in wanted {
            let request = Request {
                id: Some(record.id.clone()),
                name: record.name.clone(),
                ip: wanted.ip,
                ip6: wanted.ip6,
                mac_address: wanted.mac_address,
                ports: wanted.ports.clone(),
                ifname: None,
                attachment: wanted.options.clone(),
                endpoint: record.options.clone(),
                granted: None,
            };
            endpoint = Some(join(session, self.networks, wanted.network, &container, &request).await?);
        }
        Ok(endpoint)
    }
}

fn program(record: &Record) -> Program {
    Program {
        command: record.command.clone(),
        environment: record.environment.clone(),
        workdir: record.workdir.clone(),
        user: record.user.clone(),
    }
}

impl Resolved<'_> {
    fn mode(&self) -> Mode {
        match self {
            Self::Host => Mode::Host,
            Self::None => Mode::None,
            Self::Container(other) => Mode::Container(other.id.clone()),
            Self::Networks(wanted) => {
                Mode::Networks(wanted.iter().map(|it| it.network.name.to_string()).collect())
            }
        }
    }

    /// Who shares a network shares its name; none is the process's own.
    fn hostname(&self, asked: Option<&str>) -> Option<String> {
        let shared = match self {
            Self::Host => nix::unistd::gethostname().ok().map(|name| name.to_string_lossy().into_owned()),
            Self::Container(other) => Some(other.hostname.clone()),
            Self::None | Self::Networks(_) => None,
        };
        asked.map(str::to_owned).or(shared)
    }
}
