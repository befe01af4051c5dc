//! `netdp run`: what is refused, and what the commands about processes say of those that are not there.

use tests::topology::{Bed, Host};

use crate::bad_input::assert_refused;

fn up(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--subnet", "10.5.0.0/24", "blue"]).done();
    host.netdp(&["network", "create", "--internal", "--subnet", "10.6.0.0/24", "shut"]).done();
    host
}

fn refused(host: &Host, options: &str, code: i32, words: &str) {
    let line: Vec<&str> =
        ["run"].into_iter().chain(options.split_whitespace()).chain(["--", "true"]).collect();
    assert_refused(host, &line, code, words);
    let left = host.run_dir().join("processes").read_dir().map_or(0, Iterator::count);
    assert_eq!(left, 0, "{options}: a record is left");
}

#[test]
fn options_that_contradict_each_other_are_told_in_dockers_words() {
    let bed = Bed::new();
    let host = up(&bed);
    for (options, words) in [
        (
            "--network container:x -p 80:80",
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            "--network container:x --expose 80",
            "conflicting options: port exposing and the container type network mode",
        ),
        ("--network container:x --hostname h", "conflicting options: hostname and the network mode"),
        ("--network container:x --dns 192.0.2.1", "conflicting options: dns and the network mode"),
        ("--network container:x --add-host a:192.0.2.1", "conflicting options: custom host-to-IP mapping"),
        ("--network container:x --network blue", "cannot be connected to any other network"),
        ("--network host --network blue", "cannot be connected to any other network"),
        ("--network none --network blue", "private (none) mode"),
        ("--network host --link x", "conflicting options: host type networking can't be used with links"),
        ("--network host --ip 10.5.0.9", "conflicting options: user specified IP address"),
        ("--network name=blue,ip=10.5.0.9 --ip 10.5.0.8", "conflicting options: cannot specify both --ip"),
        (
            "--network-alias a",
            "network-scoped alias is supported only for containers in user defined networks",
        ),
    ] {
        refused(&host, options, 1, words);
    }
}

#[test]
fn what_cannot_be_had_leaves_nothing() {
    let bed = Bed::new();
    let host = up(&bed);
    for (options, words) in [
        ("--network blu", "no such network: blu"),
        ("--network container:nobody", "no such endpoint: nobody"),
        ("--network blue --network blue", "network blue is named twice"),
        ("--network blue --ip 10.6.0.9", "10.6.0.9"),
        ("--network blue --ip6 fd00::9", "fd00::9"),
        ("--network shut -p 80:80", "it is internal"),
        ("--link nobody", "no such endpoint: nobody"),
        ("-p 8080:80 -p 8080:81", "port is already allocated"),
        ("-w /nowhere", "cannot begin in /nowhere"),
        ("-u nobody-at-all", "unable to find user nobody-at-all"),
        ("-d --rm -u 0:no-such-group", "unable to find group no-such-group"),
    ] {
        refused(&host, options, 1, words);
    }
}

#[test]
fn wrong_words_exit_with_2() {
    let bed = Bed::new();
    let host = up(&bed);
    for options in [
        "--network name=blue,colour=red",
        "--network ip=10.5.0.9",
        "--add-host a",
        "--add-host a:300.1.1.1",
        "--link :a",
        "--link a:",
        "--dns nine",
        "--hostname a..b",
        "--name a/b",
        "--expose 1:2",
        "-e =x",
    ] {
        refused(&host, options, 2, "");
    }
    assert_refused(&host, &["run"], 2, "");
    assert_refused(&host, &["exec", "web"], 2, "");
    assert_refused(&host, &["stop", "-s", "NOSIG", "web"], 2, "");
}

#[test]
fn who_is_not_there_is_told() {
    let bed = Bed::new();
    let host = up(&bed);
    for arguments in [
        &["stop", "web"][..],
        &["rm", "-f", "web"],
        &["logs", "web"],
        &["wait", "web"],
        &["exec", "web", "--", "true"],
    ] {
        assert_refused(&host, arguments, 1, "no such endpoint: web");
    }
    host.netdp(&["run", "-d", "--name", "web", "--", "sleep", "60"]).done();
    host.netdp(&["stop", "wep"]).exits(1).says("did you mean web?").done_failing();
    let c1 = bed.namespace("c1");
    let attach = ["attach", "--netns", c1.path().to_str().unwrap(), "--name", "web"];
    host.netdp(&attach).exits(1).done_failing();
    host.netdp(&["stop", "-t", "0", "web"]).done();
    host.netdp(&attach).exits(1).says("the name web is already in use").done_failing();
    host.netdp(&["rm", "web"]).done();
    host.netdp(&attach).done();
}

#[test]
fn without_up_there_are_the_modes_that_need_none() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.netdp(&["run", "--", "true"]).exits(1).says("netdp is not up").done_failing();
    let ran = host.netdp(&["run", "--rm", "--network", "none", "--", "echo", "alone"]).ok();
    assert_eq!(ran.stdout, "alone\n");
    host.netdp(&["run", "--rm", "--network", "host", "--", "true"]).done();
}
