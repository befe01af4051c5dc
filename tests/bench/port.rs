//! The ports that servers listen on. Each is published under its own number.

use std::ops::RangeInclusive;

/// iperf3's.
pub(crate) const IPERF: u16 = 5201;
/// Those of the echo servers on the first processor. The first serves both protocols; a client that only opens and closes
/// connections takes them in turn, because each has 28 000 ephemeral ports.
pub(crate) const ECHO: RangeInclusive<u16> = 7000..=7003;
/// Those of the echo servers that are on whatever processor is free.
pub(crate) const FREE: RangeInclusive<u16> = 7004..=7007;
/// That of an echo server on the second processor.
pub(crate) const APART: u16 = 7008;
/// nginx's.
pub(crate) const HTTP: u16 = 7009;
/// That of the server that takes datagrams and says nothing.
pub(crate) const SINK: u16 = 7010;

/// All of TCP, as nftables lists them.
pub(crate) fn published_tcp() -> String {
    format!("{IPERF}, {}-{HTTP}", ECHO.start())
}

/// All of UDP, as nftables lists them.
pub(crate) fn published_udp() -> String {
    format!("{}, {SINK}", ECHO.start())
}

/// As options of `docker run` and of `netdp attach`.
pub(crate) fn publish_options() -> Vec<String> {
    let first = ECHO.start();
    let specs = [
        format!("{IPERF}:{IPERF}"),
        format!("{first}-{HTTP}:{first}-{HTTP}"),
        format!("{first}:{first}/udp"),
        format!("{SINK}:{SINK}/udp"),
    ];
    specs.into_iter().flat_map(|spec| ["-p".to_owned(), spec]).collect()
}
