//! What the system reports about packets that were sent: mostly what came back by ICMP.

use nix::cmsg_space;
use nix::errno::Errno as NixErrno;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use rustix::io::Errno;
use std::io::IoSliceMut;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

/// So many are read at once.
pub(super) const MOST: usize = 64;
/// It is about what this computer has refused to send, which it has said at once.
const LOCAL: u8 = 1;

/// Hands over for whom a packet was, and what became of it, until there is nothing more. How many there were.
pub(super) fn take(socket: BorrowedFd<'_>, mut each: impl FnMut(SocketAddr, Errno)) -> usize {
    let mut control = cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    for n in 0..MOST {
        // The packet itself comes, too; it is of no interest.
        let mut packet = [0];
        let mut place = [IoSliceMut::new(&mut packet)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let report =
            match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut place, Some(&mut control), flags) {
                Ok(report) => report,
                Err(NixErrno::EINTR) => continue,
                Err(_) => return n,
            };
        let Some(to) = report.address.and_then(|address| standard(&address)) else { continue };
        for message in report.cmsgs().into_iter().flatten() {
            let (ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _)) =
                message
            else {
                continue;
            };
            if error.ee_origin != LOCAL
                && let Ok(code) = i32::try_from(error.ee_errno)
            {
                each(to, Errno::from_raw_os_error(code));
            }
        }
    }
    MOST
}

fn standard(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    let v6 = || address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into());
    v4().or_else(v6)
}
