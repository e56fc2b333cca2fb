//! Which nodes of a devnet dial which.

use std::collections::BTreeSet;

/// Up to so many nodes, each is connected to every other one.
pub(crate) const FULL: usize = 10;

/// The nodes that a node dials and is to be connected with, in order: all others in a small
/// devnet, else those at distances 1, 2, 4, … on a ring. If one is another's, so is the other
/// its.
pub(crate) fn neighbours(index: usize, nodes: usize) -> impl Iterator<Item = usize> {
    let mut found: BTreeSet<usize> = BTreeSet::new();
    if nodes <= FULL {
        found.extend(0..nodes);
    } else {
        let mut distance = 1;
        while distance <= nodes / 2 {
            found.insert((index + distance) % nodes);
            found.insert((index + nodes - distance) % nodes);
            distance *= 2;
        }
    }
    found.remove(&index);
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_devnet_is_a_full_mesh() {
        assert_eq!(neighbours(1, 3).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(neighbours(9, 10).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn in_a_large_one_neighbours_are_few_and_mutual_and_reach_all() {
        for nodes in FULL + 1..=64 {
            for index in 0..nodes {
                let own: Vec<usize> = neighbours(index, nodes).collect();
                assert!((1..=12).contains(&own.len()) && !own.contains(&index));
                for peer in own {
                    assert!(neighbours(peer, nodes).any(|back| back == index));
                }
            }
            // Even without the last node, which is in no closed space.
            let mut reached = BTreeSet::from([0]);
            let mut open = vec![0];
            while let Some(index) = open.pop() {
                let next = neighbours(index, nodes).filter(|peer| *peer != nodes - 1);
                open.extend(next.filter(|peer| reached.insert(*peer)));
            }
            assert_eq!(reached.len(), nodes - 1, "{nodes} nodes");
        }
    }
}
