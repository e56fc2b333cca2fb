//! Running the programs that make links.

use std::process::{Command, Stdio};

use super::error::NetnsError;

/// Runs a program and returns what it wrote to its standard output.
pub(super) fn run(program: &str, args: &[&str]) -> Result<String, NetnsError> {
    let shown = || [&[program], args].concat().join(" ");
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| NetnsError::Run { command: shown(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = [output.stdout, output.stderr].concat();
    Err(NetnsError::Failed {
        command: shown(),
        status: output.status,
        printed: String::from_utf8_lossy(&printed).trim().to_owned(),
    })
}

/// Runs `ip` in a namespace.
pub(super) fn ip(namespace: &str, args: &[&str]) -> Result<(), NetnsError> {
    run("ip", &[&["-n", namespace], args].concat()).map(drop)
}

/// Sets variables of the kernel in a namespace.
pub(super) fn sysctl(namespace: &str, settings: &[&str]) -> Result<(), NetnsError> {
    let head = ["netns", "exec", namespace, "sysctl", "-q", "-w"];
    run("ip", &[&head, settings].concat()).map(drop)
}
