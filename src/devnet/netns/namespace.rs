//! One namespace: its name, its end, and what runs in it.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::command::{ip, run, sysctl};
use super::error::NetnsError;

/// Where the system keeps the names of namespaces.
const NAMES: &str = "/run/netns";
/// Where files are that stand in for those of `/etc` in a namespace.
const ETC: &str = "/etc/netns";
/// How the names of ours begin.
const PREFIX: &str = "ocm";

/// A namespace of this process; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback up, in which addresses hold as soon as they are given.
    pub(super) fn new(label: &str) -> Result<Self, NetnsError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let start = started(pid).unwrap_or_default();
        let name = format!("{PREFIX}-{pid}-{start}-{number}-{label}");
        run("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        // Nobody else has the addresses that are given here: there is no need to wait and ask. Some
        // of the machine's own settings would be inherited.
        let settings = [
            "net.ipv6.conf.all.accept_dad=0",
            "net.ipv6.conf.default.accept_dad=0",
            "net.ipv4.ip_forward=0",
            "net.ipv6.conf.all.forwarding=0",
        ];
        sysctl(&namespace.name, &settings)?;
        ip(&namespace.name, &["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where files are that stand in for those of `/etc` for programs started in it.
    pub(super) fn etc(&self) -> PathBuf {
        Path::new(ETC).join(&self.name)
    }

    /// Runs something on a thread that is in this namespace: its sockets are of this host.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        let path = Path::new(NAMES).join(&self.name);
        let failed = |what| {
            let path = path.clone();
            move |source| NetnsError::File { what, path, source }
        };
        let file = File::open(&path).map_err(failed("open"))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(|e| failed("enter")(e.into()))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            tracing::warn!(%error, "a network namespace is left behind");
        }
    }
}

/// Removes what processes that are gone left behind. Returns the names of the namespaces removed.
///
/// # Errors
/// [`NetnsError`], when one of them cannot be removed.
pub fn sweep() -> Result<Vec<String>, NetnsError> {
    let mut removed = Vec::new();
    for place in [NAMES, ETC] {
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if owner(&name).is_some_and(|(pid, start)| started(pid) != Some(start)) {
                remove(&name)?;
                removed.push(name);
            }
        }
    }
    removed.dedup();
    Ok(removed)
}

/// Ends what runs in a namespace of ours, and removes it with its files. One that is gone already,
/// as when two processes sweep, is no error.
fn remove(name: &str) -> Result<(), NetnsError> {
    let etc = Path::new(ETC).join(name);
    if etc.exists()
        && let Err(source) = std::fs::remove_dir_all(&etc)
        && source.kind() != std::io::ErrorKind::NotFound
    {
        return Err(NetnsError::File { what: "remove", path: etc, source });
    }
    let path = Path::new(NAMES).join(name);
    if !path.exists() {
        return Ok(());
    }
    let removed = end_processes(name).and_then(|()| run("ip", &["netns", "delete", name]));
    match removed {
        Err(error) if path.exists() => Err(error),
        _ => Ok(()),
    }
}

fn end_processes(name: &str) -> Result<(), NetnsError> {
    let own = std::process::id().cast_signed();
    for line in run("ip", &["netns", "pids", name])?.lines() {
        if let Some(pid) = line.trim().parse().ok().filter(|pid| *pid != own)
            && let Some(pid) = Pid::from_raw(pid)
        {
            // An error only says that it has ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}

/// The process that a name says it is of, and when that started; `None` for names of others.
fn owner(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.splitn(5, '-');
    if parts.next()? != PREFIX {
        return None;
    }
    let (pid, start) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let _number: u32 = parts.next()?.parse().ok()?;
    parts.next().map(|_| (pid, start))
}

/// When a process started, in clock ticks since the machine did; `None` when there is none.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything; the 20th field after it is this.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_an_owner() {
        assert_eq!(owner("ocm-12-345-0-host-a"), Some((12, 345)));
        for other in
            ["ocm", "ocm-12", "ocm-12-345-0", "ocm-x-345-0-a", "cni-1-2-3-a", "ocm2-1-2-3-a"]
        {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn a_process_has_a_start() {
        let own = started(std::process::id());
        assert!(own.is_some_and(|ticks| ticks > 0), "{own:?}");
        assert_eq!(started(u32::MAX), None);
    }
}
