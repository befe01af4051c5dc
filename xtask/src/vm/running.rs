//! What is asked of a kernel, and the answers of the one that runs here.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use protocol::Question;

use super::chosen::NETDP;
use super::outcome::Answers;
use super::programs;
use crate::packages;
use crate::workspace::Workspace;

/// Brings the datapath up in a network of its own, to see how programs get attached; `$0` is netdp.
const STATUS: &str = "mount -t tmpfs run /run && mount -t tmpfs lib /var/lib && ip link set lo up && \
    ip link add up0 type veth peer name up1 && ip address add 192.0.2.1/24 dev up0 && ip link set up0 up && \
    \"$0\" up --once --uplink up0 >&2 && \"$0\" -o json status && \"$0\" down >&2";

/// What each guest is asked.
pub(crate) fn questions() -> Vec<Question> {
    let question = |name: &str, command: Vec<String>| Question { name: name.to_owned(), command };
    vec![
        question("netdp", vec!["sha256sum".to_owned(), NETDP.to_owned()]),
        question("check", check(NETDP)),
        question("status", status(NETDP)),
    ]
}

/// One that hangs is an answer that is missing, not a guest that is lost.
fn check(netdp: &str) -> Vec<String> {
    ["timeout", "60", netdp, "-o", "json", "check"].map(str::to_owned).into()
}

fn status(netdp: &str) -> Vec<String> {
    ["timeout", "60", "unshare", "--net", "--mount", "sh", "-c", STATUS, netdp].map(str::to_owned).into()
}

/// The release of the kernel that runs here, and its answers. Without root it has few.
pub(crate) fn ask(workspace: &Workspace) -> Result<(String, Answers)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the release")?;
    let file = workspace.netdp("release");
    let mut answers = Answers { netdp: Some(programs::sha256(&file)?), ..Answers::default() };
    if packages::is_root()? {
        let netdp = file.to_str().context("the target folder's name is no UTF-8")?;
        for (name, words) in [("check", check(netdp)), ("status", status(netdp))] {
            let output = Command::new(&words[0]).args(&words[1..]).output();
            let output = output.with_context(|| format!("cannot start {}", words[0]))?;
            answers.take(name, &String::from_utf8_lossy(&output.stdout));
        }
    }
    Ok((release.trim().to_owned(), answers))
}
