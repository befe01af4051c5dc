//! What each command does, one file per command: read, decide, act, print.

mod attach;
mod check;
mod check_deep;
mod commit;
mod configured;
mod connect;
mod defaults;
mod deny;
mod detach;
mod down;
mod drops;
mod exec;
mod flows;
mod gone;
mod heir;
mod host_gateway;
mod host_ports;
mod inspect;
mod join;
mod lease;
mod lease_keeper;
mod limits;
mod logs;
mod network;
mod network_create;
mod network_filter;
mod network_inspect;
mod network_ls;
mod network_parent;
mod network_rm;
mod port;
mod ps;
mod rehearsal;
mod repeated;
mod resolver;
mod run;
mod status;
mod stop;
mod timers;
mod trace;
mod up;

use std::io::Write;

pub(crate) use timers::range as timer_range;

use crate::Error;
use crate::cli::{Cli, Command, Defaults, Deny, Format, Limits, Network, Timers};
use crate::instance::Place;

/// Where a command works and how it prints.
#[derive(Debug)]
pub struct Context<'a, W> {
    place: Place,
    format: Format,
    out: &'a mut W,
}

impl<W: Write> Context<'_, W> {
    fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Runs a command to its end and says the exit code of one that did what it was asked for.
///
/// # Errors
/// See [`Error`]; [`Error::exit_code`] is the process's.
pub async fn run<W: Write>(cli: &Cli, out: &mut W) -> Result<u8, Error> {
    let place = Place { run_dir: cli.common.run_dir.clone(), state_dir: cli.common.state_dir.clone() };
    let mut context = Context { place, format: cli.chosen_format(), out };
    if changes(&cli.command) {
        check::privileged()?;
    }
    match &cli.command {
        Command::Check(args) if args.deep => check_deep::check(&mut context).await?,
        Command::Check(_) => return check::check(&mut context).await,
        Command::Up(args) => up::up(&mut context, args).await?,
        Command::Down(args) => down::down(&mut context, args).await?,
        Command::Resolver(args) => resolver::resolver(&context, args).await?,
        Command::Status(_) => status::status(&mut context).await?,
        Command::Network(Network::Create(args)) => network_create::create(&mut context, args).await?,
        Command::Network(Network::Ls(args)) => network_ls::ls(&mut context, args)?,
        Command::Network(Network::Inspect(args)) => network_inspect::inspect(&mut context, args).await?,
        Command::Network(Network::Rm(args)) => network_rm::rm(&mut context, args).await?,
        Command::Network(Network::Prune(args)) => network_rm::prune(&mut context, args).await?,
        Command::Network(Network::Connect(args)) => connect::connect(&mut context, args).await?,
        Command::Network(Network::Disconnect(args)) => connect::disconnect(&mut context, args).await?,
        Command::Attach(args) => attach::attach(&mut context, args).await?,
        Command::Detach(args) => detach::detach(&mut context, args).await?,
        Command::Run(args) => return run::run(&mut context, args).await,
        Command::Exec(args) => return exec::exec(&context, args),
        Command::Stop(args) => stop::stop(&mut context, args).await?,
        Command::Rm(args) => stop::rm(&mut context, args).await?,
        Command::Wait(args) => stop::wait(&mut context, args).await?,
        Command::Logs(args) => logs::logs(&mut context, args).await?,
        Command::Init(args) => return Ok(crate::process::init::run(args.channel).await),
        Command::Ps(args) => ps::ps(&mut context, args).await?,
        Command::Inspect(args) => inspect::inspect(&mut context, args).await?,
        Command::Port(args) => port::port(&mut context, args)?,
        Command::Flows(_) => flows::flows(&mut context)?,
        Command::Drops(_) => drops::drops(&mut context)?,
        Command::Trace(args) => trace::trace(&mut context, args).await?,
        Command::Deny(Deny::Add(args)) => deny::add(&mut context, args).await?,
        Command::Deny(Deny::Rm(args)) => deny::rm(&mut context, args).await?,
        Command::Deny(Deny::Ls(_)) => deny::ls(&mut context)?,
        Command::Limits(Limits::Ls(_)) => limits::ls(&mut context)?,
        Command::Limits(Limits::Set(args)) => limits::set(&mut context, args).await?,
        Command::Limits(Limits::Reset(args)) => limits::reset(&mut context, args).await?,
        Command::Defaults(Defaults::Ls(_)) => defaults::ls(&mut context)?,
        Command::Defaults(Defaults::Set(args)) => defaults::set(&mut context, args).await?,
        Command::Defaults(Defaults::Reset(args)) => defaults::reset(&mut context, args).await?,
        Command::Timers(Timers::Ls(_)) => timers::ls(&mut context)?,
        Command::Timers(Timers::Set(args)) => timers::set(&mut context, args).await?,
        Command::Timers(Timers::Reset(args)) => timers::reset(&mut context, args).await?,
    }
    context.out.flush()?;
    Ok(0)
}

/// Whether a command changes the host or the database.
fn changes(command: &Command) -> bool {
    match command {
        Command::Up(_)
        | Command::Down(_)
        | Command::Resolver(_)
        | Command::Attach(_)
        | Command::Detach(_)
        | Command::Run(_)
        | Command::Exec(_)
        | Command::Stop(_)
        | Command::Rm(_)
        | Command::Wait(_)
        | Command::Deny(Deny::Add(_) | Deny::Rm(_))
        | Command::Network(
            Network::Create(_)
            | Network::Rm(_)
            | Network::Prune(_)
            | Network::Connect(_)
            | Network::Disconnect(_),
        )
        | Command::Limits(Limits::Set(_) | Limits::Reset(_))
        | Command::Defaults(Defaults::Set(_) | Defaults::Reset(_))
        | Command::Timers(Timers::Set(_) | Timers::Reset(_)) => true,
        Command::Status(_)
        | Command::Check(_)
        | Command::Flows(_)
        | Command::Drops(_)
        | Command::Trace(_)
        | Command::Deny(Deny::Ls(_))
        | Command::Limits(Limits::Ls(_))
        | Command::Timers(Timers::Ls(_))
        | Command::Defaults(Defaults::Ls(_))
        | Command::Network(Network::Ls(_) | Network::Inspect(_))
        | Command::Ps(_)
        | Command::Logs(_)
        | Command::Init(_)
        | Command::Inspect(_)
        | Command::Port(_) => false,
    }
}
