//! Settings that are asked for one interface of an endpoint, written as Docker does: `net.ipv4.conf.IFNAME.log_martians=1`.

use std::str::FromStr;

/// Stands for the name of the interface, which is not known when the setting is written.
const IFNAME: &str = "IFNAME";

/// One setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndpointSysctl {
    /// Its path under `/proc/sys`, with `IFNAME`.
    path: String,
    /// Its value.
    value: String,
}

impl EndpointSysctl {
    /// Path and value, as they are kept.
    pub fn pair(&self) -> (String, String) {
        (self.path.clone(), self.value.clone())
    }
}

/// The path of a setting that is kept, for an interface by name.
pub fn path_of(kept: &str, ifname: &str) -> String {
    kept.replace(IFNAME, ifname)
}

impl FromStr for EndpointSysctl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.trim().split_once('=').ok_or_else(|| wrong(text))?;
        let parts: Vec<&str> = key.split('.').collect();
        let is_plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it))
        };
        let good = match parts.as_slice() {
            ["net", "ipv4" | "ipv6" | "mpls", kind, name, setting] => {
                *name == IFNAME && is_plain(kind) && is_plain(setting)
            }
            _ => false,
        };
        let printable = !value.is_empty() && value.bytes().all(|byte| (b' '..0x7f).contains(&byte));
        if good && printable {
            return Ok(Self { path: parts.join("/"), value: value.to_owned() });
        }
        Err(wrong(text))
    }
}

fn wrong(text: &str) -> String {
    format!(
        "unrecognised network interface sysctl {text:?}: write it as net.ipv4.X.IFNAME.Y=VALUE, with the word IFNAME for the \
         interface, or with ipv6 or mpls"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_the_interface_by_a_word() {
        let sysctl: EndpointSysctl = "net.ipv4.conf.IFNAME.log_martians=1".parse().unwrap();
        assert_eq!(sysctl.pair(), ("net/ipv4/conf/IFNAME/log_martians".to_owned(), "1".to_owned()));
        assert_eq!(path_of(&sysctl.pair().0, "eth0.5"), "net/ipv4/conf/eth0.5/log_martians");
    }

    #[test]
    fn what_reaches_beyond_the_interface_is_refused() {
        for bad in [
            "",
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.eth0.log_martians=1",
            "net.ipv4.conf.all.log_martians=1",
            "kernel.conf.x.IFNAME.y=1",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.ipv4.conf.IFNAME.log_martians=",
            "net.ipv4.conf.IFNAME...=1",
            "net.ipv4.conf/../..IFNAME.x=1",
            "net.ipv4.conf.IFNAME.x=1\n2",
        ] {
            assert!(bad.parse::<EndpointSysctl>().is_err(), "{bad}");
        }
    }
}
