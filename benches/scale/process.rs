//! Processes of their own, and what they take.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::{bare, floor, gossip, transfer, write};

/// The first argument of a process that is part of a measurement.
pub(crate) const CHILD: &str = "child";

/// Does what a child is told to.
pub(crate) fn be(args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["idle", dir] => transfer::idle(Path::new(dir)),
        ["serve", dir] => transfer::serve(Path::new(dir)),
        ["receive", dir, from, space, count] => {
            transfer::receive(Path::new(dir), from, space.parse().unwrap(), count.parse().unwrap());
        }
        ["http", answer] => bare::http(answer),
        ["node", dir] => write::node(Path::new(dir), "", None),
        ["node", dir, seeds, space] => {
            write::node(Path::new(dir), seeds, Some(space.parse().unwrap()));
        }
        ["gossip", dir, count] => gossip::nodes(Path::new(dir), count.parse().unwrap()),
        ["gossip-bare", count] => gossip::bare(count.parse().unwrap()),
        ["floor-serve", dir] => floor::serve(Path::new(dir)),
        ["floor-receive", dir, from, count] => {
            floor::receive(Path::new(dir), from, count.parse().unwrap());
        }
        _ => panic!("unknown part: {args:?}"),
    }
}

/// A child that says one line at a time.
pub(crate) struct Part {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Part {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(CHILD)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { input: child.stdin.take(), child, lines }
    }

    /// Its next line.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "a part of the measurement ended early");
        line.trim().to_owned()
    }

    /// Gives it a line.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Its resident memory, in MB.
    pub(crate) fn resident(&self) -> f64 {
        memory(self.child.id(), "VmRSS:")
    }

    /// Seconds of processor time that it has used.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(&self.child.id().to_string())
    }

    /// The highest resident memory so far, in MB.
    pub(crate) fn peak(&self) -> f64 {
        memory(self.child.id(), "VmHWM:")
    }

    /// Tells it to end, and waits for that.
    pub(crate) fn end(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says a line to the process that measures.
pub(crate) fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// The next line that the process that measures gives this one; `None` when it is done with it.
pub(crate) fn read_line() -> Option<String> {
    let mut line = String::new();
    (std::io::stdin().lock().read_line(&mut line).unwrap() > 0).then_some(line)
}

/// Waits until the process that measures is done with this one.
pub(crate) fn wait_for_the_end() {
    // Ends with the other end of the pipe.
    let _ = std::io::stdin().lock().lines().count();
}

/// A figure of a process's memory, in MB.
pub(crate) fn memory(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
}

/// Bytes of all files below a directory, as they lie on the disk.
pub(crate) fn disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        bytes += if meta.is_dir() { disk(&entry.path()) } else { meta.blocks() * 512 };
    }
    bytes
}

/// Seconds of processor time that this process has used.
pub(crate) fn own_cpu() -> f64 {
    cpu("self")
}

fn cpu(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, after) = stat.rsplit_once(')').unwrap();
    let ticks = after.split_whitespace().skip(11).take(2).map(|n| n.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}
