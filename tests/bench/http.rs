//! HTTP: wrk asks nginx, over connections that stay.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tests::namespace::Namespace;
use tests::process::{Service, eventually, run};

use crate::measure::{Length, Measured};
use crate::port;

/// Bytes of an answer's body.
const BODY: usize = 1024;
/// How many ask at the same time.
const CONNECTIONS: &str = "16";
/// A question and an answer, which each is one packet.
const OF_REQUEST: u64 = 2;

/// nginx with one worker, and its folder.
pub(crate) struct Nginx {
    _service: Service,
    folder: PathBuf,
}

impl Nginx {
    pub(crate) fn start(ns: &Namespace) -> Self {
        let folder = ns.path().with_extension("nginx");
        fs::create_dir_all(&folder).unwrap();
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, text()).unwrap();
        let mut command = ns.command("nginx");
        command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(&configuration);
        let mut service = Service::start(&mut command);
        let listening = format!("ss -Hltn sport = :{}", port::HTTP);
        eventually("nginx listens", Duration::from_secs(10), || {
            service.ended().is_some() || !ns.out(&listening).is_empty()
        });
        let ended = service.ended();
        assert!(ended.is_none(), "nginx: {}", service.finish().stderr);
        Self { _service: service, folder }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It is in memory that goes with this process at the latest.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// All paths are relative to its folder.
fn text() -> String {
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {of};"));
    format!(
        "daemon off; master_process off; pid nginx.pid;
         events {{ worker_connections 1024; }}
         http {{
           access_log off; keepalive_requests 1000000000; default_type text/plain; {temporary}
           server {{ listen [::]:{port} ipv6only=off; location / {{ return 200 \"{body}\"; }} }}
         }}\n",
        temporary = temporary.join(" "),
        port = port::HTTP,
        body = "x".repeat(BODY),
    )
}

/// How long wrk asks: it counts in seconds.
pub(crate) fn duration(length: Length) -> Duration {
    Duration::from_secs(length.time.as_secs().max(1))
}

/// Requests per second.
pub(crate) fn requests(ns: &Namespace, to: IpAddr, length: Length) -> Result<Measured, String> {
    let url = format!("http://{}/", SocketAddr::from((to, port::HTTP)));
    let time = format!("{}s", duration(length).as_secs());
    let ran = run(ns.command("wrk").args(["--threads", "1", "--connections", CONNECTIONS]).args([
        "--duration",
        &time,
        "--timeout",
        "2s",
        &url,
    ]));
    if ran.code != Some(0) || ["Socket errors", "Non-2xx"].iter().any(|bad| ran.stdout.contains(bad)) {
        return Err(ran.to_string());
    }
    let word = |line: &str, at| line.split_whitespace().nth(at).map(str::to_owned);
    let find =
        |part: &str, at| ran.stdout.lines().find(|line| line.contains(part)).and_then(|line| word(line, at));
    let rate = find("Requests/sec:", 1).and_then(|rate| rate.parse::<f64>().ok());
    let done = find(" requests in ", 0).and_then(|done| done.parse::<u64>().ok());
    match (rate, done) {
        (Some(rate), Some(done)) if done > 0 => Ok(Measured::of(rate, done * OF_REQUEST)),
        _ => Err(format!("wrk got no answer\n{ran}")),
    }
}
