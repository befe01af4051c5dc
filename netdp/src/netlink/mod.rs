//! Links, addresses, routes and qdiscs of one network namespace, over rtnetlink. Nothing else in netdp builds
//! netlink messages.
//!
//! A netlink socket belongs for ever to the namespace of the thread that created it. So only the creation
//! has to happen inside another namespace; requests may then be made from any task of the runtime.

mod address;
mod error;
mod lan;
mod link;
mod neighbour;
mod nftables;
mod qdisc;
mod route;
mod rule;
mod watch;
mod xdp;

use std::{io, os::fd::AsFd, time::Duration};

use futures_util::StreamExt;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
        NetlinkMessage, NetlinkPayload,
    },
    packet_route::RouteNetlinkMessage,
    sys::AsyncSocket,
};

use self::error::Request;
pub use self::{
    address::Address,
    error::Error,
    lan::Shared,
    link::{Link, MAX_MTU, MAX_NAME, Removed, VethEnd},
    nftables::sort_fragments,
    route::{DefaultRoute, MAIN_TABLE, Route, RouteKind},
    rule::Rule,
    watch::{Burst, Watch},
};
use crate::host::netns;

/// A change of an object that has to be there.
const CHANGE: u16 = NLM_F_REQUEST | NLM_F_ACK;
/// A change of an object that may be there.
const REPLACE: u16 = CHANGE | NLM_F_CREATE | NLM_F_REPLACE;
/// A creation of an object that must not be there.
const CREATE: u16 = CHANGE | NLM_F_CREATE | NLM_F_EXCL;
/// A dump that other changes keep interrupting is given up after so many tries.
const DUMP_TRIES: u32 = 8;
/// How long what interrupts a dump is given to come to an end, after the first try; then longer.
const DUMP_PAUSE: Duration = Duration::from_millis(10);

/// The rtnetlink of one network namespace. Clones share one socket, which closes with the last of them.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Of the namespace that the calling thread is in. Must be called within a tokio runtime.
    pub fn here() -> Result<Self, Error> {
        connect().map_err(|cause| Error::Socket { cause })
    }

    /// Of the namespace behind `ns`. Must be called within a tokio runtime.
    pub fn in_netns(ns: &impl AsFd) -> Result<Self, Error> {
        let runtime = tokio::runtime::Handle::current();
        netns::in_netns(ns.as_fd(), || {
            let _entered = runtime.enter();
            Self::here()
        })?
    }

    /// Sends one request and waits for the kernel's acknowledgement.
    async fn execute(
        &self,
        what: Request<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Error> {
        let mut answers = self.send(what, message, flags)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(verdict) = answer.payload {
                return if verdict.code.is_none() { Ok(()) } else { Err(what.refused(&verdict)) };
            }
        }
        Err(what.no_answer())
    }

    /// Asks for one object.
    async fn get(
        &self,
        what: Request<'_>,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, Error> {
        let mut answers = self.send(what, message, NLM_F_REQUEST)?;
        match answers.next().await.map(|answer| answer.payload) {
            Some(NetlinkPayload::InnerMessage(object)) => Ok(object),
            Some(NetlinkPayload::Error(verdict)) => Err(what.refused(&verdict)),
            _ => Err(what.no_answer()),
        }
    }

    /// Asks for all objects of a kind, as they were at one moment.
    async fn dump(
        &self,
        what: Request<'_>,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        for attempt in 1..=DUMP_TRIES {
            if let Some(objects) = self.dump_once(what, message.clone()).await? {
                return Ok(objects);
            }
            tokio::time::sleep(DUMP_PAUSE * attempt).await;
        }
        Err(what.no_answer())
    }

    /// `None` when something changed during the dump, so that objects may be missing from it.
    async fn dump_once(
        &self,
        what: Request<'_>,
        message: RouteNetlinkMessage,
    ) -> Result<Option<Vec<RouteNetlinkMessage>>, Error> {
        let mut answers = self.send(what, message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let (mut objects, mut interrupted) = (Vec::new(), false);
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(object) => objects.push(object),
                NetlinkPayload::Error(verdict) => return Err(what.refused(&verdict)),
                NetlinkPayload::Done(done) if done.code < 0 => return Err(what.refused_with(done.code, None)),
                NetlinkPayload::Done(_) => return Ok((!interrupted).then_some(objects)),
                _ => {}
            }
        }
        Err(what.no_answer())
    }

    fn send(
        &self,
        what: Request<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl futures_util::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        self.handle.clone().request(request).map_err(|_closed| what.no_answer())
    }
}

/// Opens a socket in the namespace of the calling thread and lets the runtime drive it.
fn connect() -> io::Result<Netlink> {
    let (mut connection, handle, _unsolicited) = rtnetlink::new_connection()?;
    let socket = connection.socket_mut().socket_mut();
    socket.set_ext_ack(true)?;
    // Without it the kernel echoes the whole request before the attributes that we are after.
    socket.set_cap_ack(true)?;
    // An answer without its end is then known from a complete one.
    connection.set_forward_ack(true);
    connection.set_forward_done(true);
    tokio::spawn(connection);
    Ok(Netlink { handle })
}
