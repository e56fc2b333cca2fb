//! Records that a hostile peer makes: its own, and worthless ones.

use ipld_core::ipld::Ipld;
use ocm_memory::encode_edits;
use ocm_record::{Boot, Kind, RecordId, Set, SigningKey, SpaceId, Time, VerifiedRecord};

use crate::forge::{self, Place};
use crate::schedule::FREE;
use crate::world::World;

impl World {
    /// A true record of a space, the newest most often.
    pub(super) fn true_record(&mut self, space: &SpaceId) -> Option<VerifiedRecord> {
        let newest: Vec<VerifiedRecord> = self
            .ledger
            .records
            .values()
            .rev()
            .filter(|record| record.space() == *space)
            .take(12)
            .cloned()
            .collect();
        self.dice.pick(&newest).cloned()
    }

    /// What no node may ever take.
    pub(super) fn worthless(&mut self, index: usize, space: SpaceId) -> Option<Vec<u8>> {
        let record = self.true_record(&space)?;
        let bytes = record.encode();
        let author = self.hostile_at(index).author.clone();
        let body = forge::body(&mut self.dice, Ipld::List(Vec::new()));
        Some(match self.dice.below(6) {
            0 => forge::garbage_copy(&mut self.dice, &bytes),
            1 => forge::stripped(&bytes),
            // Of a record of its own this would be a twin.
            2 if record.header().key != author.public() => {
                forge::forged(record.header(), &author, body)
            }
            3 => self.orphan(index, space),
            // Where everyone may write this would be a record like any other.
            4 if self.spaces[FREE] != Some(space) => {
                // Rightly signed by someone without a right, who names another's.
                let key = SigningKey::from_seed(&self.dice.bytes());
                let auth = record.header().auth.clone();
                forge::change(&key, self.place(space, auth), body).1
            }
            _ => {
                let mut bytes = bytes;
                let at = self.dice.below(bytes.len());
                bytes[at] ^= 1 << self.dice.below(8);
                bytes
            }
        })
    }

    pub(super) fn place(&mut self, space: SpaceId, auth: Vec<RecordId>) -> Place {
        Place {
            space,
            memory: None,
            boot: Boot::from_bytes(self.dice.bytes()),
            seq: 1,
            prev: None,
            deps: Vec::new(),
            auth,
            time: Time::from_millis(self.now),
        }
    }

    /// A rightly signed record that builds on what does not exist.
    pub(super) fn orphan(&mut self, index: usize, space: SpaceId) -> Vec<u8> {
        let (author, did) = (self.hostile_at(index).author.clone(), self.hostile_at(index).did);
        let role = self.ledger.roles.get(&space).and_then(|roles| roles.get(&did)).copied();
        let body = forge::body(&mut self.dice, Ipld::List(Vec::new()));
        let unknown = RecordId::from_parts(Time::from_millis(self.now - 1000), self.dice.bytes());
        let mut place = self.place(space, role.into_iter().collect());
        if self.dice.percent(50) {
            place.auth = vec![RecordId::from_parts(space.0.time(), self.dice.bytes())];
        } else {
            place.memory = self.true_record(&space).and_then(|record| record.memory());
            place.deps = vec![unknown];
        }
        forge::change(&author, place, body).1
    }

    /// Rightly signed records: one more in its log, its twin, one from far ahead.
    pub(super) fn own_records(&mut self, index: usize, space: SpaceId) -> Vec<Vec<u8>> {
        let (author, did, boot) = {
            let hostile = self.hostile_at(index);
            (hostile.author.clone(), hostile.did, hostile.boot)
        };
        let role = self.ledger.roles.get(&space).and_then(|roles| roles.get(&did)).copied();
        if role.is_none() && self.spaces[FREE] != Some(space) {
            return Vec::new();
        }
        let auth: Vec<RecordId> = role.into_iter().collect();
        let on = self.true_record(&space).filter(|record| record.set() == Set::Content);
        let (seq, prev) = self.hostile_at(index).logs.get(&space).copied().unwrap_or((0, None));
        let twins = 1 + self.dice.below(3);
        let mut made = Vec::new();
        let mut end = None;
        for _ in 0..twins {
            let far = match self.dice.below(12) {
                0 => 400 * 24 * 3600 * 1000,
                1 => 1 << 47,
                _ => 0,
            };
            let first = on.is_none();
            let content = match self.dice.below(6) {
                0 => Ipld::String("no edits".into()),
                _ => encode_edits(&forge::edits(&mut self.dice, first)),
            };
            let body = if self.dice.percent(5) {
                vec![0xff, 0x00]
            } else {
                forge::body(&mut self.dice, content)
            };
            let place = Place {
                space,
                memory: on.as_ref().and_then(VerifiedRecord::memory),
                boot,
                seq: seq + 1,
                prev,
                deps: on.iter().map(VerifiedRecord::id).collect(),
                auth: auth.clone(),
                time: Time::from_millis(self.now + far),
            };
            let (id, bytes) = forge::change(&author, place, body);
            end = Some(id);
            made.push(bytes);
        }
        self.hostile_at(index).logs.insert(space, (seq + 1, end));
        made
    }

    pub(super) fn false_genesis(&mut self, index: usize) -> Vec<u8> {
        let nonce = self.dice.bytes();
        let now = self.now;
        let hostile = self.hostile_at(index);
        let genesis = ocm_space::Genesis {
            name: "false".into(),
            nonce,
            policy: ocm_space::Policy::default(),
            owners: vec![hostile.did],
        };
        let draft = ocm_record::Draft {
            space: SpaceId::GENESIS,
            kind: Kind::GENESIS,
            memory: None,
            author: None,
            boot: hostile.boot,
            seq: 1,
            prev: None,
            deps: Vec::new(),
            auth: Vec::new(),
            time: Time::from_millis(now),
        };
        let author = hostile.author.clone();
        let body = forge::body(&mut self.dice, genesis.to_ipld());
        draft.sign(&author, body).unwrap().encode()
    }
}
