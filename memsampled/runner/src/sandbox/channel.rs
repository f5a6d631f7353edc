//! A socket over which the processes around a test exchange messages and descriptors.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message. The kernel takes no longer one with its default buffer of 208 KiB.
pub(super) const MAX_MESSAGE_BYTES: usize = 192 * 1024;
/// Descriptors in one message, at most: one for each hierarchy of control groups.
pub(super) const MAX_DESCRIPTORS: usize = 16;

/// How often a message is tried again, and after which pause.
const MAX_FAILURES: u32 = 10;
const FAILURE_PAUSE: Duration = Duration::from_millis(5);

thread_local! {
    /// For the message that is received: of as much as the longest needs only the pages of those that came are touched.
    static SPACE: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_MESSAGE_BYTES]);
}

/// One end of a socket that keeps the bounds of messages. Each message is a JSON value.
#[derive(Debug)]
pub(crate) struct Channel<T> {
    socket: T,
}

/// A message, and what came with it.
#[derive(Debug)]
pub(super) struct ReceivedMessage<M> {
    pub(super) message: M,
    pub(super) descriptors: Vec<OwnedFd>,
    /// The process that sent it, as a pid of our own namespace.
    pub(super) sender: Option<i32>,
}

/// Makes a channel: our end, which gets the pid of each sender, and the end for a child.
pub(super) fn pair() -> io::Result<(Channel<OwnedFd>, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    set_socket_passcred(&ours, true)?;
    Ok((Channel { socket: ours }, theirs))
}

/// Returns the end that our parent gave us as standard input.
pub(super) fn inherited() -> Channel<io::Stdin> {
    Channel { socket: io::stdin() }
}

impl<T: AsFd> Channel<T> {
    pub(super) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message and copies of descriptors.
    pub(super) fn send_with(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE_BYTES || descriptors.len() > MAX_DESCRIPTORS {
            let reason = format!(
                "arguments and environment have {} bytes; the limit is {MAX_MESSAGE_BYTES}",
                bytes.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let mut send =
            || sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
        persist(&mut send)?;
        Ok(())
    }

    /// Waits for a message; `None` when the other end is closed.
    pub(super) fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<ReceivedMessage<M>>> {
        SPACE.with_borrow_mut(|bytes| self.receive_into(bytes))
    }

    fn receive_into<M: DeserializeOwned>(
        &self,
        bytes: &mut [u8],
    ) -> io::Result<Option<ReceivedMessage<M>>> {
        let mut space = [MaybeUninit::uninit();
            rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(bytes)];
        let mut receive =
            || recvmsg(&self.socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC);
        let received = match persist(&mut receive) {
            // Closed with something unread.
            Err(Errno::CONNRESET) => return Ok(None),
            received => received?,
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
        }
        let (mut descriptors, mut sender) = (Vec::new(), None);
        for part in control.drain() {
            match part {
                RecvAncillaryMessage::ScmRights(rights) => descriptors.extend(rights),
                RecvAncillaryMessage::ScmCredentials(credentials) => {
                    sender = Some(credentials.pid.as_raw_nonzero().get());
                }
                _ => {}
            }
        }
        let bytes = bytes.get(..received.bytes).unwrap_or_default();
        Ok(Some(ReceivedMessage { message: serde_json::from_slice(bytes)?, descriptors, sender }))
    }
}

/// Calls it again where it fails for want of memory or by a fault, which leaves the message where it was: with one message
/// lost, nobody could say any more whether a program ran.
fn persist<R>(call: &mut impl FnMut() -> Result<R, Errno>) -> Result<R, Errno> {
    let mut left = MAX_FAILURES;
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::NOMEM | Errno::NOBUFS | Errno::IO | Errno::PERM) if left > 0 => {
                left -= 1;
                std::thread::sleep(FAILURE_PAUSE);
            }
            result => return result,
        }
    }
}

impl<T: AsFd> AsFd for Channel<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
