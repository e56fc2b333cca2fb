//! One namespace: its name, its end, and what runs in it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::command::{ip, run, sysctl};
use super::error::NetnsError;

/// Where the system keeps the names of namespaces.
const NAMES: &str = "/run/netns";
/// Where files are that stand in for those of `/etc` in a namespace.
const ETC: &str = "/etc/netns";
/// How the names of ours begin.
const PREFIX: &str = "ocm";

/// A namespace. One of this process is removed when it is dropped, a lasting one when it is told.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    lasting: bool,
}

impl Namespace {
    /// Makes a namespace of this process, with a number that no other one of it has.
    pub(super) fn new(label: &str) -> Result<(Self, u32), NetnsError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}-{label}", this_process());
        Ok((Self::make(Self { name, lasting: false })?, number))
    }

    /// A lasting namespace, which is made where it is not there. Says whether it was.
    pub(super) fn lasting(name: String) -> Result<(Self, bool), NetnsError> {
        let namespace = Self { name, lasting: true };
        let was = exists(&namespace.name);
        Ok((if was { namespace } else { Self::make(namespace)? }, was))
    }

    /// Makes it, with its loopback up; addresses in it hold as soon as they are given.
    fn make(namespace: Self) -> Result<Self, NetnsError> {
        run("ip", &["netns", "add", &namespace.name])?;
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
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.lasting
            && let Err(error) = remove(&self.name)
        {
            tracing::warn!(%error, "a network namespace is left behind");
        }
    }
}

/// Writes a file that stands in for one of `/etc` for programs started in the namespace of a name.
///
/// # Errors
/// [`NetnsError::File`].
pub(crate) fn write_etc(namespace: &str, name: &str, text: &str) -> Result<(), NetnsError> {
    let folder = Path::new(ETC).join(namespace);
    let path = folder.join(name);
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|source| NetnsError::File { what: "write", path, source })
}

/// What a file says that stands in for one of `/etc` in the namespace of a name.
pub(crate) fn read_etc(namespace: &str, name: &str) -> Option<String> {
    std::fs::read_to_string(Path::new(ETC).join(namespace).join(name)).ok()
}

/// A command that runs a program in the namespace of a name; it becomes that program, under its own
/// id.
pub(crate) fn command_in(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// Runs something on a thread that is in the namespace of a name: its sockets are of that host.
///
/// # Errors
/// [`NetnsError::File`], when it cannot be entered.
pub(crate) fn within<T: Send>(
    name: &str,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    let path = Path::new(NAMES).join(name);
    let failed = |what| {
        let path = path.clone();
        move |source| NetnsError::File { what, path, source }
    };
    let file = File::open(&path).map_err(failed("open"))?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            enter(&file).map_err(failed("enter"))?;
            Ok(work())
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Puts this thread into a namespace.
#[cfg(target_os = "linux")]
fn enter(namespace: &File) -> std::io::Result<()> {
    use std::os::fd::AsFd as _;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// There are none on this system.
#[cfg(not(target_os = "linux"))]
fn enter(_: &File) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
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

/// This process as it stands in names: its number, and when it started, so that no other one is
/// ever called the same.
pub(crate) fn this_process() -> String {
    let pid = std::process::id();
    format!("{pid}-{}", started(pid).unwrap_or_default())
}

/// The lasting namespaces whose names begin so.
pub(super) fn lasting(prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = [NAMES, ETC]
        .into_iter()
        .filter_map(|place| std::fs::read_dir(place).ok())
        .flat_map(|entries| entries.flatten().filter_map(|e| e.file_name().into_string().ok()))
        .filter(|name| name.starts_with(prefix) && owner(name).is_none())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Ends what runs in a namespace of ours, and removes it with its files. One that is gone already,
/// as when two processes sweep, is no error.
pub(super) fn remove(name: &str) -> Result<(), NetnsError> {
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
    for pid in processes(name)? {
        // An error only says that it has ended.
        let _ = kill_process(pid, Signal::KILL);
    }
    Ok(())
}

/// Whether there is a namespace of a name.
pub(crate) fn exists(name: &str) -> bool {
    Path::new(NAMES).join(name).exists()
}

/// What runs in a namespace, but for this process; nothing where there is none.
pub(super) fn processes(name: &str) -> Result<Vec<Pid>, NetnsError> {
    if !exists(name) {
        return Ok(Vec::new());
    }
    let own = std::process::id().cast_signed();
    let pids = match run("ip", &["netns", "pids", name]) {
        // Someone else has removed it since.
        Err(_) if !exists(name) => return Ok(Vec::new()),
        pids => pids?,
    };
    let pids = pids.lines().filter_map(|line| line.trim().parse().ok());
    Ok(pids.filter(|pid| *pid != own).filter_map(Pid::from_raw).collect())
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
        for other in [
            "ocm",
            "ocm-12",
            "ocm-12-345-0",
            "ocm-x-345-0-a",
            "ocm-devnet-12-345-node-0",
            "cni-1-2-3-a",
            "ocm2-1-2-3-a",
        ] {
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
