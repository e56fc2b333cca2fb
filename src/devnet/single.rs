//! Commands on one node: kill, start, exec, logs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::check;
use super::environment;
use super::error::{DevnetError, file};
use super::hosts::{self, Hosts};
use super::process::{self, Standing};
use super::state::Devnet;
use super::up::own_program;
use super::wait::{Node, Patience, each};

/// Between two looks at a log that is followed.
const FOLLOW: Duration = Duration::from_millis(200);

/// `ocm devnet kill I`.
pub(crate) fn kill(devnet: &mut Devnet, dir: &Path, index: usize) -> Result<(), DevnetError> {
    process::kill(devnet, index)?;
    devnet.set_pid(index, None);
    devnet.save(dir)
}

/// `ocm devnet start I`: returns when the node is ready, with its process.
pub(crate) fn start(
    devnet: &mut Devnet,
    dir: &Path,
    index: usize,
    patience: &Patience,
) -> Result<u32, DevnetError> {
    let node = devnet.node(index)?;
    if let (Standing::Ours, Some(pid)) = (node.standing(&devnet.executable), node.pid) {
        return Err(DevnetError::IsRunning { index, pid });
    }
    if devnet.site.is_some() {
        Hosts::raise(devnet, dir)?;
    }
    let child = process::start(devnet, node)?;
    let pid = child.id();
    devnet.set_pid(index, Some(pid));
    devnet.kept = false;
    devnet.save(dir)?;
    let node = Node::of(devnet, index, Some(child))?;
    each(&[&node], patience, "the node is ready", |node, _| check::ready(node))?;
    Ok(pid)
}

/// `ocm devnet exec I -- COMMAND…`: becomes `ocm COMMAND…` with the environment of a node, so that
/// its input, output and exit code are the command's own. Returns only if it cannot.
pub(crate) fn exec(
    devnet: &Devnet,
    index: usize,
    arguments: &[OsString],
    json: bool,
) -> DevnetError {
    let node = match devnet.node(index) {
        Ok(node) => node,
        Err(error) => return error,
    };
    let program = match own_program() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = match &devnet.site {
        Some(site) if !hosts::is_there(site, node) => return DevnetError::NotRunning(index),
        Some(site) => hosts::command(site, node, &program),
        None => Command::new(&program),
    };
    environment::apply(&mut command, &environment::of_node(devnet, node));
    if json {
        command.arg("--json");
    }
    let source = command.args(arguments).exec();
    DevnetError::Run { program, source }
}

/// `ocm devnet logs I`: the whole log; then, if it is followed, what comes, until a signal.
pub(crate) fn logs(
    devnet: &Devnet,
    index: usize,
    follow: bool,
    output: &mut dyn Write,
) -> Result<(), DevnetError> {
    let path = &devnet.node(index)?.log;
    let mut log = File::open(path).map_err(file("open", path))?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = log.read(&mut piece).map_err(file("read", path))?;
        if read > 0 {
            output.write_all(&piece[..read]).map_err(DevnetError::Output)?;
            continue;
        }
        output.flush().map_err(DevnetError::Output)?;
        if !follow {
            return Ok(());
        }
        std::thread::sleep(FOLLOW);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_log_is_printed_whole() {
        let dir = tempfile::tempdir().unwrap();
        let devnet =
            Devnet::plan(dir.path(), "/bin/ocm".into(), 1, 17_000, BTreeMap::new()).unwrap();
        let mut output = Vec::new();
        let missing = logs(&devnet, 0, false, &mut output).unwrap_err();
        assert!(matches!(missing, DevnetError::File { .. }));
        std::fs::create_dir(&devnet.nodes[0].data_dir).unwrap();
        let text = "line\n".repeat(50_000);
        std::fs::write(&devnet.nodes[0].log, &text).unwrap();
        logs(&devnet, 0, false, &mut output).unwrap();
        assert_eq!(output, text.as_bytes());
    }
}
