//! Netlink messages: how they are framed, and the socket that brings them.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto,
    socket_with, sockopt,
};

/// A message of the kernel is smaller, and several may come in one reading.
const BUFFER_BYTES: usize = 64 * 1024;
/// What may wait in the kernel between two readings: more than ten thousand records of ended processes,
/// or twenty thousand events.
/// Memory is taken only for what waits.
const RECEIVE_BYTES: usize = 16 << 20;
/// An answer to a request comes at once, perhaps behind other messages.
const MAX_READINGS_PER_ANSWER: usize = 64;

const ALIGNMENT: usize = 4;
const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// `NLM_F_REQUEST`.
const FLAG_REQUEST: u16 = 1;
/// `NLM_F_ACK`.
const FLAG_ACKNOWLEDGE: u16 = 4;
/// `NLMSG_ERROR`: an acknowledgement, whose code is 0 where nothing was wrong.
const TYPE_ERROR: u16 = 2;
/// The two high bits of an attribute's type are flags.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

/// A netlink socket that never blocks.
pub(super) struct NetlinkSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What a reading brought.
pub(super) enum Received<'a> {
    /// Whole messages.
    Bytes(&'a [u8]),
    /// There is nothing more for now.
    Nothing,
    /// More came than the socket could hold, and it is not known how much was lost.
    Overflow,
}

impl NetlinkSocket {
    /// Opens a socket that hears the multicast `groups`.
    pub(super) fn open(protocol: Protocol, groups: u32) -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(protocol))?;
        // Allowed to those who may receive events; others get as much as the system allows.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BYTES).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BYTES);
        }
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { socket, buffer: vec![0; BUFFER_BYTES] })
    }

    pub(super) fn send(&self, message: &[u8]) -> Result<(), Errno> {
        sendto(&self.socket, message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map(drop)
    }

    /// Reads what is there.
    pub(super) fn receive(&mut self) -> Result<Received<'_>, Errno> {
        match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => Ok(Received::Bytes(self.buffer.get(..length).unwrap_or_default())),
            Err(Errno::AGAIN) => Ok(Received::Nothing),
            Err(Errno::NOBUFS) => Ok(Received::Overflow),
            Err(Errno::INTR) => Ok(Received::Nothing),
            Err(errno) => Err(errno),
        }
    }

    /// Sends a request and returns the body of its answer, and `None` where the answer is that it was
    /// done.
    pub(super) fn ask(&mut self, kind: u16, body: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        self.send(&message(kind, FLAG_REQUEST | FLAG_ACKNOWLEDGE, body))?;
        let mut answer = None;
        for _ in 0..MAX_READINGS_PER_ANSWER {
            let Received::Bytes(bytes) = self.receive()? else {
                break;
            };
            for message in messages(bytes) {
                if message.kind != TYPE_ERROR {
                    answer = Some(message.body.to_vec());
                    continue;
                }
                return match field(message.body, 0).map(i32::from_ne_bytes) {
                    Some(0) => Ok(answer),
                    Some(code) => Err(Errno::from_raw_os_error(code.wrapping_neg())),
                    None => Err(Errno::BADMSG),
                };
            }
        }
        Err(Errno::BADMSG)
    }
}

/// A message without its header.
pub(super) struct NetlinkMessage<'a> {
    pub(super) kind: u16,
    pub(super) body: &'a [u8],
}

/// Returns the messages in `bytes`, up to the first that is malformed.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = NetlinkMessage<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(field(bytes, 0)?) as usize;
        let kind = u16::from_ne_bytes(field(bytes, 4)?);
        let body = bytes.get(HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(NetlinkMessage { kind, body })
    })
}

/// Returns type and value of the attributes in `bytes`, up to the first that is malformed.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(field(bytes, 0)?));
        let kind = u16::from_ne_bytes(field(bytes, 2)?) & ATTRIBUTE_TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Returns a message of its header and `body`.
pub(super) fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + body.len();
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // The sequence number and the port, which a socket with one question at a time does not need.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    message
}

/// Appends an attribute.
pub(super) fn put_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = ATTRIBUTE_HEADER_BYTES + value.len();
    bytes.extend_from_slice(&(length as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

/// Returns the `N` bytes at `offset`.
pub(super) fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_framed_is_found_again() {
        let mut body = Vec::new();
        put_attribute(&mut body, 3, b"abcde");
        put_attribute(&mut body, 0x8000 | 7, b"");
        let mut bytes = message(20, 0, &body);
        bytes.extend(message(21, 0, b""));
        let found: Vec<_> = messages(&bytes).map(|message| (message.kind, message.body)).collect();
        assert_eq!(found, [(20, &body[..]), (21, &b""[..])]);
        assert_eq!(attributes(&body).collect::<Vec<_>>(), [(3, &b"abcde"[..]), (7, &b""[..])]);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            // A length of 0 would go on for ever.
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
