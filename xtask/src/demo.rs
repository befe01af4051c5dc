//! `demo`: the main job, shown on a throw-away host.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lacking::Lacking;
use crate::stage::Stage;
use crate::throughput::{self, Way};
use crate::workspace::Workspace;
use crate::{build, packages, setup};

/// Options of `demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave everything standing and print how to look inside
    #[arg(long)]
    keep: bool,
}

/// A heading, and what is shown below it.
type Scene = (&'static str, fn(&Stage) -> Result<()>);

const STORY: &[Scene] = &[
    ("A host with one uplink, a neighbour outside; the host forwards nothing and has a firewall", wire),
    ("netdp on the host, and a network", bring_up),
    ("Two containers; one serves, and its ports are published", attach),
    ("From container to container", between_containers),
    ("From outside, and from the host itself, to the published port", published),
    ("From a container to the outside, which sees the host's address", outwards),
    ("Throughput", measure),
    ("What netdp knows of it", watch),
];

/// What answers on port 80 in `web` and in `outside`, and says whom it sees.
const NGINX: &str = "user root;\nevents {}\nhttp {\n  access_log off;\n  server {\n    listen 80;\n    \
    location / { return 200 \"hello $remote_addr, this is $hostname_here\\n\"; }\n  }\n}\n";

/// The bare pair comes first and last: the difference of the two is what the machine itself varies by.
const WAYS: &[Way] = &[
    Way { name: "bare veth pair", from: "bare1", to: "198.51.100.2" },
    Way { name: "container to container", from: "client", to: "10.20.0.2" },
    Way { name: "container to outside (masquerade)", from: "client", to: "192.0.2.1" },
    Way { name: "outside to published port", from: "outside", to: "192.0.2.2" },
    Way { name: "host to published port, 127.0.0.1", from: "host", to: "127.0.0.1" },
    Way { name: "container to host's published port", from: "client", to: "192.0.2.2" },
    Way { name: "bare veth pair, again", from: "bare1", to: "198.51.100.2" },
];

/// Sets up, builds, and plays the story.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !packages::is_root()? {
        return Err(Lacking(
            "the demo makes namespaces and loads programs into the kernel, which only root may do.\n\
             run: sudo -E env \"PATH=$PATH\" cargo xtask demo"
                .into(),
        )
        .into());
    }
    setup::run()?;
    build::release()?;
    let start = Instant::now();
    let stage = Stage::open(&Workspace::find()?.netdp("release"), args.keep)?;
    let played = play(&stage, args.keep);
    if args.keep {
        stage.print_how_to_look_inside();
    }
    played.context("the demo stopped (--keep leaves it standing to look inside)")?;
    println!("\ndemo: all of it worked, in {:.0} s", start.elapsed().as_secs_f32());
    Ok(())
}

fn play(stage: &Stage, keep: bool) -> Result<()> {
    for (heading, scene) in STORY {
        println!("\n== {heading}");
        scene(stage)?;
    }
    if !keep {
        println!("\n== All of it taken away");
        take_away(stage)?;
    }
    Ok(())
}

fn wire(stage: &Stage) -> Result<()> {
    for name in ["host", "outside", "web", "client", "bare1", "bare2"] {
        stage.show("stage", &format!("ip netns add {name}"))?;
        stage.run(name, "ip link set lo up")?;
    }
    pair(stage, ["outside", "host"], "192.0.2")?;
    pair(stage, ["bare1", "bare2"], "198.51.100")?;
    stage.show("host", "ip route add default via 192.0.2.1")?;
    stage.show("host", "sysctl -w net.ipv4.ip_forward=0")?;
    stage.show("host", "nft add table inet firewall")?;
    let chain = "'{ type filter hook forward priority 0; policy drop; }'";
    stage.show("host", &format!("nft add chain inet firewall forward {chain}"))?;
    stage.show("host", "nft add rule inet firewall forward counter")?;
    Ok(())
}

/// A veth pair between two namespaces, with the addresses .1 and .2 of a /24.
fn pair(stage: &Stage, [one, two]: [&str; 2], subnet: &str) -> Result<()> {
    stage.show(one, &format!("ip link add eth0 type veth peer name eth0 netns {two}"))?;
    for (place, address) in [(one, 1), (two, 2)] {
        stage.show(place, &format!("ip address add {subnet}.{address}/24 dev eth0"))?;
        stage.show(place, "ip link set eth0 up")?;
    }
    Ok(())
}

fn bring_up(stage: &Stage) -> Result<()> {
    stage.show("host", "netdp up >/run/netdp-up.log 2>&1 &")?;
    wait_until_up(stage)?;
    stage.show("host", "netdp network create --subnet 10.20.0.0/24 shop")?;
    stage.show("host", "netdp network ls")?;
    Ok(())
}

/// `netdp status` tells by its exit code when the datapath is up.
fn wait_until_up(stage: &Stage) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = stage.run("host", "netdp status") {
        if Instant::now() > deadline {
            let log = fs::read_to_string(stage.file("run/netdp-up.log")).unwrap_or_default();
            return Err(error.context(format!("netdp did not come up within 10 s; it said: {}", log.trim())));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn attach(stage: &Stage) -> Result<()> {
    stage.show(
        "host",
        "netdp attach --netns /run/netns/web --name web --network shop \
         -p 8080:80 -p 5201:5201 -p 5201:5201/udp",
    )?;
    stage.show("host", "netdp attach --netns /run/netns/client --name client --network shop")?;
    stage.show("host", "netdp ps")?;
    stage.show("host", "netdp port web")?;
    for name in ["web", "outside"] {
        let file = format!("run/{name}.conf");
        let config = NGINX.replace("$hostname_here", name);
        let config = format!("pid /run/{name}.pid;\nerror_log /run/{name}.log;\n{config}");
        fs::write(stage.file(&file), config).with_context(|| format!("cannot write {file}"))?;
        stage.show(name, &format!("nginx -e /run/{name}.log -c /{file}"))?;
    }
    for name in ["web", "outside", "bare2"] {
        stage.show(name, &format!("iperf3 --server --daemon --pidfile /run/iperf3-{name}.pid"))?;
    }
    Ok(())
}

fn between_containers(stage: &Stage) -> Result<()> {
    stage.show("client", "ping -c 3 -i 0.2 10.20.0.2")?;
    greeted(stage, "client", "http://10.20.0.2/", "hello 10.20.0.3, this is web")
}

fn published(stage: &Stage) -> Result<()> {
    greeted(stage, "outside", "http://192.0.2.2:8080/", "hello 192.0.2.1, this is web")?;
    greeted(stage, "host", "http://127.0.0.1:8080/", "this is web")?;
    greeted(stage, "host", "http://192.0.2.2:8080/", "this is web")?;
    greeted(stage, "client", "http://192.0.2.2:8080/", "this is web")
}

fn outwards(stage: &Stage) -> Result<()> {
    stage.show("client", "ping -c 3 -i 0.2 192.0.2.1")?;
    greeted(stage, "client", "http://192.0.2.1/", "hello 192.0.2.2, this is outside")
}

/// The answer to a request, which must hold the words given.
fn greeted(stage: &Stage, place: &str, url: &str, words: &str) -> Result<()> {
    let answer = stage.show(place, &format!("curl -sS --max-time 5 {url}"))?;
    ensure!(answer.contains(words), "{place} asked {url} and got {answer:?}, not {words:?}");
    Ok(())
}

fn measure(stage: &Stage) -> Result<()> {
    throughput::compare(stage, WAYS)
}

fn watch(stage: &Stage) -> Result<()> {
    // New flows, for the table: those of a minute ago may have ended.
    greeted(stage, "outside", "http://192.0.2.2:8080/", "this is web")?;
    stage.show("host", "netdp flows")?;
    stage.show("host", "netdp status")?;
    let firewall = stage.show("host", "nft list chain inet firewall forward")?;
    ensure!(firewall.contains("packets 0 "), "packets took the host's forwarding path instead of ours");
    Ok(())
}

fn take_away(stage: &Stage) -> Result<()> {
    stage.show("host", "netdp down --purge")?;
    let links = stage.show("host", "ip -brief link")?;
    ensure!(links.lines().count() == 2, "netdp left links behind: {links}");
    Ok(())
}
