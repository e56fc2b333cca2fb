//! Changes that many ask for at once are carried out in groups: what a signature, a batch and a
//! flush cost beside the record itself is shared by all of a group.
//!
//! Each space has its own: one group is under way at a time, and the next one gathers meanwhile.
//! Whoever was answered with the last group is likely to ask again: the next one waits for as many,
//! but about as long as the last one took and no longer than [`GATHERED_FOR`]. A change waits for
//! nothing where no group of several was answered just before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ocm_node::{Command, Ticket};
use ocm_record::SpaceId;

/// How long a group is gathered at most, after the one before it was answered.
const GATHERED_FOR: Duration = Duration::from_millis(10);

/// The changes that wait, and the groups that are under way.
#[derive(Default)]
pub(super) struct Changes {
    spaces: BTreeMap<SpaceId, Gathering>,
    under_way: BTreeMap<Ticket, SpaceId>,
}

/// The changes of one space.
struct Gathering {
    waiting: Vec<(Ticket, Command)>,
    /// Those under way.
    open: BTreeSet<Ticket>,
    /// Changes in the last group, when it was begun, and when the next one need not wait any more.
    last: usize,
    began: Instant,
    until: Instant,
}

impl Changes {
    /// Changes that wait.
    pub(super) fn len(&self) -> usize {
        self.spaces.values().map(|space| space.waiting.len()).sum()
    }

    /// Adds a change that is asked for.
    pub(super) fn push(&mut self, space: SpaceId, ticket: Ticket, command: Command, now: Instant) {
        let gathering = self.spaces.entry(space).or_insert_with(|| Gathering {
            waiting: Vec::new(),
            open: BTreeSet::new(),
            last: 0,
            began: now,
            until: now,
        });
        gathering.waiting.push((ticket, command));
    }

    /// How long until a group is to be begun, if nothing happens; `None` while there is nothing to
    /// begin, or all that waits follows what is under way.
    pub(super) fn due(&self, now: Instant) -> Option<Duration> {
        self.spaces.values().filter_map(|space| space.due(now)).min()
    }

    /// Begins the groups that are due: what waits, by space.
    pub(super) fn begin(&mut self, now: Instant) -> Vec<Vec<(Ticket, Command)>> {
        let mut groups = Vec::new();
        for (id, space) in &mut self.spaces {
            if space.due(now) == Some(Duration::ZERO) {
                let group = std::mem::take(&mut space.waiting);
                space.open.extend(group.iter().map(|(ticket, _)| *ticket));
                self.under_way.extend(group.iter().map(|(ticket, _)| (*ticket, *id)));
                (space.last, space.began) = (group.len(), now);
                groups.push(group);
            }
        }
        groups
    }

    /// A command was answered.
    pub(super) fn answered(&mut self, ticket: Ticket, now: Instant) {
        let Some(id) = self.under_way.remove(&ticket) else { return };
        // What has nothing to wait for any more is forgotten: ids can be made up.
        self.spaces.retain(|other, space| *other == id || !space.is_over(now));
        let Some(space) = self.spaces.get_mut(&id) else { return };
        space.open.remove(&ticket);
        if space.open.is_empty() {
            space.until = now + (now - space.began).min(GATHERED_FOR);
        }
    }
}

impl Gathering {
    fn due(&self, now: Instant) -> Option<Duration> {
        if self.waiting.is_empty() || !self.open.is_empty() {
            return None;
        }
        let whole = self.waiting.len() >= self.last;
        Some(if whole { Duration::ZERO } else { self.until.saturating_duration_since(now) })
    }

    fn is_over(&self, now: Instant) -> bool {
        self.waiting.is_empty() && self.open.is_empty() && self.until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocm_record::{RecordId, Time};

    const MS: Duration = Duration::from_millis(1);

    fn space(name: &[u8]) -> SpaceId {
        SpaceId(RecordId::of_header(Time(1), name))
    }

    struct Clients {
        changes: Changes,
        now: Instant,
        ticket: Ticket,
    }

    impl Clients {
        fn new() -> Self {
            Self { changes: Changes::default(), now: Instant::now(), ticket: 0 }
        }

        fn ask(&mut self, count: usize) {
            self.ask_in(space(b"a"), count);
        }

        fn ask_in(&mut self, space: SpaceId, count: usize) {
            for _ in 0..count {
                self.ticket += 1;
                self.changes.push(space, self.ticket, Command::Join { space }, self.now);
            }
        }

        fn due(&self) -> Option<Duration> {
            self.changes.due(self.now)
        }

        fn begin(&mut self) -> Vec<Ticket> {
            let [group] = <[_; 1]>::try_from(self.changes.begin(self.now)).unwrap();
            group.into_iter().map(|(ticket, _)| ticket).collect()
        }

        fn group(&mut self, took: Duration) -> usize {
            let group = self.begin();
            self.now += took;
            for ticket in &group {
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
        let group = clients.begin();
        clients.ask(1);
        clients.changes.answered(77, clients.now);
        clients.changes.answered(group[0], clients.now);
        assert_eq!(clients.due(), None);
        clients.changes.answered(group[1], clients.now);
        assert!(clients.due().is_some());
    }

    #[test]
    fn a_slow_space_holds_up_no_other() {
        let mut clients = Clients::new();
        clients.ask_in(space(b"slow"), 2);
        let slow = clients.begin();
        clients.ask_in(space(b"slow"), 1);
        assert_eq!(clients.due(), None);
        clients.ask_in(space(b"quick"), 1);
        assert_eq!(clients.due(), Some(Duration::ZERO));
        let quick = clients.begin();
        assert_eq!(quick.len(), 1);
        clients.changes.answered(quick[0], clients.now);
        assert_eq!((clients.due(), clients.changes.len()), (None, 1), "the slow one still waits");
        slow.iter().for_each(|ticket| clients.changes.answered(*ticket, clients.now));
        assert_eq!(clients.due(), Some(Duration::ZERO));
    }

    #[test]
    fn spaces_in_which_nothing_goes_on_are_forgotten() {
        let mut clients = Clients::new();
        for n in 0..100 {
            clients.ask_in(space(&[n]), 1);
            clients.group(MS);
            clients.now += GATHERED_FOR;
        }
        assert_eq!((clients.changes.spaces.len(), clients.changes.under_way.len()), (1, 0));
    }
}
