//! What a host lacks is named, with exit code 3, before anything is changed.

use aya::sys::BpfHelper;
use tests::older_kernel::{Lack, run_without};
use tests::process::run;
use tests::server::{Server, ask_stream, assert_served, connect};
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
    let _server = Server::start(&c1.ns, 80);
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    host.down();
}

#[test]
fn helper_that_the_kernel_lacks_is_named_with_the_kernel_that_has_it() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let before = Snapshot::of(&host);
    let lack = Lack::Helper(BpfHelper::BPF_FUNC_set_retval as u32);
    let ran = run_without(lack, &mut host.command(&["up", "--once"])).exits(3);
    let ran = ran.says("this host lacks helper bpf_set_retval (the kernel lacks it (Linux 5.18 has it))");
    assert!(!ran.stderr.contains("bpf_loop"), "what is there is not named\n{ran}");
    before.assert_still(&host);
    assert!(!host.run_dir().exists() && !host.state_dir().exists(), "it came before all else");
    let check = run_without(lack, &mut host.command(&["check"])).exits(3);
    let missing: Vec<_> = check.stdout.lines().filter(|line| line.contains("missing")).collect();
    assert!(matches!(missing[..], [one] if one.starts_with("helper bpf_set_retval")), "{check}");
}

/// All that a kernel which refuses a program may be told, and all that an operator is told.
const TOO_LARGE: &str = "too large for the kernel's verifier: it gave up after 1000001 instructions";

#[test]
fn program_that_the_kernel_refuses_is_one_line_and_leaves_nothing() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let before = Snapshot::of(&host);
    let ran = run_without(Lack::Patience, &mut host.command(&["up", "--once"])).exits(3);
    let ran = ran.says(&format!("error: the kernel refuses the program from_container: {TOO_LARGE}"));
    assert!(ran.stderr.lines().count() < 4 && !ran.stderr.contains("processed"), "{ran}");
    assert!(ran.stderr.contains("netdp check shows") && !ran.stderr.contains("as root"), "{ran}");
    before.assert_still(&host);
}

#[test]
fn program_that_the_kernel_refuses_leaves_the_running_ones() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = Server::start(&c1.ns, 80);
    let open = connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    ask_stream(&open).unwrap();
    let (before, status) = (Snapshot::of(&host), host.json(&["status"]));
    let ran = run_without(Lack::Patience, &mut host.command(&["up", "--once"])).exits(3).says(TOO_LARGE);
    assert_eq!(host.json(&["status"])["hooks"], status["hooks"], "{ran}");
    before.assert_still(&host);
    ask_stream(&open).unwrap();
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    host.up_once();
    ask_stream(&open).unwrap();
}
