//! XDP programs on interfaces, whosever they are.

use rtnetlink::{
    LinkUnspec,
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkXdp},
    },
};

use super::{Error, Netlink, Request};

impl Netlink {
    /// Id of the XDP program on the interface `index`; `None` when it has none or is gone. Of several, in several modes,
    /// one.
    pub async fn xdp_program(&self, index: u32) -> Result<Option<u32>, Error> {
        let object = format!("number {index}");
        let what = Request { operation: "look up the XDP program of interface", object: &object };
        let message = LinkUnspec::new_with_index(index).build();
        let answer = match self.get(what, RouteNetlinkMessage::GetLink(message)).await {
            Err(error) if error.is_missing() => return Ok(None),
            answer => answer?,
        };
        let RouteNetlinkMessage::NewLink(link) = answer else { return Ok(None) };
        Ok(link.attributes.iter().find_map(program))
    }
}

fn program(attribute: &LinkAttribute) -> Option<u32> {
    let LinkAttribute::Xdp(parts) = attribute else { return None };
    parts.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id)
            if *id != 0 =>
        {
            Some(*id)
        }
        _ => None,
    })
}
