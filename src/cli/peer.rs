//! Peers: who is connected, and who shall be.

use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::Context;
use super::exit::Failure;
use super::output::{Shown, field, table, time};
use crate::client::escaped;

/// The commands on single peers.
#[derive(Debug, Subcommand)]
pub(super) enum Peer {
    /// Dial an address now and whenever the connection is lost, also after a restart
    #[command(after_help = "Example:\n  ocm peer connect 192.0.2.7:8080")]
    Connect {
        /// A multiaddr, with or without /p2p/…, or host:port
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        address: String,
    },
    /// No longer dial an address that `peer connect` or `space join` added, nor whom it led to;
    /// a connection stays until it ends
    #[command(after_help = "Example:\n  ocm peer forget 192.0.2.7:8080")]
    Forget {
        /// The address as it was given
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        address: String,
    },
    /// Measure the round trip to a connected peer
    #[command(after_help = "Example:\n  ocm peer ping 12D3KooW…")]
    Ping {
        /// Its PeerId, as `ocm peers` prints it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        peer: String,
    },
    /// End the connections to a peer and refuse new ones, until it is unblocked, in later runs, too
    #[command(after_help = "Example:\n  ocm peer block 12D3KooW…")]
    Block {
        /// Its PeerId
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        peer: String,
    },
    /// Let a blocked peer in again
    #[command(after_help = "Example:\n  ocm peer unblock 12D3KooW…")]
    Unblock {
        /// Its PeerId
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        peer: String,
    },
}

/// `ocm peer …`.
pub(super) fn run(command: Peer, context: &Context<'_, '_>) -> Result<Shown, Failure> {
    let client = context.client()?;
    let about = |peer: &str, what: &str| format!("/v1/peers/{}/{what}", escaped(peer));
    Ok(match command {
        Peer::Connect { address } => {
            let answer = client.post("/v1/peers/connect", Some(&json!({ "address": address })))?;
            let shown =
                Shown::answer(&answer, format!("dialling {}", field(answer.json(), "address")));
            shown.note("`ocm peers` shows it once it is connected")
        }
        Peer::Forget { address } => {
            let answer = client.post("/v1/peers/forget", Some(&json!({ "address": address })))?;
            Shown::answer(&answer, format!("{} is forgotten", field(answer.json(), "address")))
        }
        Peer::Ping { peer } => {
            let answer = client.post(&about(&peer, "ping"), None)?;
            let (peer, rtt) =
                (field(answer.json(), "peer_id"), milliseconds(&answer.json()["rtt_ms"]));
            Shown::answer(&answer, format!("{peer} answered in {rtt}"))
        }
        Peer::Block { peer } => {
            let answer = client.post(&about(&peer, "block"), None)?;
            Shown::answer(&answer, format!("{} is blocked", field(answer.json(), "peer_id")))
        }
        Peer::Unblock { peer } => {
            let answer = client.post(&about(&peer, "unblock"), None)?;
            Shown::answer(&answer, format!("{} is not blocked", field(answer.json(), "peer_id")))
        }
    })
}

/// `ocm peers`.
pub(super) fn list(context: &Context<'_, '_>) -> Result<Shown, Failure> {
    let answer = context.client()?.get("/peers", &[])?;
    let rows = answer.items().iter().map(|peer| {
        [
            field(peer, "peer_id"),
            field(peer, "address"),
            field(peer, "path"),
            field(peer, "transport"),
            field(peer, "direction"),
            milliseconds(&peer["rtt_ms"]),
            peer["shared_spaces"].as_array().map_or(0, Vec::len).to_string(),
            time(&peer["since"]),
            field(peer, "source"),
            // Whole, for it is what grants and lists are given.
            field(peer, "did"),
        ]
    });
    let head = [
        "PEER",
        "ADDRESS",
        "PATH",
        "TRANSPORT",
        "DIRECTION",
        "RTT",
        "SPACES",
        "SINCE",
        "FOUND BY",
        "DID",
    ];
    let shown = Shown::answer(&answer, table(head, rows.collect()));
    Ok(if answer.items().is_empty() {
        shown.note("no peer is connected; `ocm peer connect ADDRESS` dials one")
    } else {
        shown
    })
}

fn milliseconds(value: &serde_json::Value) -> String {
    value.as_f64().map(|ms| format!("{ms:.1} ms")).unwrap_or_default()
}
