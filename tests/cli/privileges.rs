//! What a host lacks is named, with exit code 3, before anything is changed.

use tests::process::run;
use tests::snapshot::Snapshot;
use tests::topology::{Bed, Host};

/// Runs netdp by way of a wrapper that takes something away first.
fn with(host: &Host, wrapper: &[&str], arguments: &[&str]) -> tests::process::Ran {
    let netdp = host.command(arguments);
    let mut command = host.ns.command(wrapper[0]);
    command.args(&wrapper[1..]).arg(netdp.get_program()).args(netdp.get_args());
    run(&mut command)
}

#[test]
fn without_root_nothing_is_begun_and_the_privilege_is_named() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let before = Snapshot::of(&host);
    // Somewhere that a user without rights can read it.
    let copy = bed.file("netdp");
    std::fs::copy(tests::topology::netdp_binary(), &copy).unwrap();
    let mut command = host.ns.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    command
        .arg("--run-dir")
        .arg(host.run_dir())
        .arg("--state-dir")
        .arg(host.state_dir())
        .args(["up", "--once"]);
    let ran = run(&mut command).exits(3).says("error: ");
    let words = ["root", "CAP_", "privilege"];
    assert!(words.iter().any(|word| ran.stderr.contains(word)), "{ran}");
    before.assert_still(&host);
}

#[test]
fn without_a_capability_it_is_named() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let before = Snapshot::of(&host);
    for (drop, name) in [("-bpf,-sys_admin", "BPF"), ("-net_admin", "NET_ADMIN")] {
        let set = format!("--bounding-set={drop}");
        let inheritable = format!("--inh-caps={drop}");
        let ran = with(&host, &["setpriv", &set, &inheritable], &["up", "--once"]).exits(3);
        assert!(ran.stderr.contains(name), "{name}\n{ran}");
        before.assert_still(&host);
        let check = with(&host, &["setpriv", &set, &inheritable], &["check"]).exits(3);
        assert!(check.stdout.contains(name), "{name}\n{check}");
    }
}

#[test]
fn sysctls_that_cannot_be_written_are_named() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let before = Snapshot::of(&host);
    let wrapper = "mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec \"$@\"";
    let ran = with(&host, &["unshare", "-m", "sh", "-c", wrapper, "sh"], &["up", "--once"]).exits(3);
    assert!(ran.stderr.contains("sysctl"), "{ran}");
    before.assert_still(&host);
}

/// A directory that is hidden below an empty one until this is dropped.
struct Hidden(&'static str);

impl Hidden {
    fn new(host: &Host, path: &'static str) -> Self {
        host.ns.sh(&format!("mount -t tmpfs hidden {path}")).done();
        Self(path)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = nix::mount::umount(self.0);
    }
}

#[test]
fn what_check_calls_absent_is_not_needed() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _btf = Hidden::new(&host, "/sys/kernel/btf");
    let _cgroups = Hidden::new(&host, "/sys/fs/cgroup");
    let absent = host.netdp(&["check"]).ok();
    assert!(absent.stdout.lines().any(|line| line.starts_with("BTF") && line.contains("absent")), "{absent}");
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = tests::server::Server::start(&c1.ns, 80);
    tests::server::assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    host.down();
}
