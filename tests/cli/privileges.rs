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
