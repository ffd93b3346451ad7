//! What a worker takes from itself before it reads a script: files, processes, memory, system calls,
//! and time.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, Thread},
    time::Duration,
};

use rustix::{
    process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit},
    time::{ClockId, clock_gettime},
};

/// How much a run may exceed its time before the process ends: within it the engine stops by itself,
/// unless it is in one long operation of its own.
const GRACE: Duration = Duration::from_millis(50);
/// How often the watchdog looks.
const PERIOD: Duration = Duration::from_millis(5);
/// Memory above what the program has at its start: twice the largest that a script may be given.
const MEMORY: u64 = 2 * crate::run::MEMORY_MAX as u64;
/// Address space above what the program has at its start.
const ADDRESSES: u64 = 2 * MEMORY;

/// Processor time of this process, in nanoseconds.
pub(super) fn cpu_ns() -> u64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(spent.tv_sec)
        .saturating_mul(1_000_000_000)
        .saturating_add(part(spent.tv_nsec))
}

/// A thread that ends the process when a run is beyond its time, whatever the engine is doing.
pub(super) struct Watchdog {
    /// Processor time at which the process ends; 0 while no run is on.
    deadline: Arc<AtomicU64>,
    thread: Thread,
}

/// While it lives the watchdog watches.
pub(super) struct Armed<'w>(&'w Watchdog);

impl Watchdog {
    pub(super) fn start() -> io::Result<Watchdog> {
        let deadline = Arc::new(AtomicU64::new(0));
        let watched = Arc::clone(&deadline);
        let (started, is_started) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .stack_size(64 << 10)
            .spawn(move || {
                let _ = started.send(());
                loop {
                    match watched.load(Ordering::Acquire) {
                        0 => thread::park(),
                        deadline if cpu_ns() > deadline => {
                            // The pool reads the signal as "too long".
                            let _ = kill_process(getpid(), Signal::XCPU);
                        }
                        _ => thread::sleep(PERIOD),
                    }
                }
            })?;
        // A thread begins with system calls that are soon refused.
        is_started.recv().map_err(io::Error::other)?;
        Ok(Watchdog {
            deadline,
            thread: thread.thread().clone(),
        })
    }

    /// Watches until the result is dropped.
    pub(super) fn arm(&self, deadline: u64) -> Armed<'_> {
        let grace = u64::try_from(GRACE.as_nanos()).unwrap_or(0);
        self.deadline
            .store(deadline.saturating_add(grace).max(1), Ordering::Release);
        self.thread.unpark();
        Armed(self)
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.0.deadline.store(0, Ordering::Release);
    }
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit).map_err(io::Error::from)
}

/// Gives up what a script has no use for. After this the process can compute, read its standard
/// input and write to its standard output.
pub(super) fn confine() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let page = rustix::param::page_size() as u64;
        let status = fs::read_to_string("/proc/self/statm")?;
        let mut sizes = status
            .split_whitespace()
            .map(|pages| pages.parse::<u64>().unwrap_or(0).saturating_mul(page));
        let addresses = sizes.next().unwrap_or(0);
        let data = sizes.nth(4).unwrap_or(0);
        limit(Resource::As, addresses.saturating_add(ADDRESSES))?;
        limit(Resource::Data, data.saturating_add(MEMORY))?;
        limit(Resource::Nproc, 0)?;
    }
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nofile, 0)?;
    #[cfg(target_os = "linux")]
    if let Err(error) = filter_system_calls() {
        // Kernels and container hosts without seccomp: the limits above remain.
        eprintln!("script worker: no filter of system calls: {error}");
    }
    Ok(())
}

/// Lets through what memory, threads, clocks and the two pipes need; everything else fails with EPERM.
#[cfg(target_os = "linux")]
fn filter_system_calls() -> Result<(), seccompiler::Error> {
    use std::collections::BTreeMap;

    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };

    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_gettimeofday,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    // Only on the three files it was made with, whatever else it has inherited; and signals go to this
    // process alone: the watchdog's, and abort's.
    let own = u64::try_from(getpid().as_raw_nonzero().get()).unwrap_or(0);
    for (call, operator, value) in [
        (libc::SYS_read, SeccompCmpOp::Eq, 0),
        (libc::SYS_write, SeccompCmpOp::Le, 2),
        (libc::SYS_kill, SeccompCmpOp::Eq, own),
        (libc::SYS_tgkill, SeccompCmpOp::Eq, own),
    ] {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(
        rules,
        refused,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)
}
