//! The qdisc that clsact filters need, and their kind.

use nix::errno::Errno;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
};

use super::{CHANGE, CREATE, Error, Netlink, Request};

/// `ffff:`, which every clsact qdisc has.
const HANDLE: TcHandle = TcHandle { major: u16::MAX, minor: 0 };
/// Where its filters hang: `ffff:fff2` and `ffff:fff3`.
const HOOKS: [TcHandle; 2] = [
    TcHandle { major: u16::MAX, minor: TcHandle::MIN_INGRESS },
    TcHandle { major: u16::MAX, minor: TcHandle::MIN_EGRESS },
];

impl Netlink {
    /// Deletes the clsact qdisc of the interface `index`, unless a filter is left in it, whosever it is. One that is
    /// gone already, alone or with its interface, is no error.
    pub async fn delete_clsact(&self, index: u32) -> Result<(), Error> {
        for hook in HOOKS {
            if self.has_filters(index, hook).await? {
                return Ok(());
            }
        }
        let object = format!("of interface number {index}");
        let what = Request { operation: "delete the clsact qdisc", object: &object };
        let mut message = at(index, TcHandle::CLSACT);
        message.header.handle = HANDLE;
        // An ingress qdisc has the same handle and parent.
        message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
        match self.execute(what, RouteNetlinkMessage::DelQueueDiscipline(message), CHANGE).await {
            Err(error) if error.is_missing() || is_another(&error) => Ok(()),
            result => result,
        }
    }

    /// Whether the kernel has filters that are programs: asked for one without a program, it looks for the kind first
    /// (ENOENT) and then finds the program wanting (EINVAL). The interface has a clsact qdisc.
    pub async fn knows_bpf_filters(&self, index: u32) -> Result<bool, Error> {
        let object = format!("to interface number {index}");
        let what = Request { operation: "add a filter without a program", object: &object };
        let mut message = at(index, HOOKS[0]);
        message.header.info = EVERYTHING;
        message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        match self.execute(what, RouteNetlinkMessage::NewTrafficFilter(message), CREATE).await {
            Err(error) if error.errno() == Some(Errno::EINVAL) => Ok(true),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Before the filters of one priority the kernel sends a message that has their kind only, so that nothing is
    /// overlooked because its options cannot be read.
    async fn has_filters(&self, index: u32, hook: TcHandle) -> Result<bool, Error> {
        let object = format!("of interface number {index}");
        let what = Request { operation: "list the filters", object: &object };
        let answers = self.dump(what, RouteNetlinkMessage::GetTrafficFilter(at(index, hook))).await?;
        Ok(answers.iter().any(|answer| matches!(answer, RouteNetlinkMessage::NewTrafficFilter(_))))
    }
}

/// `ETH_P_ALL` of `linux/if_ether.h`.
const EVERY_PROTOCOL: u16 = 3;
/// The first priority, and every protocol, as they stand in a filter's header.
const EVERYTHING: u32 = 1 << 16 | EVERY_PROTOCOL.to_be() as u32;

/// The kernel has no qdisc there, or one of another kind.
fn is_another(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ENOENT | Errno::EINVAL))
}

fn at(index: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = parent;
    message
}
