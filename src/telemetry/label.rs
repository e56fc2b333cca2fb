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

        impl $name {
            /// The variant that the scrape shows as `text`.
            #[must_use]
            pub fn named(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
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
    /// Why a record got its verdict: the names that `ocm_node::Verdict::reason` gives.
    Reason {
        /// Nothing to say: it stands.
        None = "none",
        /// A record it builds on is missing.
        Dependency = "dependency",
        /// A record that proves its authority is missing.
        Authority = "authority",
        /// Its body is missing.
        Body = "body",
        /// It asks for what this version does not do.
        Unsupported = "unsupported",
        /// Its space is not held here.
        UnknownSpace = "unknown_space",
        /// The bytes are no record.
        Malformed = "malformed",
        /// Its body does not match its hash.
        WrongBody = "wrong_body",
        /// Its key is no acceptable key.
        BadKey = "bad_key",
        /// Its signature does not hold.
        BadSignature = "bad_signature",
        /// It was sent as a record of another space.
        WrongSpace = "wrong_space",
        /// It is no valid genesis.
        Genesis = "genesis",
        /// Its author holds no role that permits it.
        NotPermitted = "not_permitted",
        /// The closure of its authority is over the limit.
        AuthorityTooDeep = "authority_too_deep",
        /// It builds on another memory, or on none of its own.
        OtherMemory = "other_memory",
        /// It builds on a refused record.
        Descendant = "descendant",
    }
}

label! {
    /// A bounded queue between two actors.
    Queue {
        /// Into the store's thread.
        Store = "store",
        /// From the HTTP side.
        Api = "api",
    }
}

label! {
    /// Whether others can dial this node.
    Reachability {
        /// Nobody has tried.
        Unknown = "unknown",
        /// A peer outside could.
        Public = "public",
        /// Peers outside could not.
        Private = "private",
    }
}

label! {
    /// How an anti-entropy session ended.
    Outcome {
        /// Both store the same.
        Equal = "equal",
        /// They differ still, and it is known by what.
        Differs = "differs",
        /// They differ by nothing but what one side cannot admit.
        Stuck = "stuck",
        /// There is more to do than fits one session: another follows.
        Continued = "continued",
        /// The peer does not know the space, or not for us.
        Unknown = "unknown",
        /// The peer was busy.
        Busy = "busy",
        /// The peer refused it.
        Refused = "refused",
        /// The peer broke the protocol.
        Fault = "fault",
        /// The answer did not come.
        Unanswered = "unanswered",
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
