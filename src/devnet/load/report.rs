//! What a load has measured.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::error::DevnetError;
use super::super::wait::Node;
use super::LoadArgs;

/// A rate below this share of what was asked for is said not to be reached.
const REACHED: f64 = 0.95;

/// What a node uses, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    /// Bytes of its store on the disk.
    pub(super) disk: Option<u64>,
    /// Processor time; `None` where the system does not tell.
    pub(super) cpu: Option<Duration>,
}

impl Use {
    /// What a node uses now.
    pub(super) fn of(node: &Node) -> Result<Self, DevnetError> {
        let stats = node.read("/stats", "say how large its store is")?;
        let disk = stats.json()["disk"]["store_bytes"].as_u64();
        Ok(Self { disk, cpu: processor_time_of(node) })
    }
}

/// The processor time that a node has used until now.
pub(super) fn processor_time_of(node: &Node) -> Option<Duration> {
    node.entry.pid.and_then(processor_time)
}

/// The processor time that a process has used, as Linux tells it, in ticks of 10 ms.
fn processor_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have anything in it.
    let (_, after) = stat.rsplit_once(')')?;
    let ticks = after.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().ok());
    ticks.sum::<Option<u64>>().map(|ticks| Duration::from_millis(ticks * 10))
}

/// What was measured over all nodes.
pub(super) struct Measured {
    pub(super) took: Duration,
    pub(super) written: u64,
    /// Writes that failed, and how the first of them did.
    pub(super) failures: (u64, Option<String>),
    /// From acknowledgement to the last node, for each that reached all; the shortest first.
    pub(super) reach: Vec<Duration>,
    /// Memories that came to be everywhere meanwhile, those of other loads included.
    pub(super) everywhere: u64,
    /// Memories that are everywhere, since when is not known.
    pub(super) untimed: u64,
    pub(super) lagged: u64,
    pub(super) interrupted: bool,
}

/// What a load has measured.
#[derive(Debug)]
pub(crate) struct Report {
    rate: u32,
    size: u32,
    pub(super) written: u64,
    /// Those of them that are on all nodes.
    pub(super) arrived: u64,
    pub(super) interrupted: bool,
    seconds: f64,
    failures: (u64, Option<String>),
    reach: Option<[f64; 3]>,
    untimed: u64,
    lagged: u64,
    disk: Option<f64>,
    /// By node: percent of one core.
    cpu: Vec<(usize, Option<f64>)>,
    /// What nodes lack, and why, where that is known.
    pub(super) lacking: Vec<(usize, String)>,
}

impl Report {
    pub(super) fn new(
        args: &LoadArgs,
        measured: Measured,
        uses: impl Iterator<Item = (usize, (Use, Use))>,
        lacking: Vec<(usize, String)>,
    ) -> Self {
        let Measured { took, written, failures, reach, everywhere, untimed, lagged, interrupted } =
            measured;
        let within = |share: f64| {
            let last = reach.len().checked_sub(1)?;
            Some(reach[(last as f64 * share).round() as usize].as_secs_f64() * 1000.0)
        };
        let uses: Vec<(usize, (Use, Use))> = uses.collect();
        let grown =
            uses.iter().map(|(_, (before, after))| Some(after.disk? as f64 - before.disk? as f64));
        let grown = grown.sum::<Option<f64>>().filter(|_| everywhere > 0);
        // Both were taken when nothing more was written.
        let cpu = uses.iter().map(|(index, (before, after))| {
            let used =
                after.cpu.zip(before.cpu).map(|(after, before)| after.saturating_sub(before));
            (*index, used.map(|used| used.as_secs_f64() / took.as_secs_f64() * 100.0))
        });
        Self {
            rate: args.rate,
            size: args.size,
            written,
            arrived: reach.len() as u64 + untimed,
            interrupted,
            seconds: took.as_secs_f64(),
            failures,
            reach: within(0.5).zip(within(0.99)).zip(within(1.0)).map(|((a, b), c)| [a, b, c]),
            untimed,
            lagged,
            disk: grown.map(|grown| grown / uses.len() as f64 / everywhere as f64),
            cpu: cpu.collect(),
            lacking,
        }
    }

    fn reached(&self) -> f64 {
        self.written as f64 / self.seconds
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> Json {
        let cpu: Vec<Json> = self
            .cpu
            .iter()
            .map(|(index, percent)| json!({"index": index, "percent_of_a_core": percent}))
            .collect();
        json!({
            "rate": {"asked": self.rate, "reached": self.reached()},
            "seconds": self.seconds,
            "size": self.size,
            "written": self.written,
            "failed": self.failures.0,
            "arrived": self.arrived,
            "untimed": self.untimed,
            "reach_ms": self.reach.map(|[p50, p99, max]| json!({"p50": p50, "p99": p99, "max": max})),
            "disk_bytes_per_record": self.disk,
            "cpu": cpu,
            "interrupted": self.interrupted,
        })
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut lines = vec![format!(
            "written      {} memories of {} bytes of text in {:.1} s: {:.0}/s of {}/s asked for",
            self.written,
            self.size,
            self.seconds,
            self.reached(),
            self.rate
        )];
        lines.push(match self.reach {
            Some([p50, p99, max]) => format!(
                "everywhere   {} of them; after their acknowledgement p50 {p50:.1} ms, p99 {p99:.1} \
                 ms, max {max:.1} ms",
                self.arrived
            ),
            None => format!("everywhere   {} of them", self.arrived),
        });
        if let Some(disk) = self.disk {
            lines.push(format!("on disk      {disk:.0} bytes a memory on each node"));
        }
        let cpu: Vec<String> = self
            .cpu
            .iter()
            .filter_map(|(index, percent)| Some(format!("node {index} {:.0} %", (*percent)?)))
            .collect();
        if !cpu.is_empty() {
            lines.push(format!("CPU          {} (of one core)", cpu.join(", ")));
        }
        lines.join("\n") + "\n"
    }

    /// What is to be said beside it.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.interrupted {
            notes.push("interrupted: this is what was measured until then".to_owned());
        } else if self.reached() < f64::from(self.rate) * REACHED {
            notes.push(format!(
                "the rate was not reached: {:.0}/s of {}/s",
                self.reached(),
                self.rate
            ));
        }
        if let (failed, Some(first)) = &self.failures {
            notes.push(format!("{failed} writes failed, the first one with: {first}"));
        }
        if self.lagged > 0 {
            notes.push(format!(
                "{} events were lost, for this process was slower than a node: {} memories are \
                 counted that were found by asking, without a time",
                self.lagged, self.untimed
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_shared_with_other_loads_and_the_processor_measured_while_writing() {
        let at = |disk, cpu_ms| Use { disk: Some(disk), cpu: Some(Duration::from_millis(cpu_ms)) };
        let uses = [(0, (at(0, 100), at(1000, 600))), (1, (at(500, 0), at(1500, 1000)))];
        let measured = Measured {
            took: Duration::from_secs(2),
            written: 5,
            failures: (0, None),
            reach: vec![Duration::from_millis(3); 5],
            everywhere: 10,
            untimed: 0,
            lagged: 0,
            interrupted: false,
        };
        let args = LoadArgs { rate: 3, seconds: 2, size: 10 };
        let json = Report::new(&args, measured, uses.into_iter(), Vec::new()).to_json();
        assert_eq!(json["disk_bytes_per_record"], 100.0);
        assert_eq!(json["rate"], json!({"asked": 3, "reached": 2.5}));
        let cpu = |index: usize| json["cpu"][index]["percent_of_a_core"].clone();
        assert_eq!((cpu(0), cpu(1)), (json!(25.0), json!(50.0)));
    }
}
