//! Processes that netdp started itself, as `ps` and `inspect` show them: an endpoint with a command, or a process without one.

use serde_json::{Value, json};

use super::timestamp;
use crate::host::netns;
use crate::model::{Endpoint, Netns};
use crate::process::{Mode, Record};

/// A process without an endpoint in the form of one: it has no network of its own, or has ended.
pub fn without_endpoint(record: &Record) -> Endpoint {
    let path = record.task.as_ref().filter(|_| record.runs()).map(|task| netns::path_of(task.pid));
    Endpoint {
        id: record.id.clone(),
        name: record.name.clone(),
        created: record.created,
        netns: Netns { path: path.unwrap_or_default(), device: 0, inode: 0 },
        options: record.options.clone(),
        attachments: Vec::new(),
    }
}

/// Adds what Docker's `inspect` says of a process to what is said of its endpoint.
pub fn add_process(document: &mut Value, record: &Record) {
    let runs = record.runs();
    let pid = record.task.as_ref().filter(|_| runs).map_or(0, |task| task.pid);
    let moment = |seconds: Option<u64>| seconds.map(timestamp).unwrap_or_default();
    document["State"] = json!({
        "Status": record.status(),
        "Running": runs,
        "Pid": pid,
        "ExitCode": record.ended.map_or(Some(0), |ended| ended.code),
        "StartedAt": moment(record.started),
        "FinishedAt": moment(record.ended.map(|ended| ended.at)),
    });
    let environment: Vec<String> =
        record.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let exposed = document["Config"]["ExposedPorts"].take();
    document["Config"] = json!({
        "ExposedPorts": exposed,
        "Hostname": record.hostname,
        "Cmd": record.command,
        "Env": environment,
        "WorkingDir": record.workdir,
        "User": record.user.clone().unwrap_or_default(),
    });
    document["HostConfig"]["NetworkMode"] = mode(&record.mode).into();
    document["HostConfig"]["AutoRemove"] = record.remove.into();
}

fn mode(mode: &Mode) -> String {
    match mode {
        Mode::Host => "host".to_owned(),
        Mode::None => "none".to_owned(),
        Mode::Container(id) => format!("container:{id}"),
        Mode::Networks(names) => names.first().cloned().unwrap_or_default(),
    }
}

/// Docker's words: `Up 5 seconds`, `Exited (0) 2 minutes ago`.
pub fn status(record: &Record, now: u64) -> String {
    let since = |then: u64| span(now.saturating_sub(then));
    match (record.runs(), record.started, record.ended) {
        (true, Some(started), _) => format!("Up {}", since(started)),
        (_, _, Some(ended)) => {
            let code = ended.code.map_or_else(|| "?".to_owned(), |code| code.to_string());
            format!("Exited ({code}) {} ago", since(ended.at))
        }
        (_, Some(_), None) => "Exited (?)".to_owned(),
        (_, None, None) => "Created".to_owned(),
    }
}

fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0 => return "less than a second".to_owned(),
        1..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// The command as a table shows it: on one line, and not all of it.
pub fn command(record: &Record) -> String {
    const WIDTH: usize = 30;
    let line: String =
        record.command.join(" ").chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    if line.chars().count() <= WIDTH {
        return line;
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        for (seconds, text) in [
            (0, "less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (7300, "2 hours"),
            (86_400, "1 day"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
