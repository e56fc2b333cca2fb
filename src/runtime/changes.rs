//! Changes that many ask for at once are carried out in groups: what a signature, a batch and a
//! flush cost beside the record itself is shared by all of a group.
//!
//! One group is under way at a time, and the next one gathers meanwhile. Whoever was answered with
//! the last group is likely to ask again: the next one waits for as many, but not longer than the
//! last one took. A change that comes alone waits for nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ocm_node::{Command, Ticket};

/// How long a group is gathered at most, after the one before it was answered.
const GATHERED_FOR: Duration = Duration::from_millis(10);

/// The changes that wait, and the group that is under way.
pub(super) struct Changes {
    waiting: Vec<(Ticket, Command)>,
    under_way: BTreeSet<Ticket>,
    /// Changes in the last group, when it was begun, and when the next one need not wait any more.
    last: usize,
    began: Instant,
    until: Instant,
}

impl Changes {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: Vec::new(), under_way: BTreeSet::new(), last: 0, began: now, until: now }
    }

    /// Changes that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a change that is asked for.
    pub(super) fn push(&mut self, ticket: Ticket, command: Command) {
        self.waiting.push((ticket, command));
    }

    /// How long until the next group is to be begun, if nothing happens; `None` while there is
    /// nothing to begin, or one is under way.
    pub(super) fn due(&self, now: Instant) -> Option<Duration> {
        if self.waiting.is_empty() || !self.under_way.is_empty() {
            return None;
        }
        let whole = self.waiting.len() >= self.last;
        Some(if whole { Duration::ZERO } else { self.until.saturating_duration_since(now) })
    }

    /// Begins the next group: what waits.
    pub(super) fn begin(&mut self, now: Instant) -> Vec<(Ticket, Command)> {
        self.under_way.extend(self.waiting.iter().map(|(ticket, _)| *ticket));
        self.last = self.waiting.len();
        self.began = now;
        std::mem::take(&mut self.waiting)
    }

    /// A command was answered.
    pub(super) fn answered(&mut self, ticket: Ticket, now: Instant) {
        if self.under_way.remove(&ticket) && self.under_way.is_empty() {
            self.until = now + (now - self.began).min(GATHERED_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::{RecordId, SpaceId};

    const MS: Duration = Duration::from_millis(1);

    struct Clients {
        changes: Changes,
        now: Instant,
        ticket: Ticket,
    }

    impl Clients {
        fn new() -> Self {
            let now = Instant::now();
            Self { changes: Changes::new(now), now, ticket: 0 }
        }

        fn ask(&mut self, count: usize) {
            for _ in 0..count {
                self.ticket += 1;
                let space = SpaceId(RecordId::of_header(ocm_record::Time(1), b"a space"));
                self.changes.push(self.ticket, Command::Join { space });
            }
        }

        fn due(&self) -> Option<Duration> {
            self.changes.due(self.now)
        }

        fn group(&mut self, took: Duration) -> usize {
            let group = self.changes.begin(self.now);
            self.now += took;
            for (ticket, _) in &group {
                assert_eq!(self.due(), None, "one group at a time");
                self.changes.answered(*ticket, self.now);
            }
            group.len()
        }
    }

    #[test]
    fn a_change_that_comes_alone_waits_for_nothing() {
        let mut clients = Clients::new();
        for _ in 0..3 {
            assert_eq!(clients.due(), None, "nothing was asked for");
            clients.ask(1);
            assert_eq!(clients.due(), Some(Duration::ZERO));
            assert_eq!(clients.group(MS), 1);
        }
    }

    #[test]
    fn a_group_waits_for_as_many_as_the_last_one_had_but_not_for_ever() {
        let mut clients = Clients::new();
        clients.ask(3);
        clients.group(4 * MS);
        clients.ask(2);
        assert_eq!(clients.due(), Some(4 * MS), "one more is expected, as long as the last took");
        clients.now += MS;
        assert_eq!(clients.due(), Some(3 * MS));
        clients.ask(1);
        assert_eq!(clients.due(), Some(Duration::ZERO), "all are there");
        assert_eq!(clients.group(Duration::from_secs(1)), 3);
        clients.ask(1);
        assert_eq!(clients.due(), Some(GATHERED_FOR), "however long the last one took");
        clients.now += GATHERED_FOR;
        assert_eq!(clients.due(), Some(Duration::ZERO), "the others have gone");
        assert_eq!(clients.group(MS), 1);
        clients.ask(1);
        assert_eq!(clients.due(), Some(Duration::ZERO), "and are not waited for again");
    }

    #[test]
    fn what_comes_after_a_pause_waits_for_nothing() {
        let mut clients = Clients::new();
        clients.ask(64);
        clients.group(MS);
        clients.now += MS;
        clients.ask(1);
        assert_eq!(clients.due(), Some(Duration::ZERO));
    }

    #[test]
    fn answers_to_other_commands_end_no_group() {
        let mut clients = Clients::new();
        clients.ask(2);
        let group = clients.changes.begin(clients.now);
        clients.ask(1);
        clients.changes.answered(77, clients.now);
        clients.changes.answered(group[0].0, clients.now);
        assert_eq!(clients.due(), None);
        clients.changes.answered(group[1].0, clients.now);
        assert!(clients.due().is_some());
    }
}
