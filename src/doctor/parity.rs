//! What keeps a space from being the same here and at its peers, and what to do about it.

use jiff::Timestamp;
use serde::Deserialize;

use super::{Finding, RunningNode};

/// Hours without a comparison after which nobody can say whether a space is whole: a weekend's rest is
/// no fault of a node, two days are worth a look.
const COMPARED_WARNING_HOURS: i64 = 48;

/// A space that the node holds.
#[derive(Debug, Clone, Default)]
pub struct HeldSpace {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Whether nobody else may read it: there is no peer to compare it with.
    pub is_alone: bool,
}

/// How a space compares with a peer, as far as the checks need it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Comparison {
    /// The space's id.
    pub space: String,
    /// The peer's id.
    pub peer_id: String,
    /// Whether it is connected.
    pub connected: bool,
    /// `equal`, `differs`, `changed since`, `not comparable`, `not compared`, `denied`, `unproved`.
    pub state: String,
    /// When the two were compared, as RFC 3339.
    pub at: Option<String>,
    /// Why they are not equal, for people.
    pub cause: Option<String>,
    /// Records that are missing here.
    pub missing_here: Option<Missing>,
    /// Records that are missing there.
    pub missing_there: Option<Missing>,
}

/// Records that one side lacks, by why.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Missing {
    /// All of them.
    pub total: u64,
    /// Held: something they need is missing on that side.
    pub held: u64,
    /// Refused: whoever wrote them had no right.
    pub refused: u64,
    /// Rejected: what came was not what it claims to be.
    pub rejected: u64,
}

/// A record that a peer offers in vain.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Quarantined {
    /// The space's id.
    pub space: String,
    /// Who offers it.
    pub peer_id: String,
    /// Why it is not admitted, for people.
    pub text: String,
    /// When it was first offered, as RFC 3339.
    pub first: String,
}

/// What each space lacks, here or at a peer, and why.
pub(super) fn check(node: &RunningNode, now: Timestamp) -> Vec<Finding> {
    node.spaces.iter().flat_map(|space| check_space(node, space, now)).collect()
}

fn check_space(node: &RunningNode, space: &HeldSpace, now: Timestamp) -> Vec<Finding> {
    let name = &space.name;
    let rows = || node.comparisons.iter().filter(|row| row.space == space.id);
    let mut findings: Vec<Finding> =
        rows().flat_map(|row| check_comparison(node, row, name)).collect();
    let times = rows().filter_map(|row| row.at.as_deref()?.parse::<Timestamp>().ok());
    let remedy = "see that a peer that shares it is connected (`ocm peers`), then `ocm sync now`; or \
                  exchange bundles (`ocm bundle`)";
    match times.max() {
        None if space.is_alone => {
            let text = format!("space {name} has no other member to compare with");
            findings.push(Finding::ok("parity", text));
        }
        None => {
            let text = format!("space {name} was never compared with anyone");
            findings.push(Finding::warning("parity", text, remedy));
        }
        Some(at) => {
            let hours = (now.as_second() - at.as_second()) / 3600;
            if hours >= COMPARED_WARNING_HOURS {
                let text =
                    format!("space {name} was not compared with anyone for {} days", hours / 24);
                findings.push(Finding::warning("parity", text, remedy));
            }
        }
    }
    if findings.is_empty() {
        let connected =
            |state: &str| rows().filter(|row| row.connected && row.state == state).count();
        let peers =
            |n| if n == 1 { "1 connected peer".into() } else { format!("{n} connected peers") };
        let away = rows().find(|row| row.state == "differs");
        findings.push(match (connected("equal"), connected("changed since"), away) {
            (0, 0, Some(row)) => {
                let cause = row.cause.as_deref().unwrap_or("the two differ");
                let text = format!(
                    "space {name}: no connected peer was compared; peer {}, which is away, \
                     differed: {cause}",
                    row.peer_id
                );
                Finding::warning("parity", text, remedy)
            }
            (0, 0, None) => {
                Finding::ok("parity", format!("space {name}: no connected peer was compared"))
            }
            (0, changed, _) => {
                let peers = peers(changed);
                let text =
                    format!("space {name} has changed since the last comparison with {peers}");
                Finding::ok("parity", text)
            }
            (equal, _, _) => {
                Finding::ok("parity", format!("space {name} is equal with {}", peers(equal)))
            }
        });
    }
    findings
}

/// What keeps a peer and this node from storing the same of a space.
fn check_comparison(node: &RunningNode, row: &Comparison, name: &str) -> Vec<Finding> {
    let peer = format!("peer {}", row.peer_id);
    let cause = row.cause.clone().unwrap_or_default();
    let warn = |text: String, remedy: &str| Finding::warning("parity", text, remedy);
    match row.state.as_str() {
        "unproved" => {
            return vec![Finding::fault(
                "parity",
                format!("{peer}, space {name}: {cause}"),
                "do not count it among the copies; ask who runs it, or block it with `ocm peer block`",
            )];
        }
        "denied" if row.connected => {
            return vec![warn(
                format!("{peer} denies space {name}: {cause}"),
                "let it join the space, or ask an owner whether this node's DID has a role",
            )];
        }
        "not comparable" if row.connected => {
            return vec![warn(
                format!("{peer}, space {name}: other kinds of record have an effect there"),
                "run the same version of ocm on both",
            )];
        }
        _ => {}
    }
    let mut findings = Vec::new();
    let records = |n: u64| if n == 1 { "1 record".to_owned() } else { format!("{n} records") };
    let there = row.missing_there.unwrap_or_default();
    for (n, why, remedy) in [
        (
            there.refused,
            "it refuses them: by what it holds, whoever wrote them had no right",
            "compare the versions of ocm on both, and see `ocm refused` there",
        ),
        (
            there.held,
            "it holds them: something they build on, or a rule they ask for, is missing there",
            "see `ocm sync quarantined` there; update ocm there if its version is older",
        ),
        (
            there.rejected,
            "it rejects them: what reached it was not what was signed",
            "stop this node and run `ocm doctor`, which reads every record",
        ),
    ] {
        if n > 0 {
            let text = format!("{peer} lacks {} of space {name} because {why}", records(n));
            findings.push(warn(text, remedy));
        }
    }
    let here = row.missing_here.unwrap_or_default();
    let stuck = here.refused + here.held + here.rejected;
    if stuck > 0 {
        let of = |q: &&Quarantined| q.space == row.space && q.peer_id == row.peer_id;
        let listed = || node.quarantined.iter().filter(of);
        let why = match listed().map(|q| q.text.as_str()).min() {
            Some(text) => text.to_owned(),
            None => {
                format!("{} refused, {} held, {} rejected", here.refused, here.held, here.rejected)
            }
        };
        let first = listed().map(|q| q.first.as_str()).min();
        let since = first.map(|first| format!(", first seen {first}")).unwrap_or_default();
        let text = format!(
            "{} of space {name} from {peer} cannot be admitted: {why}{since}",
            records(stuck)
        );
        findings.push(warn(text, "see `ocm sync quarantined`, and ask who runs that peer"));
    }
    if findings.is_empty() && row.connected && row.state == "differs" {
        let cause = row.cause.as_deref().unwrap_or("the two differ");
        findings.push(warn(
            format!("{peer}, space {name}: {cause}"),
            "run `ocm sync status --wait-equal 60`; if it lasts, run `ocm doctor` there too",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use crate::doctor::tests::found;

    const NOW: &str = "2026-02-03T10:00:00Z";

    fn row(state: &str) -> Comparison {
        Comparison {
            space: "v1".into(),
            peer_id: "12D3KooWX".into(),
            connected: true,
            state: state.into(),
            at: Some("2026-02-03T09:00:00Z".into()),
            ..Comparison::default()
        }
    }

    fn parity(comparisons: Vec<Comparison>, quarantined: Vec<Quarantined>) -> Vec<Finding> {
        let space = HeldSpace { id: "v1".into(), name: "camp".into(), is_alone: false };
        let spaces = vec![space];
        let node = RunningNode { spaces, comparisons, quarantined, ..RunningNode::default() };
        check(&node, NOW.parse().unwrap())
    }

    #[test]
    fn a_space_that_is_equal_everywhere_is_fine() {
        let findings = parity(vec![row("equal"), row("changed since")], Vec::new());
        assert_eq!(findings.len(), 1);
        found(&findings, "parity", State::Ok, "space camp is equal with 1 connected peer");
    }

    #[test]
    fn a_difference_is_never_fine_whatever_it_consists_of() {
        let mut differs = row("differs");
        differs.cause = Some("missing bodies differ: 0 here, 2 there".into());
        for missing in [None, Some(Missing { total: 7, ..Missing::default() })] {
            (differs.missing_here, differs.missing_there) = (missing, missing);
            let findings = parity(vec![row("equal"), differs.clone()], Vec::new());
            assert_eq!(findings.len(), 1);
            let text = "peer 12D3KooWX, space camp: missing bodies differ: 0 here, 2 there";
            found(&findings, "parity", State::Warning, text);
        }
        differs.connected = false;
        let findings = parity(vec![differs.clone()], Vec::new());
        assert_eq!(findings.len(), 1);
        found(&findings, "parity", State::Warning, "12D3KooWX, which is away, differed: missing b");
        // Where others are equal, who is away will be.
        let findings = parity(vec![differs, row("equal")], Vec::new());
        assert_eq!(findings.len(), 1);
        found(&findings, "parity", State::Ok, "is equal with 1 connected peer");
    }

    #[test]
    fn equal_is_said_only_of_who_is_connected_and_was_compared_with_what_is_stored() {
        let away = Comparison { connected: false, ..row("equal") };
        let findings = parity(vec![away.clone()], Vec::new());
        assert_eq!(findings.len(), 1);
        found(&findings, "parity", State::Ok, "camp: no connected peer was compared");
        let fresh = Comparison { at: None, ..row("not compared") };
        let findings = parity(vec![away.clone(), fresh], Vec::new());
        found(&findings, "parity", State::Ok, "camp: no connected peer was compared");
        let findings = parity(vec![away, row("changed since")], Vec::new());
        assert_eq!(findings.len(), 1);
        let text = "camp has changed since the last comparison with 1 connected peer";
        found(&findings, "parity", State::Ok, text);
    }

    #[test]
    fn records_that_a_peer_does_not_admit_are_told_with_the_cause() {
        let mut differs = row("differs");
        differs.missing_there = Some(Missing { total: 16, refused: 12, held: 1, rejected: 3 });
        let findings = parity(vec![differs], Vec::new());
        assert_eq!(findings.len(), 3);
        let text = "peer 12D3KooWX lacks 12 records of space camp because it refuses them";
        found(&findings, "parity", State::Warning, text);
        found(&findings, "parity", State::Warning, "lacks 1 record of space camp because it holds");
        found(&findings, "parity", State::Warning, "lacks 3 records of space camp because it reje");
    }

    #[test]
    fn records_that_cannot_be_admitted_here_are_told_with_cause_and_age() {
        let mut differs = row("differs");
        differs.missing_here = Some(Missing { total: 3, refused: 3, ..Missing::default() });
        let findings = parity(vec![differs.clone()], Vec::new());
        let text = "3 records of space camp from peer 12D3KooWX cannot be admitted: 3 refused";
        found(&findings, "parity", State::Warning, text);
        let quarantined = |peer: &str, first: &str| Quarantined {
            space: "v1".into(),
            peer_id: peer.into(),
            text: "refused: no right".into(),
            first: first.into(),
        };
        let listed = vec![
            quarantined("12D3KooWX", "2026-02-02T08:00:00Z"),
            quarantined("12D3KooWX", "2026-02-01T08:00:00Z"),
            quarantined("12D3KooWY", "2026-01-01T08:00:00Z"),
        ];
        let findings = parity(vec![differs], listed);
        let text = "cannot be admitted: refused: no right, first seen 2026-02-01T08:00:00Z";
        found(&findings, "parity", State::Warning, text);
    }

    #[test]
    fn a_peer_that_lies_denies_or_cannot_be_compared_is_told() {
        let with = |state: &str, cause: &str| {
            let row = Comparison { cause: Some(cause.into()), ..row(state) };
            parity(vec![row], Vec::new())
        };
        let lies = with("unproved", "it does not prove what it claims: 2 of 16 are wrong");
        found(&lies, "parity", State::Fault, "does not prove what it claims");
        found(&with("denied", "not for us"), "parity", State::Warning, "denies space camp");
        found(&with("not comparable", ""), "parity", State::Warning, "other kinds of record");
    }

    #[test]
    fn a_space_that_nobody_was_asked_about_is_told() {
        found(&parity(Vec::new(), Vec::new()), "parity", State::Warning, "was never compared");
        let own = HeldSpace { name: "personal".into(), is_alone: true, ..HeldSpace::default() };
        let node = RunningNode { spaces: vec![own], ..RunningNode::default() };
        let findings = check(&node, NOW.parse().unwrap());
        found(&findings, "parity", State::Ok, "personal has no other member");
        let mut old = row("equal");
        old.at = Some("2026-02-01T09:59:00Z".into());
        let findings = parity(vec![old.clone()], Vec::new());
        found(&findings, "parity", State::Warning, "camp was not compared with anyone for 2 days");
        let findings = parity(vec![old, row("equal")], Vec::new());
        found(&findings, "parity", State::Ok, "equal with 2");
    }
}
