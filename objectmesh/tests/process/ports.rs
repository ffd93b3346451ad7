//! Ports for processes that must know each other's address before any of them runs.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Below every system's ephemeral ports, so that no outgoing connection takes one meanwhile.
const FIRST: u32 = 10_000;
const COUNT: u32 = 10_000;

/// A free port, ours until dropped: tests of other processes leave it alone, also while the
/// process that listens on it is being restarted.
pub(crate) struct Port {
    number: u16,
    /// A locked file; the kernel unlocks it when this process ends, however it ends.
    _lease: File,
}

impl Port {
    /// Takes a free one.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn lease() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = std::env::temp_dir().join("objectmesh-test-ports");
        fs::create_dir_all(&folder).expect("a folder for leases");
        for _ in 0..COUNT {
            let offset =
                std::process::id().wrapping_mul(131) + NEXT.fetch_add(1, Ordering::Relaxed);
            let number = u16::try_from(FIRST + offset % COUNT).expect("a port");
            let lease = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join(number.to_string()));
            // Another user's file, or another test's port.
            let Ok(lease) = lease else { continue };
            if lease.try_lock().is_err() {
                continue;
            }
            // Or a program that knows nothing of leases.
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self {
                    number,
                    _lease: lease,
                };
            }
        }
        panic!("no free port")
    }

    /// Its number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<port>`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}
