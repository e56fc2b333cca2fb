//! How a node hears of peers, and how long that is good for.

/// How this node heard of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Multicast DNS on the local link.
    Mdns,
    /// A beacon of ours, on the local link or sent to us.
    Beacon,
    /// An address the operator gave.
    Bootstrap,
    /// A peer of an earlier run.
    Remembered,
    /// It came to us.
    Incoming,
    /// Another node named it when this one looked for those who hold a space, or for whom to ask.
    Lookup,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 6] =
        [Self::Mdns, Self::Beacon, Self::Bootstrap, Self::Remembered, Self::Incoming, Self::Lookup];

    /// The word for it, in logs and as a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mdns => "mdns",
            Self::Beacon => "beacon",
            Self::Bootstrap => "bootstrap",
            Self::Remembered => "remembered",
            Self::Incoming => "incoming",
            Self::Lookup => "lookup",
        }
    }

    /// Whether it is heard on the local link, where anyone may say anything, and who says it is there
    /// at that moment.
    pub(super) const fn is_nearby(self) -> bool {
        matches!(self, Self::Mdns | Self::Beacon)
    }

    /// How long an address is good for after it was last heard of, in milliseconds. What shouts
    /// all the time is soon forgotten when it stops, and so is what others say; what an operator or
    /// a connection told is kept for a week.
    pub(super) const fn life_ms(self) -> u64 {
        match self {
            Self::Mdns | Self::Beacon | Self::Lookup => 10 * 60 * 1000,
            Self::Bootstrap | Self::Remembered | Self::Incoming => REMEMBERED_MS,
        }
    }
}

/// How long a peer is remembered after it was last connected: one week.
pub(super) const REMEMBERED_MS: u64 = 7 * 24 * 60 * 60 * 1000;
