//! How long somebody waits who asks at a fixed rate, whatever the answers do. Time counts from when a question was due: one that
//! had to wait for another is not counted as quick.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use tests::namespace::Namespace;
use tests::processor::on_processor;

use crate::load::{PATIENCE, connect};
use crate::measure::{Length, Measured};
use crate::options::Kind;
use crate::port;

/// From one question to the next: 10 000 per second.
const GAP: Duration = Duration::from_micros(100);

/// Microseconds that half of the questions, 99 % and 99.9 % wait at most. The client is on the first processor, awake all the
/// time, so that its own waking is not in it; the server on the second sleeps while nobody asks.
pub(crate) fn at_fixed_rate(ns: &Namespace, to: IpAddr, length: Length) -> io::Result<Measured> {
    let ask = || {
        let stream = connect((to, port::APART).into())?;
        stream.set_nonblocking(true)?;
        let (warm_up, counted) = (questions(length.warm_up), questions(length.time).max(1));
        let (mut waits, answers) = converse(&stream, warm_up + counted)?;
        waits.drain(..warm_up);
        waits.sort_unstable();
        let measured = Measured::of(share(&waits, 500), answers);
        Ok(measured
            .saying(Kind::LatencyP99, share(&waits, 990))
            .saying(Kind::LatencyP999, share(&waits, 999)))
    };
    ns.enter(|| on_processor(0, ask))
}

fn questions(time: Duration) -> usize {
    usize::try_from(time.as_nanos() / GAP.as_nanos()).unwrap_or(usize::MAX)
}

/// How long each question waited, and how many packets their answers were at least: one packet can hold several.
fn converse(mut stream: &TcpStream, questions: usize) -> io::Result<(Vec<Duration>, u64)> {
    let (mut asked, mut due, mut answered) = (0, Duration::ZERO, Duration::ZERO);
    let mut waits = Vec::with_capacity(questions);
    let (mut answers, mut bytes) = (0, [0; 1024]);
    let begin = Instant::now();
    while waits.len() < questions {
        let now = begin.elapsed();
        if asked < questions && now >= due && done(stream.write(&[1]))?.is_some() {
            asked += 1;
            due += GAP;
        }
        if let Some(number) = done(stream.read(&mut bytes))? {
            let now = begin.elapsed();
            answers += 1;
            for _ in 0..number {
                waits.push(now.saturating_sub(answered));
                answered += GAP;
            }
        } else if now > due + PATIENCE {
            let lost = questions - waits.len();
            return Err(io::Error::other(format!("{lost} of {questions} questions were not answered")));
        }
    }
    Ok((waits, answers))
}

/// How many bytes; nothing when it would have to wait.
fn done(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// What so many of a thousand wait at most, in microseconds.
fn share(sorted: &[Duration], of_thousand: usize) -> f64 {
    let rank = (sorted.len() * of_thousand).div_ceil(1000);
    sorted[rank.max(1) - 1].as_secs_f64() * 1e6
}
