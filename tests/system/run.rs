//! `netdp run` and its family: processes in networks of their own, on real sockets.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use tests::process::{Ran, Service, eventually};
use tests::server::ask_tcp;
use tests::snapshot::Snapshot;
use tests::topology::{Bed, Host};

const SOON: Duration = Duration::from_secs(10);

/// A host that is up.
fn up(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    host
}

/// Starts a process in the background and says its id.
fn start(host: &Host, arguments: &[&str]) -> String {
    let ran = host.netdp(&[&["run", "-d"], arguments].concat()).ok();
    ran.stdout.trim().to_owned()
}

fn exec(host: &Host, name: &str, line: &str) -> Ran {
    host.netdp(&["exec", name, "--", "sh", "-c", line])
}

fn address(host: &Host, name: &str, network: &str) -> String {
    let all = host.json(&["inspect", name]);
    all["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap().to_owned()
}

fn state(host: &Host, name: &str) -> Value {
    host.json(&["inspect", name])["State"].clone()
}

fn pid(host: &Host, name: &str) -> Pid {
    let pid = state(host, name)["Pid"].as_i64().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// Waits until a line in a container succeeds: a server may have yet to open its socket.
fn soon(host: &Host, name: &str, line: &str) {
    eventually(line, SOON, || exec(host, name, line).code == Some(0));
}

/// A server that says who it is on a port.
fn server(word: &str, port: u16) -> String {
    format!(
        "import socket\ns=socket.create_server(('',{port}))\nwhile True:\n c=s.accept()[0]\n c.sendall(b'{word}\\n')\n c.close()"
    )
}

/// Asks such a server.
fn ask(to: &str, port: u16) -> String {
    format!(
        "python3 -c \"import socket;print(socket.create_connection(('{to}',{port}),2).recv(99).decode().strip())\""
    )
}

#[test]
fn two_processes_reach_each_other_and_leave_nothing() {
    let bed = Bed::new();
    let host = up(&bed);
    let before = Snapshot::of(&host);
    let id = start(&host, &["--name", "one", "--", "python3", "-c", &server("one", 80)]);
    start(&host, &["--name", "two", "--", "sleep", "300"]);
    assert_eq!(id.len(), 64);
    let (one, two) = (address(&host, "one", "bridge"), address(&host, "two", "bridge"));
    exec(&host, "one", &format!("ping -c 1 -W 2 {two}")).done();
    soon(&host, "two", &ask(&one, 80));
    assert_eq!(exec(&host, "two", &ask(&one, 80)).ok().stdout, "one\n");
    assert_eq!(exec(&host, "one", "hostname").ok().stdout.trim(), &id[..12]);
    assert_eq!(exec(&host, "one", "cat /etc/hostname").ok().stdout.trim(), &id[..12]);
    let hosts = exec(&host, "one", "cat /etc/hosts").ok().stdout;
    assert!(hosts.contains(&format!("{one}\t{}", &id[..12])), "{hosts}");
    assert!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
    assert!(hosts.lines().any(|line| line.starts_with("::1\tlocalhost")), "{hosts}");
    let resolv = exec(&host, "one", "cat /etc/resolv.conf").ok().stdout;
    // Nobody answers on a gateway after `up --once`.
    assert_eq!(resolv, fs::read_to_string("/etc/resolv.conf").unwrap());
    host.netdp(&["rm", "-f", "one", "two"]).done();
    assert_eq!(host.json(&["ps", "-a"]), serde_json::json!([]));
    before.assert_still(&host);
    assert_eq!(fs::read_dir(host.run_dir().join("processes")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(host.state_dir().join("logs")).unwrap().count(), 0);
}

#[test]
fn the_exit_code_is_the_process_own() {
    let bed = Bed::new();
    let host = up(&bed);
    for (code, command) in [
        (0, &["true"][..]),
        (7, &["sh", "-c", "exit 7"]),
        (143, &["sh", "-c", "kill -TERM $$"]),
        (137, &["sh", "-c", "kill -KILL $$"]),
        (127, &["no-such-command"]),
        (126, &["/etc/passwd"]),
    ] {
        let ran = host.netdp(&[&["run", "--rm", "--"], command].concat());
        assert_eq!(ran.code, Some(code), "{ran}");
    }
    let ran = host.netdp(&["run", "--rm", "-d", "--", "no-such-command"]).exits(127);
    assert!(ran.stderr.contains("error: cannot execute no-such-command"), "{ran}");
    let ran = host.netdp(&["run", "--rm", "-w", "/nowhere", "--", "true"]).exits(1);
    assert!(ran.stderr.contains("cannot begin in /nowhere"), "{ran}");
    let ran = host.netdp(&["run", "--rm", "-u", "nobody-at-all", "--", "true"]).exits(1);
    assert!(ran.stderr.contains("unable to find user nobody-at-all"), "{ran}");
    let ran = host.netdp(&[
        "run",
        "--rm",
        "-u",
        "65534",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "--",
        "sh",
        "-c",
        "id -u; pwd; echo $A",
    ]);
    assert_eq!(ran.ok().stdout, "65534\n/tmp\nb\n");
    // Any user may use a low port there, as in Docker's containers.
    let low = "import socket;socket.create_server(('',80))";
    host.netdp(&["run", "--rm", "-u", "65534", "--", "python3", "-Sc", low]).done();
    assert_eq!(host.json(&["ps", "-a"]), serde_json::json!([]), "nothing is left of any of them");
}

#[test]
fn the_log_is_kept_and_the_end_written_down() {
    let bed = Bed::new();
    let host = up(&bed);
    start(
        &host,
        &["--name", "job", "--", "sh", "-c", "echo out; echo err >&2; sleep 0.3; echo last; exit 3"],
    );
    assert_eq!(host.netdp(&["logs", "-f", "job"]).ok().stdout, "out\nerr\nlast\n");
    assert_eq!(host.netdp(&["wait", "job"]).ok().stdout, "3\n");
    assert_eq!(host.netdp(&["logs", "--tail", "1", "job"]).ok().stdout, "last\n");
    let state = state(&host, "job");
    assert_eq!(
        (&state["Status"], &state["ExitCode"], &state["Pid"]),
        (&"exited".into(), &3.into(), &0.into())
    );
    assert!(host.netdp(&["ps"]).ok().stdout.lines().count() == 1, "it runs no more");
    let all = host.netdp(&["ps", "-a"]).ok().stdout;
    assert!(all.contains("Exited (3)") && all.contains("sh -c"), "{all}");
    let ran = host.netdp(&["run", "--name", "job", "--", "true"]).exits(1);
    assert!(ran.stderr.contains("the name job is already in use"), "{ran}");
    host.netdp(&["exec", "job", "--", "true"]).exits(1).says("job is not running").done_failing();
    host.netdp(&["rm", "job"]).done();
    host.netdp(&["run", "--rm", "--name", "job", "--", "true"]).done();
}

/// Whether the process has a signal in a mask of its `/proc/PID/status`: `SigCgt`, caught, or `SigIgn`, ignored.
fn has_signal(host: &Host, name: &str, mask: &str, signal: Signal) -> bool {
    let pid = state(host, name)["Pid"].as_i64().unwrap_or(0);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix(mask)?.strip_prefix(":\t"));
    let bits = bits.map_or(0, |bits| u64::from_str_radix(bits, 16).unwrap());
    pid != 0 && bits & (1 << (signal as u32 - 1)) != 0
}

#[test]
fn stop_asks_and_then_kills() {
    let bed = Bed::new();
    let host = up(&bed);
    start(&host, &["--name", "good", "--", "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done"]);
    start(
        &host,
        &["--name", "deaf", "-p", "8080:80", "--", "sh", "-c", "trap '' TERM; sleep 300 & wait; sleep 300"],
    );
    host.netdp(&["rm", "good"]).exits(1).says("cannot remove good: it is running").done_failing();
    eventually("both have set their traps", SOON, || {
        has_signal(&host, "good", "SigCgt", Signal::SIGTERM)
            && has_signal(&host, "deaf", "SigIgn", Signal::SIGTERM)
    });
    host.netdp(&["stop", "good"]).done();
    assert_eq!(state(&host, "good")["ExitCode"], 5);
    let begin = Instant::now();
    host.netdp(&["stop", "-t", "1", "deaf"]).done();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(state(&host, "deaf")["ExitCode"], 137);
    // The port and the address are free, and so is the name after `rm`.
    host.netdp(&["run", "--rm", "-p", "8080:80", "--", "true"]).done();
    host.netdp(&["stop", "good"]).done();
    host.netdp(&["rm", "good", "deaf"]).done();
}

#[test]
fn signals_reach_the_process_in_the_foreground() {
    let bed = Bed::new();
    let host = up(&bed);
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGUSR1, "USR1"),
    ] {
        let script = format!("trap 'echo {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let mut service =
            Service::start(&mut host.command(&["run", "--rm", "--name", "fore", "--", "sh", "-c", &script]));
        eventually("it runs", SOON, || {
            assert!(service.ended().is_none(), "ended early");
            host.netdp(&["inspect", "fore"]).code == Some(0) && has_signal(&host, "fore", "SigCgt", signal)
        });
        kill(Pid::from_raw(service.id().cast_signed()), signal).unwrap();
        let ran = service.wait(SOON);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(9), format!("ready\n{name}\n").as_str()), "{ran}");
    }
    assert_eq!(host.json(&["ps", "-a"]), serde_json::json!([]));
}

#[test]
fn modes_share_the_networks_that_they_name() {
    let bed = Bed::new();
    let host = up(&bed);
    let links = host.netdp(&["run", "--rm", "--network", "host", "--", "ip", "-br", "link"]).ok().stdout;
    assert!(links.contains("up0") && links.contains("netdp0"), "{links}");
    let ran = host.netdp(&["run", "--rm", "--network", "host", "-p", "80:80", "--", "true"]).ok();
    assert!(ran.stderr.contains("published ports are discarded when using host network mode"), "{ran}");
    let links = host.netdp(&["run", "--rm", "--network", "none", "--", "ip", "-br", "link"]).ok().stdout;
    assert!(links.lines().count() == 1 && links.contains("UNKNOWN"), "lo alone, and up: {links}");
    start(&host, &["--name", "web", "--hostname", "www", "--", "python3", "-c", &server("web", 80)]);
    soon(&host, "web", &ask("127.0.0.1", 80));
    let beside = ["run", "--rm", "--network", "container:web", "--", "sh", "-c"];
    let ran = host.netdp(&[&beside[..], &[&ask("127.0.0.1", 80)]].concat()).ok();
    assert_eq!(ran.stdout, "web\n");
    let ran = host.netdp(&[&beside[..], &["hostname; grep -c www /etc/hosts"]].concat()).ok();
    assert_eq!(ran.stdout, "www\n1\n");
    host.netdp(&["stop", "-t", "0", "web"]).done();
    host.netdp(&["run", "--rm", "--network", "container:web", "--", "true"])
        .exits(1)
        .says("cannot join network of a non running container: web")
        .done_failing();
    host.netdp(&["rm", "web"]).done();
}

#[test]
fn several_networks_each_with_an_address_that_was_asked_for() {
    let bed = Bed::new();
    let host = up(&bed);
    let _controller = host.up();
    host.netdp(&["network", "create", "--subnet", "10.5.0.0/24", "blue"]).done();
    host.netdp(&["network", "create", "--subnet", "10.6.0.0/24", "red"]).done();
    start(
        &host,
        &[
            "--name",
            "two",
            "--network",
            "name=blue,ip=10.5.0.9",
            "--network",
            "name=red,ip=10.6.0.7,alias=x",
            "--",
            "sleep",
            "300",
        ],
    );
    assert_eq!(
        (address(&host, "two", "blue"), address(&host, "two", "red")),
        ("10.5.0.9".into(), "10.6.0.7".into())
    );
    let shown = exec(&host, "two", "ip -4 -br address; cat /etc/hosts /etc/resolv.conf").ok().stdout;
    for part in [
        "10.5.0.9/24",
        "10.6.0.7/24",
        "10.5.0.9\t",
        "10.6.0.7\t",
        "nameserver 10.5.0.1",
        "nameserver 10.6.0.1",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // The file of a process that runs follows its networks.
    host.netdp(&["detach", "--network", "red", "two"]).done();
    let hosts = exec(&host, "two", "cat /etc/hosts").ok().stdout;
    assert!(hosts.contains("10.5.0.9") && !hosts.contains("10.6.0.7"), "{hosts}");
    host.netdp(&["network", "connect", "--ip", "10.6.0.8", "red", "two"]).done();
    let hosts = exec(&host, "two", "cat /etc/hosts").ok().stdout;
    assert!(hosts.contains("10.5.0.9") && hosts.contains("10.6.0.8"), "{hosts}");
    for network in ["red", "blue"] {
        host.netdp(&["network", "disconnect", network, "two"]).done();
    }
    assert_eq!(state(&host, "two")["Running"], true, "without any network it runs on");
    host.netdp(&["network", "connect", "--ip", "10.5.0.9", "blue", "two"]).done();
    exec(&host, "two", "ping -c 1 -W 2 10.5.0.1").done();
    // The second network refuses, and the first one is as it was.
    let refused =
        ["run", "--network", "name=red,ip=10.6.0.7", "--network", "name=blue,ip=10.5.0.9", "--", "true"];
    host.netdp(&refused).exits(1).says("10.5.0.9").done_failing();
    assert_eq!(host.json(&["ps", "-a"]).as_array().unwrap().len(), 1);
    host.netdp(&["rm", "-f", "two"]).done();
}

#[test]
fn a_link_is_a_line_and_variables_one_way() {
    let bed = Bed::new();
    let host = up(&bed);
    start(&host, &["--name", "db", "-e", "MODE=x", "--expose", "5432", "--", "sleep", "300"]);
    let db = address(&host, "db", "bridge");
    let ran = host
        .netdp(&[
            "run",
            "--rm",
            "--name",
            "app",
            "--link",
            "db:database",
            "--",
            "sh",
            "-c",
            "env; cat /etc/hosts; ping -c 1 -W 2 database",
        ])
        .ok();
    for line in [
        "DATABASE_NAME=/app/database",
        "DATABASE_ENV_MODE=x",
        &format!("DATABASE_PORT=tcp://{db}:5432"),
        &format!("DATABASE_PORT_5432_TCP=tcp://{db}:5432"),
        &format!("DATABASE_PORT_5432_TCP_ADDR={db}"),
        "DATABASE_PORT_5432_TCP_PORT=5432",
        "DATABASE_PORT_5432_TCP_PROTO=tcp",
    ] {
        assert!(ran.stdout.lines().any(|it| it == line), "{line}: {ran}");
    }
    assert!(ran.stdout.contains(&format!("{db}\tdatabase ")), "{ran}");
    let hosts = exec(&host, "db", "cat /etc/hosts").ok().stdout;
    assert!(!hosts.contains("app"), "{hosts}");
    host.netdp(&["run", "--link", "nobody", "--", "true"])
        .exits(1)
        .says("no such endpoint: nobody")
        .done_failing();
    host.netdp(&["stop", "-t", "0", "db"]).done();
    host.netdp(&["run", "--link", "db", "--", "true"]).exits(1).says("it is not running").done_failing();
    host.netdp(&["rm", "db"]).done();
}

#[test]
fn the_operators_lines_of_hosts_and_resolvers() {
    let bed = Bed::new();
    let host = up(&bed);
    let _controller = host.up();
    let line = [
        "run",
        "--rm",
        "--add-host",
        "a.example:192.0.2.7",
        "--add-host",
        "me:host-gateway",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "corp.example",
        "--dns-opt",
        "timeout:2",
        "--",
        "cat",
        "/etc/hosts",
        "/etc/resolv.conf",
    ];
    let shown = host.netdp(&line).ok().stdout;
    for part in [
        "192.0.2.7\ta.example\n",
        "172.17.0.1\tme\n",
        "nameserver 172.17.0.1\n",
        "search corp.example\n",
        "options timeout:2 ndots:0\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let line = ["run", "--rm", "--network", "none", "--dns", "192.0.2.53", "--", "cat", "/etc/resolv.conf"];
    assert!(host.netdp(&line).ok().stdout.starts_with("nameserver 192.0.2.53\n"));
    let own = fs::read_to_string("/etc/hosts").unwrap();
    let line =
        ["run", "--rm", "--network", "host", "--add-host", "a.example:192.0.2.7", "--", "cat", "/etc/hosts"];
    let shown = host.netdp(&line).ok().stdout;
    assert!(shown.starts_with(own.trim_end()) && shown.ends_with("192.0.2.7\ta.example\n"), "{shown}");
    assert_eq!(fs::read_to_string("/etc/hosts").unwrap(), own, "the host's own file is as it was");
}

#[test]
fn a_published_process_is_reached_from_outside_whoever_is_killed() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let id = start(
        &host,
        &[
            "--name",
            "web",
            "-p",
            "8080:80",
            "--",
            "python3",
            "-c",
            "import socketserver\nclass H(socketserver.StreamRequestHandler):\n def handle(s):\n  s.rfile.readline();s.wfile.write(('web %s:%d\\n'%s.client_address).encode())\nsocketserver.ThreadingTCPServer.allow_reuse_address=True\nsocketserver.ThreadingTCPServer(('',80),H).serve_forever()",
        ],
    );
    let reach = || ask_tcp(&bed.outside.ns, (host.address, 8080)).is_ok_and(|answer| answer.name == "web");
    eventually("it is reached", SOON, reach);
    drop(controller.kill());
    assert!(reach(), "without the controller");
    let record: Value = serde_json::from_slice(
        &fs::read(host.run_dir().join("processes").join(&id).join("record.json")).unwrap(),
    )
    .unwrap();
    let monitor = i32::try_from(record["monitor"]["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
    assert!(reach(), "without its monitor");
    let controller = host.up();
    assert!(reach(), "with another controller");
    assert_eq!(state(&host, "web")["Running"], true);
    // Its own netdp did not see it end; the controller notices by its interface, and what it had is free.
    kill(pid(&host, "web"), Signal::SIGKILL).unwrap();
    eventually("its end is written down", SOON, || {
        host.netdp(&["ps", "-a"]).ok().stdout.contains("Exited (?)")
    });
    assert_eq!(host.netdp(&["wait", "web"]).ok().stdout, "unknown\n");
    host.netdp(&["run", "--rm", "-p", "8080:80", "--", "true"]).done();
    host.netdp(&["rm", "web"]).done();
    assert_eq!(host.json(&["ps", "-a"]), serde_json::json!([]));
    drop(controller);
}

#[test]
fn a_process_lives_through_down_and_up() {
    let bed = Bed::new();
    let host = up(&bed);
    let before = {
        host.down();
        let before = Snapshot::of(&host);
        host.up_once();
        before
    };
    start(&host, &["--name", "web", "--", "python3", "-c", &server("web", 80)]);
    soon(&host, "web", &ask("127.0.0.1", 80));
    let first = pid(&host, "web");
    host.down();
    before.assert_still(&host);
    exec(&host, "web", &ask("127.0.0.1", 80)).done();
    host.up_once();
    let web = address(&host, "web", "bridge");
    start(&host, &["--name", "client", "--", "sleep", "300"]);
    exec(&host, "client", &ask(&web, 80)).done();
    assert_eq!(pid(&host, "web"), first);
    host.netdp(&["rm", "-f", "web", "client"]).done();
}

#[test]
fn children_end_with_the_process() {
    let bed = Bed::new();
    let host = up(&bed);
    start(&host, &["--name", "parent", "--", "sh", "-c", "sleep 4711 & sleep 4711 & exec sleep 300"]);
    host.netdp(&["exec", "parent", "--", "sh", "-c", "setsid sleep 4711 >/dev/null 2>&1 &"]).done();
    let mounts = fs::read_link(format!("/proc/{}/ns/mnt", pid(&host, "parent"))).unwrap();
    let left = || {
        let all = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|it| fs::read_link(it.ok()?.path().join("ns/mnt")).ok());
        all.filter(|it| *it == mounts).count()
    };
    eventually("all have begun", SOON, || left() == 4);
    host.netdp(&["stop", "-t", "1", "parent"]).done();
    assert_eq!(left(), 0);
    host.netdp(&["rm", "parent"]).done();
}

#[test]
fn run_that_is_killed_half_way_leaves_nothing() {
    let bed = Bed::new();
    let host = up(&bed);
    for after in [0, 10, 20, 30, 40, 60, 80, 120] {
        let service = Service::start(&mut host.command(&["run", "--name", "half", "--", "sleep", "300"]));
        std::thread::sleep(Duration::from_millis(after));
        drop(service.kill());
        if host.netdp(&["inspect", "half"]).code == Some(0) {
            // The process may have begun already: it lives, and is ended as any other.
            host.netdp(&["rm", "-f", "half"]).done();
        }
    }
    host.netdp(&["run", "--rm", "--name", "half", "--ip", "172.17.0.2", "--", "true"]).done();
    assert_eq!(host.json(&["ps", "-a"]), serde_json::json!([]));
    let network: Value = host.json(&["network", "inspect", "bridge"]);
    let network = if network.is_array() { network[0].clone() } else { network };
    assert_eq!(network["Containers"], serde_json::json!({}));
}

#[test]
fn ten_at_once_have_ten_addresses() {
    let bed = Bed::new();
    let host = up(&bed);
    let names: Vec<String> = (0..10).map(|number| format!("p{number}")).collect();
    let services: Vec<Service> = names
        .iter()
        .map(|name| Service::start(&mut host.command(&["run", "-d", "--name", name, "--", "sleep", "300"])))
        .collect();
    for service in services {
        assert_eq!(service.wait(Duration::from_mins(1)).code, Some(0));
    }
    let mut addresses: Vec<Ipv4Addr> =
        names.iter().map(|name| address(&host, name, "bridge").parse().unwrap()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 10);
    let all: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    host.netdp(&all).done();
}

#[test]
fn an_attached_endpoint_takes_exec_and_no_stop() {
    let bed = Bed::new();
    let host = up(&bed);
    let c1 = bed.container(&host, "c1", &[]);
    let shown = host.netdp(&["exec", "c1", "--", "ip", "-4", "-br", "address"]).ok().stdout;
    assert!(shown.contains(&c1.address.to_string()), "{shown}");
    host.netdp(&["stop", "c1"]).exits(1).says("c1 was attached, not run").done_failing();
    host.netdp(&["rm", "-f", "c1"]).exits(1).says("netdp detach").done_failing();
    host.netdp(&["run", "--name", "c1", "--", "true"])
        .exits(1)
        .says("the name c1 is already in use")
        .done_failing();
    let ran =
        host.netdp(&["run", "--rm", "--network", "container:c1", "--", "ip", "-4", "-br", "address"]).ok();
    assert!(ran.stdout.contains(&c1.address.to_string()), "{ran}");
}

#[test]
fn names_follow_the_networks_of_a_process_that_runs() {
    let bed = Bed::new();
    let host = up(&bed);
    // Nobody serves names yet: it has the host's servers, until somebody does.
    start(&host, &["--name", "early", "--", "sleep", "300"]);
    let _controller = host.up();
    let servers = |name: &str| exec(&host, name, "grep nameserver /etc/resolv.conf").stdout;
    eventually("it is told who knows names", SOON, || servers("early") == "nameserver 172.17.0.1\n");
    host.netdp(&["network", "create", "--subnet", "10.5.0.0/24", "blue"]).done();
    start(&host, &["--name", "db", "--network", "blue", "--", "sleep", "300"]);
    let writes = "echo nameserver 192.0.2.9 > /etc/resolv.conf; sleep 300";
    start(&host, &["--name", "own", "--", "sh", "-c", writes]);
    eventually("it has written its file", SOON, || servers("own") == "nameserver 192.0.2.9\n");
    for name in ["early", "own"] {
        host.netdp(&["network", "connect", "blue", name]).done();
        host.netdp(&["network", "disconnect", "bridge", name]).done();
    }
    assert_eq!(servers("early"), "nameserver 10.5.0.1\n");
    let found = exec(&host, "early", "getent ahostsv4 db").ok().stdout;
    assert!(found.starts_with(&address(&host, "db", "blue")), "{found}");
    assert_eq!(servers("own"), "nameserver 192.0.2.9\n", "what a process has written stays");
    host.netdp(&["rm", "-f", "early", "own", "db"]).done();
}

/// In mounts of its own a process says who its user is, and which libraries there are.
#[test]
fn nothing_is_started_in_mounts_that_a_process_has_made() {
    let bed = Bed::new();
    let host = up(&bed);
    start(&host, &["--name", "moved", "--", "unshare", "--mount", "sleep", "300"]);
    eventually("it has gone", SOON, || {
        let ran = exec(&host, "moved", "true");
        ran.code == Some(1) && ran.stderr.contains("moved has left the mount namespace that netdp gave it")
    });
    host.netdp(&["rm", "-f", "moved"]).done();
}

#[test]
fn name_of_a_process_that_a_boot_has_ended_is_given_on() {
    let bed = Bed::new();
    let host = up(&bed);
    start(&host, &["--name", "web", "-p", "8080:80", "--", "sleep", "300"]);
    let record =
        host.run_dir().join("processes").join(host.json(&["inspect", "web"])["Id"].as_str().unwrap());
    let text = fs::read_to_string(record.join("record.json")).unwrap();
    let monitor = serde_json::from_str::<Value>(&text).unwrap()["monitor"]["pid"].as_i64().unwrap();
    for pid in [Pid::from_raw(i32::try_from(monitor).unwrap()), pid(&host, "web")] {
        kill(pid, Signal::SIGKILL).unwrap();
    }
    // The run directory is memory.
    fs::remove_dir_all(&record).unwrap();
    eventually("it is gone", SOON, || host.json(&["inspect", "web"])["State"]["Status"] == "gone");
    host.netdp(&["run", "--rm", "--name", "web", "-p", "8080:80", "--", "true"]).done();
    assert_eq!(host.json(&["ps", "-a"]), serde_json::json!([]));
    let c1 = bed.container(&host, "c1", &[]);
    host.netdp(&["run", "--name", "c1", "--", "true"]).exits(1).says("c1").done_failing();
    drop(c1);
}

#[test]
fn process_in_the_network_of_the_host_has_no_ports_and_joins_no_network() {
    let bed = Bed::new();
    let host = up(&bed);
    start(&host, &["--name", "here", "--network", "host", "--", "sleep", "300"]);
    start(&host, &["--name", "alone", "--network", "none", "--", "sleep", "300"]);
    for (name, said) in [("here", "container sharing network namespace"), ("alone", "in private (none) mode")]
    {
        assert_eq!(host.netdp(&["port", name]).ok().stdout, "");
        assert_eq!(host.json(&["port", name]), serde_json::json!({}));
        host.netdp(&["port", name, "80"]).exits(1).done_failing();
        host.netdp(&["network", "connect", "bridge", name]).exits(1).says(said).done_failing();
    }
    start(&host, &["--name", "off", "--", "sleep", "300"]);
    host.netdp(&["detach", "off"]).done();
    host.netdp(&["network", "connect", "bridge", "off"])
        .exits(1)
        .says("no such endpoint: off")
        .done_failing();
    host.netdp(&["rm", "-f", "here", "alone", "off"]).done();
}
