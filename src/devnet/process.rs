//! The processes of nodes: starting them, telling them from strangers, and ending them.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::environment;
use super::error::{DevnetError, file};
use super::hosts;
use super::interrupt::Interrupt;
use super::state::{Devnet, NodeEntry};

/// How long a node may take to stop in good order.
const GRACE: Duration = Duration::from_secs(10);
/// How long the system may take to end a process that was killed.
const KILLED: Duration = Duration::from_secs(5);
/// Between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a log's end that are looked at.
const TAIL: u64 = 16 * 1024;

/// What a recorded process is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the node.
    Ours,
    /// Something else has got its number.
    Stranger,
    /// There is none.
    Gone,
}

/// What the process of this number is: ours if it runs this program on this data directory.
#[cfg(target_os = "linux")]
pub(crate) fn standing(pid: u32, executable: &Path, data_dir: &Path) -> Standing {
    use std::os::unix::ffi::OsStrExt as _;
    let proc = Path::new("/proc").join(pid.to_string());
    // A process that has ended and that nobody has waited for has no program any more.
    let program = match std::fs::read_link(proc.join("exe")) {
        Ok(program) => program,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Standing::Stranger;
        }
        Err(_) => return Standing::Gone,
    };
    // What a program is called whose file was replaced since.
    let name = program.as_os_str().as_bytes();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let wanted = executable.as_os_str().as_bytes();
    let wanted = wanted.strip_suffix(b" (deleted)").unwrap_or(wanted);
    let variable = [b"OCM_DATA_DIR=", data_dir.as_os_str().as_bytes()].concat();
    let has_variable = environment_of(&proc)
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|found| found == variable));
    if name == wanted && has_variable { Standing::Ours } else { Standing::Stranger }
}

/// The environment of a process. While the system lays out a program that has just begun, it reads
/// as empty: that moment is waited for.
#[cfg(target_os = "linux")]
fn environment_of(proc: &Path) -> std::io::Result<Vec<u8>> {
    let until = Instant::now() + LOOK * 4;
    loop {
        let environ = std::fs::read(proc.join("environ"))?;
        if !environ.is_empty() || Instant::now() >= until {
            return Ok(environ);
        }
        std::thread::yield_now();
    }
}

/// What the process of this number is. This system does not tell what it runs.
#[cfg(not(target_os = "linux"))]
pub(crate) fn standing(pid: u32, _executable: &Path, _data_dir: &Path) -> Standing {
    // A child that has ended is there until it is waited for.
    let reaped = number(pid).is_some_and(|pid| {
        let ended = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        matches!(ended, Ok(Some(_)))
    });
    match number(pid).filter(|_| !reaped).map(rustix::process::test_kill_process) {
        Some(Ok(())) => Standing::Ours,
        Some(Err(rustix::io::Errno::PERM)) => Standing::Stranger,
        Some(Err(_)) | None => Standing::Gone,
    }
}

/// The number as the system takes it; never one that stands for several processes, or for init.
fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)
}

/// Starts a node, in a process group of its own, so that it outlives this process.
pub(crate) fn start(devnet: &Devnet, node: &NodeEntry) -> Result<Child, DevnetError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let log = options.open(&node.log).map_err(file("open", &node.log))?;
    let same = log.try_clone().map_err(file("open", &node.log))?;
    let failed = |source| DevnetError::Run { program: devnet.executable.clone(), source };
    let mut child = command(devnet, node)
        .arg("node")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(same)
        .spawn()
        .map_err(failed)?;
    if devnet.site.is_some() {
        // What has put it on its host is to be the node before anyone asks what the process is.
        let until = Instant::now() + GRACE;
        let pid = child.id();
        while standing(pid, &devnet.executable, &node.data_dir) != Standing::Ours
            && Instant::now() < until
        {
            if child.try_wait().map_err(failed)?.is_some() {
                break;
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(child)
}

/// The program with a node's environment, on the host of the node if it has one, in a process group
/// of its own.
pub(crate) fn command(devnet: &Devnet, node: &NodeEntry) -> Command {
    let mut command = match &devnet.site {
        Some(site) => hosts::command(site, node, &devnet.executable),
        None => Command::new(&devnet.executable),
    };
    environment::apply(&mut command, &environment::of_node(devnet, node));
    command.process_group(0);
    command
}

/// Sends a signal to the process of a node, unless it is a stranger's or gone.
fn signal(devnet: &Devnet, node: &NodeEntry, signal: Signal) -> Standing {
    let standing = node.standing(&devnet.executable);
    if standing == Standing::Ours
        && let Some(pid) = node.pid.and_then(number)
        && kill_process(pid, signal).is_err()
    {
        // It ended in between; whoever waits for it will see.
        return Standing::Gone;
    }
    standing
}

/// Kills a node, without any chance to put things in order.
pub(crate) fn kill(devnet: &Devnet, index: usize) -> Result<(), DevnetError> {
    let node = devnet.node(index)?;
    match (signal(devnet, node, Signal::KILL), node.pid) {
        (Standing::Ours, _) => wait_gone(devnet, &[node], Instant::now() + KILLED, &|| false)
            .into_iter()
            .next()
            .map_or(Ok(()), Err),
        (Standing::Stranger, Some(pid)) => Err(DevnetError::Stranger { index, pid }),
        (Standing::Stranger, None) | (Standing::Gone, _) => Err(DevnetError::NotRunning(index)),
    }
}

/// Ends nodes: in good order, and those that take too long by force. A second signal to this
/// process means: by force now. Returns those that could not be ended.
pub(crate) fn stop(devnet: &Devnet, indexes: &[usize], interrupt: &Interrupt) -> Vec<DevnetError> {
    let chosen = |node: &&NodeEntry| indexes.contains(&node.index);
    let nodes: Vec<&NodeEntry> = devnet.nodes.iter().filter(chosen).collect();
    for node in &nodes {
        signal(devnet, node, Signal::TERM);
    }
    let impatient = || interrupt.times() > 1;
    if wait_gone(devnet, &nodes, Instant::now() + GRACE, &impatient).is_empty() {
        return Vec::new();
    }
    for node in &nodes {
        signal(devnet, node, Signal::KILL);
    }
    wait_gone(devnet, &nodes, Instant::now() + KILLED, &|| false)
}

/// Waits until the nodes' processes are gone, and names those that are not by then.
fn wait_gone(
    devnet: &Devnet,
    nodes: &[&NodeEntry],
    until: Instant,
    enough: &dyn Fn() -> bool,
) -> Vec<DevnetError> {
    loop {
        let here = nodes.iter().filter(|node| node.standing(&devnet.executable) == Standing::Ours);
        let unending =
            |node: &&NodeEntry| Some(DevnetError::Unending { index: node.index, pid: node.pid? });
        let left: Vec<DevnetError> = here.filter_map(unending).collect();
        if left.is_empty() || Instant::now() >= until || enough() {
            return left;
        }
        std::thread::sleep(LOOK);
    }
}

/// The last lines of a log; nothing where there is none.
pub(crate) fn log_tail(path: &Path, lines: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut log = std::fs::File::open(path)?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        log.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Where a program that sleeps really lies.
    fn sleeper() -> std::path::PathBuf {
        let found =
            ["/usr/bin/sleep", "/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
        std::fs::canonicalize(found.unwrap()).unwrap()
    }

    /// A devnet of one node whose program sleeps, and its process.
    fn sleeping(dir: &Path, data_dir: &Path) -> (Devnet, Child) {
        let mut devnet = Devnet::plan(dir, sleeper(), 1, 17_000, BTreeMap::new()).unwrap();
        let mut command = Command::new(&devnet.executable);
        let child = command.arg("60").env("OCM_DATA_DIR", data_dir).spawn().unwrap();
        devnet.set_pid(0, Some(child.id()));
        (devnet, child)
    }

    #[test]
    fn a_node_is_killed_once() {
        let dir = tempfile::tempdir().unwrap();
        let (devnet, mut child) = sleeping(dir.path(), &dir.path().join("node-0"));
        assert_eq!(devnet.running(), 1);
        kill(&devnet, 0).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(matches!(kill(&devnet, 0), Err(DevnetError::NotRunning(0))));
        assert!(matches!(kill(&devnet, 1), Err(DevnetError::NoNode { .. })));
    }

    #[test]
    fn a_node_that_is_told_to_stop_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (devnet, mut child) = sleeping(dir.path(), &dir.path().join("node-0"));
        assert!(stop(&devnet, &[], &Interrupt::default()).is_empty());
        assert_eq!(devnet.running(), 1);
        assert!(stop(&devnet, &[0], &Interrupt::default()).is_empty());
        assert!(!child.wait().unwrap().success());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_is_not_the_node_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        // The same program for another directory, then another program with the node's directory.
        let (devnet, mut other_dir) = sleeping(dir.path(), Path::new("/elsewhere/node-0"));
        let (mut other_program, mut same_dir) = sleeping(dir.path(), &dir.path().join("node-0"));
        other_program.executable = "/bin/ocm".into();
        for (devnet, child) in [(devnet, &mut other_dir), (other_program, &mut same_dir)] {
            assert_eq!(devnet.running(), 0);
            assert!(matches!(kill(&devnet, 0), Err(DevnetError::Stranger { index: 0, .. })));
            assert!(stop(&devnet, &[0], &Interrupt::default()).is_empty());
            assert!(child.try_wait().unwrap().is_none(), "it was ended");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn numbers_that_stand_for_several_processes_are_none() {
        for pid in [0, 1, u32::MAX, 1 << 31] {
            assert_eq!(number(pid), None);
        }
        assert!(number(2).is_some());
    }

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(log_tail(&path, 3), "");
        let lines: Vec<String> = (0..5000).map(|at| format!("line {at}")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(log_tail(&path, 2), "line 4998\nline 4999");
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(log_tail(&path, 2), "one");
    }
}
