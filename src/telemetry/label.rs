//! The labels of the metrics: closed sets, so that no remote input makes a new time series.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// A label whose values are the variants of an enum.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $variant,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The value as the scrape shows it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

label! {
    /// The decision on a record (`protocols/README.md`, section 5).
    Verdict {
        /// Admitted.
        Accept = "accept",
        /// Known, or the same bytes in flight.
        Duplicate = "duplicate",
        /// Kept aside until what it lacks arrives.
        Hold = "hold",
        /// Provably bad from its bytes alone.
        Reject = "reject",
        /// No right by its own authority and past.
        Refuse = "refuse",
    }
}

label! {
    /// Why a record got its verdict.
    Reason {
        /// Nothing to say: it was accepted.
        None = "none",
        /// Its id was admitted before.
        Known = "known",
        /// The same bytes are being judged.
        InFlight = "in_flight",
        /// Its space is not known here.
        UnknownSpace = "unknown_space",
        /// Its version is not known here.
        UnknownVersion = "unknown_version",
        /// A grant with fields that this version does not implement.
        UnknownGrant = "unknown_grant",
        /// A record it depends on is missing.
        MissingDependency = "missing_dependency",
        /// A record that proves its authority is missing.
        MissingAuthority = "missing_authority",
        /// Its body is missing.
        MissingBody = "missing_body",
        /// Its author has no credit left.
        Quota = "quota",
        /// The node is shedding load.
        Load = "load",
        /// The disk is nearly full.
        LowDisk = "low_disk",
        /// Past a limit of size.
        TooLarge = "too_large",
        /// Not the one encoding there is.
        NotCanonical = "not_canonical",
        /// Canonical, and no record.
        Malformed = "malformed",
        /// Its body or its id does not match its hash.
        WrongHash = "wrong_hash",
        /// Its signature does not hold.
        BadSignature = "bad_signature",
        /// Its time is not after its predecessor's or its space's.
        TimeOrder = "time_order",
        /// Its author holds no role that permits it.
        NotMember = "not_member",
        /// It depends on what is not permitted: another memory, or a wrong kind of record.
        WrongDependency = "wrong_dependency",
        /// It descends from a refused record.
        RefusedAncestor = "refused_ancestor",
        /// Its author's grant had expired.
        Expired = "expired",
        /// Its author's grant has nothing left.
        OverBudget = "over_budget",
        /// Another has custody of the memory.
        Custody = "custody",
    }
}

label! {
    /// A bounded queue between two actors.
    Queue {
        /// Into the event loop.
        Events = "events",
        /// Into the store's thread.
        Store = "store",
        /// From the HTTP side.
        Api = "api",
    }
}

label! {
    /// How an anti-entropy session ended.
    Outcome {
        /// Both sets are equal.
        Equal = "equal",
        /// They differ still, and it is known by what.
        Different = "different",
        /// Their authority or their kinds differ, so that content cannot be compared.
        NotComparable = "not_comparable",
        /// The peer refused it.
        Refused = "refused",
        /// It broke off: a lost connection, a time limit, a wrong answer.
        Failed = "failed",
    }
}

label! {
    /// Which way bytes went.
    Direction {
        /// To a peer.
        Sent = "sent",
        /// From a peer.
        Received = "received",
    }
}
