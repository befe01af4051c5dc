//! The project's routines: what CI calls is what people call.
//!
//! Every command is one file here, and the commands below are the table of contents. `test` and `demo` call
//! `setup` and `build` themselves, so each of them is one command on a fresh machine.

mod bench;
mod build;
mod command;
mod demo;
mod fuzz;
mod lacking;
mod length;
mod linker;
mod lint;
mod manifest;
mod object;
mod packages;
mod requirements;
mod setup;
mod stage;
mod test;
mod throughput;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use lacking::Lacking;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    routine: Routine,
}

#[derive(Subcommand)]
enum Routine {
    /// Install all that building and testing needs; safe to repeat
    Setup,
    /// Build the programs for the kernel, check the object, and build netdp with it inside
    Build(build::Args),
    /// Check format, warnings, documentation, manifests, lengths, and the object
    Lint,
    /// Run the tests, tier by tier, and count them
    Test(test::Args),
    /// Show the main job in throw-away namespaces: two containers, a neighbour outside, real traffic
    Demo(demo::Args),
    /// Measure netdp beside the bare wire, the kernel's forwarding, a bridge, nftables and a real Docker
    Bench(bench::Options),
    /// Look for inputs that the parser and the ICMP code of the programs do something wrong with
    Fuzz(fuzz::Args),
    /// Boot other kernels in VMs and run the tests in them
    Vm(vm::Args),
}

fn main() -> ExitCode {
    match dispatch(&Cli::parse().routine) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit_code(&error)
        }
    }
}

fn dispatch(routine: &Routine) -> Result<ExitCode> {
    match routine {
        Routine::Setup => setup::run()?,
        Routine::Build(args) => build::run(args)?,
        Routine::Lint => lint::run()?,
        Routine::Test(args) => return test::run(args),
        Routine::Demo(args) => demo::run(args)?,
        Routine::Bench(options) => bench::run(options)?,
        Routine::Fuzz(args) => fuzz::run(args)?,
        Routine::Vm(args) => return vm::run(args),
    }
    Ok(ExitCode::SUCCESS)
}

/// The contract's codes: 3 when the machine lacks something that is named, 1 for every other failure.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Lacking>() { ExitCode::from(3) } else { ExitCode::FAILURE }
}
