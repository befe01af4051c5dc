//! How prefixes of the deny list are written.

use std::net::IpAddr;

use ipnet::IpNet;

/// A prefix without host bits.
pub type Prefix = IpNet;

/// Reads a prefix, or an address, which is a prefix of one.
///
/// # Errors
/// What is wrong with it, with the right form where it can be guessed.
pub fn prefix(text: &str) -> Result<Prefix, String> {
    let net: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().map_err(|_| {
            "write an address with the length of its prefix, such as 198.51.100.0/24 or 2001:db8::/32"
                .to_owned()
        })?,
    };
    if net.trunc() != net {
        return Err(format!("{net} has bits set behind its prefix: write {} or {}", net.trunc(), net.addr()));
    }
    match net.addr() {
        IpAddr::V6(address) if net.prefix_len() >= 96 => match address.to_ipv4_mapped() {
            Some(v4) => Err(format!("{net} is IPv4: write {v4}/{}", net.prefix_len() - 96)),
            None => Ok(net),
        },
        _ => Ok(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_prefixes_are_read() {
        for (text, expected) in [
            ("198.51.100.0/24", "198.51.100.0/24"),
            ("198.51.100.7", "198.51.100.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::/80", "::/80"),
        ] {
            assert_eq!(prefix(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_refused_is_named_with_the_right_form() {
        for (text, words) in [
            ("10.1.2.3/8", "write 10.0.0.0/8 or 10.1.2.3"),
            ("2001:db8::1/32", "write 2001:db8::/32 or 2001:db8::1"),
            ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
            ("10.0.0.0/33", "such as"),
            ("example.org", "such as"),
            ("", "such as"),
            ("10.0.0.0/", "such as"),
        ] {
            let error = prefix(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
