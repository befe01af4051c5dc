//! What stands behind options that several commands have.

use std::net::IpAddr;
use std::str::FromStr;

use crate::publish::PortSpec;

/// One `--link`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkArg {
    /// The other.
    pub target: String,
    /// The name for it.
    pub alias: String,
}

impl FromStr for LinkArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (target, alias) = text.split_once(':').unwrap_or((text, text));
        if target.is_empty() || alias.is_empty() || alias.contains(':') {
            return Err("bad format for links: write it as NAME or NAME:ALIAS".to_owned());
        }
        Ok(Self { target: target.to_owned(), alias: alias.to_owned() })
    }
}

/// One `--add-host`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddHost {
    /// The name.
    pub name: String,
    /// The address; none is this host's.
    pub address: Option<IpAddr>,
}

impl FromStr for AddHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, address) = parts.unwrap_or((text, ""));
        if name.is_empty() || address.is_empty() || name.contains(char::is_whitespace) {
            return Err("bad format for add-host: write it as NAME:IP or NAME:host-gateway".to_owned());
        }
        if address == "host-gateway" {
            return Ok(Self { name: name.to_owned(), address: None });
        }
        let bare = address.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(address);
        let address = bare.parse().map_err(|_| format!("invalid IP address in add-host: {address:?}"))?;
        Ok(Self { name: name.to_owned(), address: Some(address) })
    }
}

/// What the kernel and resolvers take as the name of a host.
pub(super) fn hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if text.len() <= 64 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err("a hostname has letters, digits and `-` in parts with `.` between them, 64 characters at most"
        .to_owned())
}

pub(super) fn expose(text: &str) -> Result<PortSpec, String> {
    if text.contains([':', '=']) {
        return Err("write it as PORT, PORT/PROTOCOL or FIRST-LAST".to_owned());
    }
    text.parse().map_err(|error: crate::publish::Error| error.to_string())
}

/// What the kernel takes as the name of an interface.
pub(crate) fn ifname(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte));
    if printable && (1..=15).contains(&text.len()) && text != "." && text != ".." {
        return Ok(text.to_owned());
    }
    Err("the name of an interface has 1 to 15 characters, without blanks, `/`, `:` and `%`".to_owned())
}

/// As in Docker a label may come without a value.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        Err("a label needs a key".to_owned())
    } else {
        Ok((key.to_owned(), value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_hosts_and_links_are_checked() {
        let six: AddHost = "a:[fd00::1]".parse().unwrap();
        assert_eq!(six, "a=fd00::1".parse().unwrap());
        assert_eq!("a:host-gateway".parse::<AddHost>().unwrap().address, None);
        for bad in ["a", "a:", ":1.2.3.4", "a:1.2.3", "a b:1.2.3.4"] {
            assert!(bad.parse::<AddHost>().is_err(), "{bad}");
        }
        assert_eq!("db".parse::<LinkArg>().unwrap().alias, "db");
        for bad in ["", ":a", "db:", "db:a:b"] {
            assert!(bad.parse::<LinkArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hostname_is_parts_of_letters_and_digits() {
        for (text, good) in [("web", true), ("a.example", true), ("", false), ("a..b", false), ("a b", false)]
        {
            assert_eq!(hostname(text).is_ok(), good, "{text}");
        }
    }
}
