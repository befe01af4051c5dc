//! The ports that servers listen on. Each is published under its own number.

use std::ops::RangeInclusive;

/// iperf3's.
pub(crate) const IPERF: u16 = 5201;
/// Those of the echo servers. The first serves both protocols; a client that only opens and closes connections takes them in
/// turn, because each has 28 000 ephemeral ports.
pub(crate) const ECHO: RangeInclusive<u16> = 7000..=7003;

/// All of TCP, as nftables lists them.
pub(crate) fn published_tcp() -> String {
    format!("{IPERF}, {}-{}", ECHO.start(), ECHO.end())
}

/// As options of `docker run` and of `netdp attach`.
pub(crate) fn publish_options() -> Vec<String> {
    let (first, last) = (ECHO.start(), ECHO.end());
    let specs = [
        format!("{IPERF}:{IPERF}"),
        format!("{first}-{last}:{first}-{last}"),
        format!("{first}:{first}/udp"),
    ];
    specs.into_iter().flat_map(|spec| ["-p".to_owned(), spec]).collect()
}
