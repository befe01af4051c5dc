//! The `netdp` command: reads the command line, runs it, and turns an error into words and an exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use netdp::cli::Cli;
use netdp::{Error, announce, command};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    begin_logging(&cli);
    let ran = run(&cli);
    announce::finish();
    match ran {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(cli: &Cli) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime"))?;
    runtime.block_on(command::run(cli, &mut io::stdout().lock()))
}

/// Help and version are no errors, and clap knows where each of them goes.
fn usage(error: &clap::Error) -> ExitCode {
    // There is nobody left to tell when even that cannot be written.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// One line for what failed, then the chain of causes, then what to do about it.
fn report(error: &Error) -> ExitCode {
    // The exit code says it too, where nobody reads what is written.
    let _ = tell(error, &mut io::stderr().lock());
    ExitCode::from(error.exit_code())
}

fn tell(error: &Error, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "error: {error}")?;
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        writeln!(out, "  caused by: {error}")?;
        cause = error.source();
    }
    error.advice().map_or(Ok(()), |advice| writeln!(out, "{advice}"))
}

fn begin_logging(cli: &Cli) {
    let level = match (cli.quiet, cli.common.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("NETDP_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would say with a panic that nobody reads what it says.
        .log_internal_errors(false)
        .with_ansi(colours)
        .with_target(false)
        .without_time()
        .init();
}
