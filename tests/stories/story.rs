//! A story: a throw-away host, and shell lines on it and in its containers, shown as a person would type them.

use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::process::{Ran, Service, run_within};
use tests::topology::{Bed, Host, netdp_binary};

/// A line that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One host with netdp's controller, and a neighbour outside.
pub(crate) struct Story {
    _controller: Service,
    host: Host,
    bed: Bed,
    tools: PathBuf,
}

impl Story {
    /// Begins on a host where `netdp up` serves.
    pub(crate) fn begin(title: &str) -> Self {
        let bed = Bed::new();
        let host = bed.host("host");
        let tools = bed.file("bin");
        std::fs::create_dir(&tools).unwrap();
        symlink(netdp_binary(), tools.join("netdp")).unwrap();
        let story = Self { _controller: host.up(), host, bed, tools };
        story.say(&format!("\n# {title}"));
        story
    }

    /// Address of the host by which the outside knows it.
    pub(crate) fn address(&self) -> String {
        self.host.address.to_string()
    }

    /// A shell line on the host, which must succeed; says what it printed.
    pub(crate) fn host(&self, line: &str) -> String {
        self.succeeds("host", line)
    }

    /// A shell line on the host, which must fail; says what it told about it.
    pub(crate) fn host_fails(&self, line: &str) -> String {
        let ran = self.run("host", line);
        assert_ne!(ran.code, Some(0), "it should have failed\n{ran}");
        ran.stderr
    }

    /// A shell line in a container, which must succeed.
    pub(crate) fn inside(&self, container: &str, line: &str) -> String {
        self.succeeds(container, &format!("netdp exec {container} -- {line}"))
    }

    /// A shell line in a container, which must fail.
    pub(crate) fn inside_fails(&self, container: &str, line: &str) {
        let ran = self.run(container, &format!("netdp exec {container} -- {line}"));
        assert_ne!(ran.code, Some(0), "it should have failed\n{ran}");
    }

    /// The IPv4 address of a container in a network.
    pub(crate) fn address_in(&self, network: &str, container: &str) -> String {
        let all = self.host.json(&["inspect", container]);
        let found = &all["NetworkSettings"]["Networks"][network]["IPAddress"];
        found.as_str().unwrap_or_else(|| panic!("no address in {network}: {all}")).to_owned()
    }

    /// The same line on the host until it succeeds: for a server that has yet to open its socket.
    pub(crate) fn soon(&self, place: &str, line: &str) -> String {
        for _ in 0..50 {
            let ran = self.execute(place, line);
            if ran.code == Some(0) {
                self.show(place, &ran);
                return ran.stdout;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.succeeds(place, line)
    }

    fn succeeds(&self, place: &str, line: &str) -> String {
        self.run(place, line).ok().stdout
    }

    fn run(&self, place: &str, line: &str) -> Ran {
        let ran = self.execute(place, line);
        self.show(place, &ran);
        ran
    }

    fn execute(&self, place: &str, line: &str) -> Ran {
        let ns = if place == "outside" { &self.bed.outside.ns } else { &self.host.ns };
        let mut shell = ns.command("sh");
        let ran = run_within(self.with_netdp(&mut shell).args(["-c", line]), PATIENCE);
        Ran { line: line.to_owned(), ..ran }
    }

    /// `netdp` is found, and finds this host's directories.
    fn with_netdp<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.tools.display()))
            .env("NETDP_RUN_DIR", self.host.run_dir())
            .env("NETDP_STATE_DIR", self.host.state_dir())
            .env("NO_COLOR", "1")
    }

    fn show(&self, place: &str, ran: &Ran) {
        self.say(&format!("{place:>8} $ {}", ran.line));
        for line in ran.stdout.lines().chain(ran.stderr.lines()) {
            self.say(&format!("           {line}"));
        }
    }

    /// Not by a macro: libtest would keep it back when the test passes, and a story is there to be read.
    #[expect(clippy::unused_self, reason = "only a story says something")]
    fn say(&self, line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

impl Drop for Story {
    /// What `netdp run -d` started must not outlive the host that it ran on.
    fn drop(&mut self) {
        let all = self.execute("host", "netdp ps -aq").stdout;
        for id in all.split_whitespace() {
            let _ = self.execute("host", &format!("netdp rm -f {id}"));
        }
        let _ = self.execute("host", "netdp down");
    }
}
