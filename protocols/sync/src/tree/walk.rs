//! Reading a tree along a path that moves.

use std::sync::Arc;

use ocm_record::RecordId;

use super::node::{Node, NodeNumber, place};
use super::{Nodes, Root};
use crate::set::{Span, Sum, shortest_bound};

/// A way through a tree. It stays where it was led last: questions in ascending order share the
/// nodes on their way, and read none twice but in turning back.
pub(crate) struct Walk<'a, N> {
    root: Root,
    nodes: &'a N,
    /// From the root to where it stands; at most one more than the root's levels.
    path: Vec<Step>,
}

/// A node on the way.
struct Step {
    number: NodeNumber,
    node: Arc<Node>,
    /// A bound above all ids before it, and not above its own.
    low: RecordId,
    /// A bound above its own ids, and not above those after it.
    high: RecordId,
    /// The sum of all ids before it.
    before: Sum,
    /// The position past its last id.
    upto: u64,
    /// Its entry to which the way leads, and the sum of all ids before that.
    at: usize,
    passed: Sum,
}

impl Step {
    /// Turns to another of its entries.
    fn turn(&mut self, at: usize) {
        if at < self.at {
            (self.at, self.passed) = (0, self.before);
        }
        let entries = self.at..at;
        self.passed = match &*self.node {
            Node::Leaf(ids) => {
                ids[entries].iter().fold(self.passed, |sum, id| sum.plus(&Sum::of(id)))
            }
            Node::Branch(children) => {
                children[entries].iter().fold(self.passed, |sum, child| sum.plus(&child.sum))
            }
        };
        self.at = at;
    }

    fn has_place(&self, id: &RecordId) -> bool {
        (self.low..self.high).contains(id)
    }

    fn has_position(&self, position: u64) -> bool {
        (self.before.count..self.upto).contains(&position)
    }
}

impl<'a, N: Nodes> Walk<'a, N> {
    pub(super) const fn new(root: Root, nodes: &'a N) -> Self {
        Self { root, nodes, path: Vec::new() }
    }

    /// Goes back up to the lowest node of the path that has what is looked for, at least to the
    /// root. False when the tree has no node.
    fn rise(&mut self, has: impl Fn(&Step) -> bool) -> Result<bool, N::Error> {
        while self.path.len() > 1 && self.path.last().is_some_and(|step| !has(step)) {
            self.path.pop();
        }
        if self.path.is_empty() {
            let Some(top) = self.root.node else { return Ok(false) };
            let whole = Span::all();
            self.enter(top, whole.from, whole.to, Sum::EMPTY, self.root.sum.count)?;
        }
        Ok(true)
    }

    fn enter(
        &mut self,
        number: NodeNumber,
        low: RecordId,
        high: RecordId,
        before: Sum,
        upto: u64,
    ) -> Result<(), N::Error> {
        let node = self.nodes.node(number)?;
        let is_leaf = matches!(*node, Node::Leaf(_));
        if is_leaf != (self.path.len() == usize::from(self.root.levels)) {
            return Err(self.nodes.misfit(number));
        }
        self.path.push(Step { number, node, low, high, before, upto, at: 0, passed: before });
        Ok(())
    }

    /// Where the path ends. It has been entered.
    fn here(&mut self) -> Option<(&mut Step, Arc<Node>)> {
        self.path.last_mut().map(|step| {
            let node = step.node.clone();
            (step, node)
        })
    }

    /// Enters the child to which the last node of the path turns.
    fn descend(&mut self) -> Result<(), N::Error> {
        let Some(step) = self.path.last() else { return Ok(()) };
        let misfit = || self.nodes.misfit(step.number);
        let Node::Branch(children) = &*step.node else { return Err(misfit()) };
        let child = *children.get(step.at).ok_or_else(misfit)?;
        let high = children.get(step.at + 1).map_or(step.high, |next| next.low);
        let (low, before) = (child.low.max(step.low), step.passed);
        let upto = before.count.saturating_add(child.sum.count);
        self.enter(child.node, low, high, before, upto)
    }

    /// The sum of all ids below `bound`. Where a node begins there, nothing below it is read.
    pub(crate) fn before(&mut self, bound: &RecordId) -> Result<Sum, N::Error> {
        if *bound >= Span::end() {
            return Ok(self.root.sum);
        }
        if !self.rise(|step| step.has_place(bound))? {
            return Ok(Sum::EMPTY);
        }
        while let Some((step, node)) = self.here() {
            match &*node {
                Node::Leaf(ids) => {
                    step.turn(ids.partition_point(|id| id < bound));
                    return Ok(step.passed);
                }
                Node::Branch(children) => {
                    let at = place(children, bound);
                    step.turn(at);
                    if children.get(at).is_some_and(|child| *bound <= child.low) {
                        return Ok(step.passed);
                    }
                }
            }
            self.descend()?;
        }
        Ok(Sum::EMPTY)
    }

    /// Goes to the leaf in which `id` belongs.
    fn seek(&mut self, id: &RecordId) -> Result<Option<&Step>, N::Error> {
        if !self.rise(|step| step.has_place(id))? {
            return Ok(None);
        }
        while let Some((step, node)) = self.here() {
            let Node::Branch(children) = &*node else { break };
            step.turn(place(children, id));
            self.descend()?;
        }
        Ok(self.path.last())
    }

    pub(crate) fn contains(&mut self, id: &RecordId) -> Result<bool, N::Error> {
        Ok(match self.seek(id)?.map(|step| &*step.node) {
            Some(Node::Leaf(ids)) => ids.binary_search(id).is_ok(),
            _ => false,
        })
    }

    /// The first ids of a range in ascending order, `limit` at most.
    pub(crate) fn list(&mut self, span: Span, limit: usize) -> Result<Vec<RecordId>, N::Error> {
        let mut found = Vec::new();
        let mut from = span.from;
        while found.len() < limit && from < span.to {
            let Some(step) = self.seek(&from)? else { break };
            if let Node::Leaf(ids) = &*step.node {
                let first = ids.partition_point(|id| *id < from);
                let inside = ids[first..].iter().take_while(|id| **id < span.to);
                found.extend(inside.take(limit - found.len()));
            }
            from = step.high;
            if from >= Span::end() {
                break;
            }
        }
        Ok(found)
    }

    /// The id at a position, counted from 0.
    pub(crate) fn at(&mut self, position: u64) -> Result<Option<RecordId>, N::Error> {
        if position >= self.root.sum.count || !self.rise(|step| step.has_position(position))? {
            return Ok(None);
        }
        while let Some((step, node)) = self.here() {
            match &*node {
                Node::Leaf(ids) => {
                    let at = usize::try_from(position.saturating_sub(step.before.count)).ok();
                    return Ok(at.and_then(|at| ids.get(at).copied()));
                }
                Node::Branch(_) => self.turn_to(position)?,
            }
            self.descend()?;
        }
        Ok(None)
    }

    /// Turns the last node of the path, a branch, to the child that has a position.
    fn turn_to(&mut self, position: u64) -> Result<(), N::Error> {
        let Some((step, node)) = self.here() else { return Ok(()) };
        if step.passed.count > position {
            step.turn(0);
        }
        if let Node::Branch(children) = &*node {
            while let Some(child) = children.get(step.at)
                && step.passed.count.saturating_add(child.sum.count) <= position
            {
                step.turn(step.at + 1);
            }
            if step.at < children.len() {
                return Ok(());
            }
        }
        let number = step.number;
        Err(self.nodes.misfit(number))
    }

    /// A bound that cuts the set within `slack` positions of the position `want`, and the sum of
    /// all ids below it. Of the bounds that can be had without reading further down it takes the
    /// nearest. From `want - slack` to `want + slack` must lie inside the set, its two ends
    /// excluded.
    pub(crate) fn cut(&mut self, want: u64, slack: u64) -> Result<(RecordId, Sum), N::Error> {
        let nothing = (RecordId::MIN, Sum::EMPTY);
        if !self.rise(|step| step.has_position(want))? {
            return Ok(nothing);
        }
        while let Some((step, node)) = self.here() {
            match &*node {
                Node::Leaf(ids) => {
                    let number = step.number;
                    let at = usize::try_from(want.saturating_sub(step.before.count)).ok();
                    let Some((at, next)) = at.and_then(|at| Some((at, ids.get(at)?))) else {
                        return Err(self.nodes.misfit(number));
                    };
                    step.turn(at);
                    let bound = match at.checked_sub(1) {
                        Some(last) => shortest_bound(&ids[last], next),
                        None => step.low,
                    };
                    return Ok((bound, step.passed));
                }
                Node::Branch(children) => {
                    self.turn_to(want)?;
                    let Some((step, _)) = self.here() else { break };
                    let child = &children[step.at];
                    let upto = step.passed.plus(&child.sum);
                    let back = want.saturating_sub(step.passed.count);
                    let on = upto.count.saturating_sub(want);
                    if back <= slack.min(on) {
                        return Ok((child.low.max(step.low), step.passed));
                    }
                    if on <= slack {
                        let high = children.get(step.at + 1).map_or(step.high, |next| next.low);
                        return Ok((high, upto));
                    }
                }
            }
            self.descend()?;
        }
        Ok(nothing)
    }
}
