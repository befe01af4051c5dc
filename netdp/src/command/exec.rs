//! `netdp exec`: a further command where a process or an endpoint lives.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

use super::Context;
use super::run::asked;
use crate::Error;
use crate::cli::Exec;
use crate::instance::{self, find_endpoint};
use crate::process::init::Program;
use crate::process::{self, Processes, Record, launch};
use crate::world::open_netns;

/// Becomes the command: this process has one thread, so that all of it goes into the namespaces. Returns only on an error.
pub(super) fn exec<W>(context: &Context<'_, W>, args: &Exec) -> Result<u8, Error> {
    let program = match Processes::of(&context.place).find(&args.name) {
        Ok(record) => in_process(&record, args)?,
        Err(process::Error::Unresolved(_)) => in_endpoint(context, args)?,
        Err(error) => return Err(error.into()),
    };
    let command = args.command.first().map(String::as_str).unwrap_or_default();
    Err(launch::refused(program.become_it(), command).into())
}

fn in_process(record: &Record, args: &Exec) -> Result<Program, Error> {
    let Some(task) = record.task.as_ref().filter(|_| record.runs()) else {
        return Err(process::Error::Ended(record.name.clone()).into());
    };
    // All are opened before the first is entered: the paths lead elsewhere afterwards.
    let open = |kind: &str| {
        let path = PathBuf::from(format!("/proc/{}/ns/{kind}", task.pid));
        File::open(&path).map_err(process::Error::file("open", &path))
    };
    let namespaces @ [.., mounts] = &[open("net")?, open("uts")?, open("mnt")?];
    if !task.lives() {
        return Err(process::Error::Ended(record.name.clone()).into());
    }
    // In mounts of its own making its user is whoever it says, and libraries are what it likes: nothing of ours starts there.
    let entered = mounts.metadata().map_err(Error::io("look at the namespaces of the process"))?.ino();
    if record.mounts != Some(entered) {
        return Err(process::Error::Elsewhere(record.name.clone()).into());
    }
    for (file, kind) in
        namespaces.iter().zip([CloneFlags::CLONE_NEWNET, CloneFlags::CLONE_NEWUTS, CloneFlags::CLONE_NEWNS])
    {
        setns(file, kind).map_err(|errno| Error::io("enter the namespaces of the process")(errno.into()))?;
    }
    let mut environment = record.environment.clone();
    environment.extend(asked(&args.env));
    Ok(Program {
        command: args.command.clone(),
        environment,
        workdir: args.workdir.clone().unwrap_or_else(|| record.workdir.clone()),
        user: args.user.clone().or_else(|| record.user.clone()),
    })
}

fn in_endpoint<W>(context: &Context<'_, W>, args: &Exec) -> Result<Program, Error> {
    let (_, endpoints) = instance::read(&context.place)?;
    let endpoint = find_endpoint(&endpoints, &args.name)?;
    let ns = open_netns(&endpoint.netns)?;
    setns(ns, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| Error::io("enter the network of the endpoint")(errno.into()))?;
    let here = || std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    Ok(Program {
        command: args.command.clone(),
        environment: asked(&args.env),
        workdir: args.workdir.clone().unwrap_or_else(here),
        user: args.user.clone(),
    })
}
