//! The world: one virtual clock, one queue of what happens next.

use std::collections::BTreeMap;

use ocm_discovery::PeerId;
use ocm_node::{
    BatchId, Command, Event as Told, Input, JobId, Node, Output, RequestId, Settings, Ticket,
};
use ocm_record::{SpaceId, VerifiedRecord, VerifyError, sign_batch, verify_batch};

use crate::check;
use crate::dice::Dice;
use crate::hostile::Hostile;
use crate::ledger::Ledger;
use crate::network::{Links, Use};
use crate::schedule::{Act, EPOCH, Plan, SPACES};
use crate::site::Site;

/// Something that happens at its time.
pub(crate) enum Happening {
    Connect(usize, usize),
    /// One side at last notices that a connection is gone.
    Noticed(Use),
    Dropped(Use),
    Request {
        link: Use,
        request: RequestId,
        bytes: Vec<u8>,
    },
    Response {
        link: Use,
        request: RequestId,
        bytes: Vec<u8>,
    },
    TimedOut {
        at: usize,
        life: u64,
        request: RequestId,
    },
    Gossip {
        link: Use,
        space: SpaceId,
        bytes: Vec<u8>,
    },
    Flush {
        at: usize,
        life: u64,
    },
    Committed {
        at: usize,
        life: u64,
        batch: BatchId,
    },
    Verified {
        at: usize,
        life: u64,
        job: JobId,
        results: Vec<Result<VerifiedRecord, VerifyError>>,
    },
    Tick {
        at: usize,
        life: u64,
    },
    Start(usize),
    Act(Act),
    Attack(usize),
    /// A hostile peer takes another name.
    Renew(Use),
}

/// What schedules came to, to see that they were not idle.
#[derive(Debug, Default, Clone)]
pub(crate) struct Summary {
    pub(crate) schedules: u64,
    pub(crate) happenings: u64,
    pub(crate) records: u64,
    pub(crate) stored: u64,
    pub(crate) crashes: u64,
    pub(crate) lost_batches: u64,
    pub(crate) partitions: u64,
    pub(crate) twins: u64,
    pub(crate) attacks: u64,
    pub(crate) gossiped: u64,
    pub(crate) refused: u64,
    pub(crate) rejected: u64,
    pub(crate) held: u64,
    pub(crate) compared: u64,
    /// Comparisons that outlasted a crash.
    pub(crate) kept: u64,
    /// Bundles of what another lacked, imported, and comparisons by a bundle that were kept.
    pub(crate) carried: u64,
    pub(crate) stated: u64,
    /// Audits that were passed, and peers that were found out.
    pub(crate) audited: u64,
    pub(crate) doubted: u64,
    /// Hostile peers that were sent away.
    pub(crate) sent_away: u64,
    /// Milliseconds until all was equal, at most.
    pub(crate) healed_within: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.happenings += other.happenings;
        self.records += other.records;
        self.stored += other.stored;
        self.crashes += other.crashes;
        self.lost_batches += other.lost_batches;
        self.partitions += other.partitions;
        self.twins += other.twins;
        self.attacks += other.attacks;
        self.gossiped += other.gossiped;
        self.refused += other.refused;
        self.rejected += other.rejected;
        self.held += other.held;
        self.compared += other.compared;
        self.kept += other.kept;
        self.carried += other.carried;
        self.stated += other.stated;
        self.audited += other.audited;
        self.doubted += other.doubted;
        self.sent_away += other.sent_away;
        self.healed_within = self.healed_within.max(other.healed_within);
    }

    /// A campaign in which one of these never happened tested less than it says.
    pub(crate) fn assert_wide(&self) {
        for (what, times) in [
            ("a crash", self.crashes),
            ("a batch lost in a crash", self.lost_batches),
            ("a partition", self.partitions),
            ("a twin", self.twins),
            ("an attack", self.attacks),
            ("gossip passed on", self.gossiped),
            ("a refusal", self.refused),
            ("a rejection", self.rejected),
            ("a hold", self.held),
            ("a comparison", self.compared),
            ("a comparison kept over a crash", self.kept),
            ("a bundle of what another lacked", self.carried),
            ("a comparison by a bundle", self.stated),
            ("an audit passed", self.audited),
            ("a peer found out", self.doubted),
            ("a peer sent away", self.sent_away),
        ] {
            assert!(times > 0, "in no schedule was there {what}");
        }
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    pub(crate) now: u64,
    pub(crate) sites: Vec<Site>,
    pub(crate) hostile: Vec<Hostile>,
    pub(crate) links: Links,
    pub(crate) peers: BTreeMap<PeerId, usize>,
    /// The spaces that were begun, once that is acknowledged.
    pub(crate) spaces: [Option<SpaceId>; SPACES],
    pub(crate) ledger: Ledger,
    pub(crate) healing: bool,
    pub(crate) next_ticket: u64,
    /// Commands that an owner gives at once, while they are gathered.
    pub(crate) together: Option<Vec<(Ticket, Command)>>,
    pub(crate) next_name: u64,
    pub(crate) summary: Summary,
    order: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    trace: bool,
}

/// Tells what happens, where a schedule is replayed.
macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if $world.is_traced() {
            println!("{:>8} {}", $world.elapsed(), format!($($text)*));
        }
    };
}
pub(crate) use tell;

impl World {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let sites: Vec<Site> =
            plan.ahead.iter().enumerate().map(|(at, ahead)| Site::new(at, seed, *ahead)).collect();
        let hostile: Vec<Hostile> =
            (0..plan.hostile).map(|at| Hostile::new(plan.nodes + at, at, seed)).collect();
        let peers = sites
            .iter()
            .enumerate()
            .map(|(at, site)| (site.peer, at))
            .chain(hostile.iter().map(|hostile| (hostile.peer, hostile.index)))
            .collect();
        let mut world = Self {
            seed,
            dice,
            now: EPOCH,
            sites,
            hostile,
            links: Links::default(),
            peers,
            spaces: [None; SPACES],
            ledger: Ledger::default(),
            healing: false,
            next_ticket: 0,
            together: None,
            next_name: 0,
            summary: Summary { schedules: 1, ..Summary::default() },
            order: 0,
            queue: BTreeMap::new(),
            trace,
            plan,
        };
        for at in 0..world.plan.nodes {
            world.plan_in(world.plan.starts[at], Happening::Start(at));
        }
        for (after, act) in std::mem::take(&mut world.plan.acts) {
            world.plan_in(after, Happening::Act(act));
        }
        for at in 0..world.hostile.len() {
            world.plan_in(500, Happening::Attack(at));
            let index = world.hostile[at].index;
            world.dial_all(index);
        }
        world
    }

    pub(crate) const fn is_traced(&self) -> bool {
        self.trace
    }

    pub(crate) const fn elapsed(&self) -> u64 {
        self.now - EPOCH
    }

    pub(crate) fn plan_in(&mut self, after: u64, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), happening);
    }

    /// Runs the schedule: chaos, healing, and what must hold then.
    pub(crate) fn run(mut self) -> Summary {
        tell!(
            self,
            "{} nodes, {} hostile, loss {}%, edges {:?}",
            self.plan.nodes,
            self.plan.hostile,
            self.plan.loss,
            self.plan.edges
        );
        self.run_until(EPOCH + self.plan.chaos);
        self.heal();
        // What is still under way arrives.
        self.run_until(self.now + 12_000);
        let settled = self.settle();
        let deadline = settled + check::HEAL_WITHIN;
        while let Err(difference) = check::converged(&self) {
            assert!(
                self.now < deadline,
                "not healed after {} ms: {difference}",
                check::HEAL_WITHIN
            );
            self.run_until(self.now + 500);
        }
        self.summary.healed_within = self.now - settled;
        tell!(self, "equal sets");
        let deadline = self.now + self.plan.compare_every * 5 / 4 + check::PARITY_WITHIN;
        while let Err(difference) = check::parity_is_shown(&self) {
            assert!(self.now < deadline, "parity is not shown: {difference}");
            self.run_until(self.now + 1000);
        }
        // Whatever goes on now must not end the equality.
        self.run_until(self.now + 15_000);
        // Comparisons are written now and then, also while nothing else is.
        let deadline = self.now + 2 * self.plan.flush.1 * self.plan.nodes as u64 + 60_000;
        while check::any_writes(&self) {
            assert!(self.now < deadline, "there is no end of writing");
            self.run_until(self.now + 100);
        }
        check::at_the_end(&mut self);
        self.summary
    }

    /// Lets everything happen until a time.
    pub(crate) fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.summary.happenings += 1;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Connect(a, b) => self.connect(a, b),
            Happening::Noticed(link) => self.notice(link),
            Happening::Dropped(link) => self.drop_link(link),
            Happening::Request { link, request, bytes } => self.take_request(link, request, bytes),
            Happening::Response { link, request, bytes } => {
                self.take_response(link, request, bytes);
            }
            Happening::TimedOut { at, life, request } => {
                if self.sites[at].life == life && self.sites[at].asked.remove(&request).is_some() {
                    self.input(at, Input::RequestFailed { request, timed_out: true });
                }
            }
            Happening::Gossip { link, space, bytes } => self.take_gossip(link, space, bytes),
            Happening::Flush { at, life } => self.flush(at, life),
            Happening::Committed { at, life, batch } => {
                if self.sites[at].life == life {
                    self.input(at, Input::Committed(batch));
                }
            }
            Happening::Verified { at, life, job, results } => {
                if self.sites[at].life == life {
                    self.input(at, Input::Verified { job, results });
                }
            }
            Happening::Tick { at, life } => self.tick(at, life),
            Happening::Start(at) => self.start(at),
            Happening::Act(act) => self.act(act),
            Happening::Attack(at) => self.attack(at),
            Happening::Renew(link) => self.renew(link),
        }
    }

    /// Gives a core its input, and does what it says.
    pub(crate) fn input(&mut self, at: usize, input: Input) {
        let outputs = self.hand_over(at, input);
        self.follow(at, outputs);
    }

    /// Gives a core its input: what it says is to be done.
    pub(crate) fn hand_over(&mut self, at: usize, input: Input) -> Vec<Output> {
        let site = &mut self.sites[at];
        let clock = site.clock(self.now);
        match site.node.as_mut() {
            Some(node) => node.handle(input, clock, &site.disk).unwrap(),
            None => Vec::new(),
        }
    }

    /// Does what a core says.
    pub(crate) fn follow(&mut self, at: usize, outputs: Vec<Output>) {
        for output in outputs {
            self.carry_out(at, output);
        }
        self.arm(at);
        if self.summary.happenings.is_multiple_of(32) {
            check::limits_hold(&self.sites[at]);
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        match output {
            Output::Commit { batch, writes } => {
                tell!(self, "{at} commits batch {batch}, {} writes", writes.len());
                self.sites[at].disk.submit(batch, writes);
                self.plan_flush(at);
            }
            Output::Verify { job, records } => {
                let after = self.dice.between(self.plan.verify);
                let life = self.sites[at].life;
                let results = verify_batch(records);
                self.plan_in(after, Happening::Verified { at, life, job, results });
            }
            Output::Sign { job, key, records } => {
                // In their order, however long each takes.
                let signed = self.now + self.dice.between(self.plan.verify);
                let at_earliest = self.sites[at].signed;
                self.sites[at].signed = at_earliest.max(signed);
                let (after, life) = (self.sites[at].signed - self.now, self.sites[at].life);
                let results = sign_batch(records, &key);
                self.plan_in(after, Happening::Verified { at, life, job, results });
            }
            Output::Reply { ticket, result } => self.take_reply(at, ticket, result),
            Output::Send { peer, request, bytes } => self.send(at, peer, request, bytes),
            Output::Respond { channel, bytes } => self.respond(at, channel, bytes),
            // Judged where the message was handed over.
            Output::Judge { .. } => {}
            Output::Subscribe(space) => {
                self.sites[at].subscribed.insert(space);
            }
            Output::Publish { space, bytes } => {
                check::published(&self.sites[at], &space, &bytes);
                self.publish(at, at, space, &bytes);
            }
            Output::Disconnect { peer, reason } => {
                tell!(self, "{at} ends the connection to {}: {reason}", self.peers[&peer]);
                let to = self.peers[&peer];
                let link = self.links.current(at, to);
                if reason.starts_with("it answered none of") {
                    // Whoever is honest may not have got them.
                    return self.plan_in(0, Happening::Dropped(link));
                }
                assert!(
                    to >= self.plan.nodes,
                    "node {at} ends the connection to honest node {to}: {reason}"
                );
                self.summary.sent_away += 1;
                // Whoever is not let in any more comes back as someone else.
                let renews = self.dice.percent(70);
                let ends = if renews { Happening::Renew(link) } else { Happening::Dropped(link) };
                self.plan_in(0, ends);
            }
            Output::Event(told) => {
                if let Told::Record { space, id, .. } = &told {
                    assert!(self.sites[at].disk.holds(space, id), "an event comes after the flush");
                }
                if let Told::Compared { .. } = &told {
                    self.summary.compared += 1;
                }
                if let Told::SessionEnded { peer, outcome: "fault", .. } = &told {
                    let with = self.peers[peer];
                    assert!(with >= self.plan.nodes, "{at} blames honest {with} for a session");
                }
                tell!(self, "{at} {told:?}");
            }
        }
    }

    /// Plans the tick that the core asks for.
    fn arm(&mut self, at: usize) {
        let site = &self.sites[at];
        let Some(due) = site.node.as_ref().and_then(Node::next_deadline) else { return };
        let due = due.saturating_sub(site.ahead).max(self.now + 1);
        if site.tick_at.is_none_or(|planned| due < planned) {
            let life = site.life;
            self.sites[at].tick_at = Some(due);
            self.plan_in(due - self.now, Happening::Tick { at, life });
        }
    }

    fn tick(&mut self, at: usize, life: u64) {
        let site = &mut self.sites[at];
        if site.life != life || site.tick_at != Some(self.now) {
            return;
        }
        site.tick_at = None;
        let second = self.now / 1000;
        site.ticks = if site.ticks.0 == second { (second, site.ticks.1 + 1) } else { (second, 1) };
        assert!(site.ticks.1 < check::TICKS_PER_SECOND, "node {at} is woken again and again");
        self.input(at, Input::Tick);
    }

    fn plan_flush(&mut self, at: usize) {
        let site = &mut self.sites[at];
        if !site.flush_planned && site.disk.queued() > 0 {
            site.flush_planned = true;
            let life = site.life;
            let after = self.dice.between(self.plan.flush);
            self.plan_in(after, Happening::Flush { at, life });
        }
    }

    /// A group of batches becomes durable; the core hears of it a moment later.
    fn flush(&mut self, at: usize, life: u64) {
        if self.sites[at].life != life {
            return;
        }
        self.sites[at].flush_planned = false;
        let batches = 1 + self.dice.below(self.sites[at].disk.queued());
        for batch in self.make_durable(at, batches) {
            self.plan_in(1, Happening::Committed { at, life, batch });
        }
        self.plan_flush(at);
    }

    fn make_durable(&mut self, at: usize, batches: usize) -> Vec<BatchId> {
        let (names, records) = self.sites[at].disk.flush(batches);
        self.summary.stored += records.len() as u64;
        for (key, value) in records {
            check::stored(self, at, &key, &value);
        }
        names
    }

    /// A machine starts, with a fresh boot.
    fn start(&mut self, at: usize) {
        if self.sites[at].node.is_some() {
            return;
        }
        let seed = self.dice.bytes();
        let settings =
            Settings { compare_every_ms: self.plan.compare_every, ..Settings::default() };
        let now = self.now;
        let site = &mut self.sites[at];
        let opened =
            Node::open(site.identity.clone(), settings, seed, site.clock(now), &site.disk).unwrap();
        site.node = Some(opened.0);
        tell!(self, "{at} starts");
        check::nothing_promised_is_missing(&self.sites[at], at);
        for output in opened.1 {
            assert!(!matches!(output, Output::Event(Told::Damaged { .. })), "nothing was damaged");
            self.carry_out(at, output);
        }
        check::comparisons_are_kept(self, at);
        self.dial_all(at);
        self.arm(at);
    }

    /// Power goes: some of what was on its way to the disk may have reached it.
    pub(crate) fn crash(&mut self, at: usize, off_for: u64) {
        if self.sites[at].node.is_none() {
            return;
        }
        tell!(self, "{at} crashes");
        self.summary.crashes += 1;
        if self.dice.percent(30) {
            let batches = self.dice.below(self.sites[at].disk.queued() + 1);
            self.make_durable(at, batches);
        }
        self.summary.lost_batches += self.sites[at].disk.queued() as u64;
        self.sites[at].lose_power();
        self.drop_links_of(at);
        self.plan_in(off_for, Happening::Start(at));
    }

    /// Everything works from here on: machines run, links hold, nothing is lost.
    fn heal(&mut self) {
        tell!(self, "healing begins");
        self.healing = true;
        self.plan.loss = 0;
        self.plan.repeat = 0;
        self.plan.half_open = 0;
        self.links.join_all();
        for at in 0..self.plan.nodes {
            self.start(at);
        }
        for (a, b) in self.plan.edges.clone() {
            self.plan_in(1, Happening::Connect(a, b));
        }
    }
}
