//! The address on which a Kafka is reached.
//!
//! Kafka tells its clients the address to come back to, so the port is known before the container is: the broker
//! listens on and advertises the host's port, and no start script waits for Docker's mapping.
//!
//! # Invariants
//! * Ports lie below the range from which the kernel gives ports to others: while a Kafka is stopped, no client
//!   and no server on port 0 takes its port.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Linux gives out 32768 and above by itself.
pub(crate) const FIRST: u16 = 20_000;
pub(crate) const COUNT: u16 = 12_000;

/// Where the containers' ports appear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DockerHost {
    /// On this machine.
    Local,
    /// On the machine that `DOCKER_HOST` names.
    Remote(String),
}

impl DockerHost {
    pub(crate) fn from_environment() -> Self {
        Self::parse(std::env::var("DOCKER_HOST").ok().as_deref())
    }

    fn parse(docker_host: Option<&str>) -> Self {
        let Some((scheme, rest)) = docker_host.and_then(|value| value.split_once("://")) else {
            return Self::Local;
        };
        if scheme == "unix" || scheme == "npipe" {
            return Self::Local;
        }
        let authority = rest.split('/').next().unwrap_or(rest);
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let name = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => format!("[{address}]"),
            None => authority.split(':').next().unwrap_or(authority).to_owned(),
        };
        match name.as_str() {
            "" | "localhost" | "127.0.0.1" => Self::Local,
            _ => Self::Remote(name),
        }
    }

    /// The host part of the address that clients use.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Local => "127.0.0.1",
            Self::Remote(name) => name,
        }
    }
}

/// A port that nothing listens on now, or none after trying the whole range.
pub(crate) fn free() -> Option<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test binaries that run at once start at different places.
    let start = std::process::id().wrapping_mul(97);
    (0..u32::from(COUNT)).find_map(|_| {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from(step % u32::from(COUNT)).ok()?;
        let port = FIRST + offset;
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok().map(|_| port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_says_where_ports_appear() {
        let check = |docker_host: Option<&str>, name: &str| {
            assert_eq!(DockerHost::parse(docker_host).name(), name, "{docker_host:?}");
        };
        check(None, "127.0.0.1");
        check(Some("unix:///run/user/1000/docker.sock"), "127.0.0.1");
        check(Some("tcp://127.0.0.1:2375"), "127.0.0.1");
        check(Some("tcp://docker.example:2376"), "docker.example");
        check(Some("ssh://me@docker.example/socket"), "docker.example");
        check(Some("tcp://[fd00::1]:2375"), "[fd00::1]");
    }

    #[test]
    fn a_port_that_is_taken_is_not_given_out() {
        let first = free().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, first)).unwrap();
        for _ in 0..50 {
            let port = free().unwrap();
            assert_ne!(port, first);
            assert!((FIRST..FIRST + COUNT).contains(&port));
        }
        drop(taken);
    }
}
