//! What a seed decides beforehand: who takes part, how good the links are, what happens when.

use crate::dice::Dice;

/// The time at which a schedule begins, in milliseconds since the Unix epoch.
pub(crate) const EPOCH: u64 = 1_760_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;

/// The spaces of a schedule, by their place in [`crate::world::World::spaces`].
pub(crate) const OPEN: usize = 0;
pub(crate) const CLOSED: usize = 1;
pub(crate) const FREE: usize = 2;
pub(crate) const SPACES: usize = 3;

/// Something that is made to happen.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Create(usize),
    Join { at: usize, space: usize },
    Grant { to: usize, space: usize },
    GrantInsider { space: usize },
    Write { at: usize, space: usize },
    Edit { at: usize, space: usize },
    Burst { at: usize, space: usize },
    Begin { at: usize, space: usize },
    Large { at: usize, space: usize },
    Import { at: usize, from: usize, space: usize },
    Carry { to: usize, from: usize, space: usize },
    Sync { at: usize },
    Crash { at: usize, off_for: u64 },
    Partition,
    Heal,
    Cut { a: usize, b: usize },
}

/// Milliseconds from least to most.
pub(crate) type Span = (u64, u64);

/// What a seed decides beforehand.
pub(crate) struct Plan {
    /// Honest nodes. The first begins the spaces, the last is no member of any.
    pub(crate) nodes: usize,
    pub(crate) hostile: usize,
    /// Whether the first hostile peer holds the role of a writer.
    pub(crate) insider: bool,
    /// Whether hostile peers go on during the healing, with what nobody admits.
    pub(crate) relentless: bool,
    /// Pairs that connect whenever they can.
    pub(crate) edges: Vec<(usize, usize)>,
    pub(crate) ahead: Vec<u64>,
    pub(crate) starts: Vec<u64>,
    pub(crate) latency: Span,
    pub(crate) flush: Span,
    pub(crate) verify: Span,
    /// In percent.
    pub(crate) loss: u64,
    pub(crate) repeat: u64,
    pub(crate) half_open: u64,
    pub(crate) chaos: u64,
    pub(crate) compare_every: u64,
    /// When hostile peers act.
    pub(crate) attack: Span,
    pub(crate) acts: Vec<(u64, Act)>,
}

impl Plan {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let nodes = match dice.below(20) {
            0 => 9 + dice.below(12),
            1..=4 => 6 + dice.below(3),
            _ => 3 + dice.below(3),
        };
        let hostile = *dice.pick(&[0, 1, 1, 2]).unwrap();
        let chaos = dice.between((8_000, 40_000));
        let skewed = dice.percent(40);
        Self {
            nodes,
            hostile,
            insider: dice.percent(50),
            relentless: dice.percent(40),
            edges: draw_edges(dice, nodes, hostile),
            ahead: (0..nodes)
                .map(|_| match dice.below(3) {
                    0 if skewed => DAY,
                    1 if skewed => dice.between((0, DAY)),
                    _ => dice.between((0, 200)),
                })
                .collect(),
            starts: (0..nodes)
                .map(|at| if at > 0 && dice.percent(25) { dice.between((0, chaos)) } else { 0 })
                .collect(),
            latency: *dice.pick(&[(1, 5), (5, 80), (20, 1500)]).unwrap(),
            flush: *dice.pick(&[(1, 3), (5, 60), (200, 3000)]).unwrap(),
            verify: *dice.pick(&[(0, 2), (1, 40), (100, 4000)]).unwrap(),
            loss: *dice.pick(&[0, 2, 15, 30, 40]).unwrap(),
            repeat: *dice.pick(&[0, 5, 20]).unwrap(),
            half_open: *dice.pick(&[0, 30]).unwrap(),
            chaos,
            compare_every: *dice.pick(&[12_000, 60_000, 600_000]).unwrap(),
            attack: *dice.pick(&[(50, 500), (200, 3000)]).unwrap(),
            acts: draw_acts(dice, nodes, chaos),
        }
    }
}

/// A connected graph, connected without the last honest node, too; hostile peers come after it
/// and reach several.
fn draw_edges(dice: &mut Dice, nodes: usize, hostile: usize) -> Vec<(usize, usize)> {
    let mut edges = std::collections::BTreeSet::new();
    let members = nodes - 1;
    for b in 1..members {
        edges.insert((dice.below(b), b));
    }
    let density = if nodes > 8 { 15 } else { *dice.pick(&[20, 60, 100]).unwrap() };
    for b in 1..nodes {
        for a in 0..b {
            if dice.percent(density) {
                edges.insert((a, b));
            }
        }
    }
    edges.insert((dice.below(members), members));
    for peer in nodes..nodes + hostile {
        for _ in 0..3 {
            edges.insert((dice.below(nodes), peer));
        }
    }
    edges.into_iter().collect()
}

fn draw_acts(dice: &mut Dice, nodes: usize, chaos: u64) -> Vec<(u64, Act)> {
    let mut acts = vec![(0, Act::Create(OPEN)), (0, Act::Create(CLOSED))];
    if dice.percent(30) {
        acts.push((dice.between((0, 3000)), Act::Create(FREE)));
    }
    for at in 1..nodes {
        for space in 0..SPACES {
            acts.push((dice.between((500, chaos)), Act::Join { at, space }));
            acts.push((dice.between((100, chaos)), Act::Grant { to: at, space }));
        }
    }
    for space in 0..SPACES {
        acts.push((dice.between((500, chaos)), Act::GrantInsider { space }));
    }
    let writes = 10 + dice.below(if nodes > 8 { 20 } else { 40 });
    for _ in 0..writes {
        let (at, space) =
            (dice.below(nodes), *dice.pick(&[OPEN, OPEN, CLOSED, CLOSED, FREE]).unwrap());
        let act = match dice.below(40) {
            0 => Act::Burst { at, space },
            1 => Act::Large { at, space },
            2 => Act::Import { at, from: dice.below(nodes), space },
            3 => Act::Sync { at },
            4 | 5 => Act::Begin { at, space },
            6..=8 => Act::Carry { to: at, from: dice.below(nodes), space },
            9..=16 => Act::Write { at, space },
            _ => Act::Edit { at, space },
        };
        acts.push((dice.between((300, chaos)), act));
    }
    for _ in 0..dice.below(5) {
        let off_for = *dice.pick(&[50, 1000, 8000]).unwrap();
        acts.push((dice.between((1000, chaos)), Act::Crash { at: dice.below(nodes), off_for }));
    }
    for _ in 0..dice.below(3) {
        let at = dice.between((500, chaos));
        acts.push((at, Act::Partition));
        acts.push((at + dice.between((1000, 15_000)), Act::Heal));
    }
    for _ in 0..dice.below(6) {
        let (a, b) = (dice.below(nodes), dice.below(nodes));
        acts.push((dice.between((500, chaos)), Act::Cut { a, b }));
    }
    acts
}
