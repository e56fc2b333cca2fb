//! Real nodes in one process, over real sockets: TCP, and again QUIC.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

/// Runs each function twice as a test: over TCP and over QUIC.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            use crate::node::Transport;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_tcp() {
                Box::pin(super::$name(Transport::Tcp)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_quic() {
                Box::pin(super::$name(Transport::Quic)).await;
            }
        })*
    };
}

#[path = "federation/bundle.rs"]
mod bundle;
#[path = "federation/certificate.rs"]
mod certificate;
#[path = "kubernetes/cluster.rs"]
mod cluster;
#[path = "federation/compose.rs"]
mod compose;
#[path = "federation/damage.rs"]
mod damage;
#[path = "federation/duplicates.rs"]
mod duplicates;
#[path = "federation/forged.rs"]
mod forged;
#[path = "federation/history.rs"]
mod history;
#[path = "federation/kill.rs"]
mod kill;
#[path = "federation/kubernetes.rs"]
mod kubernetes;
#[path = "federation/large.rs"]
mod large;
#[path = "federation/lines.rs"]
mod lines;
#[path = "federation/load.rs"]
mod load;
#[path = "federation/lookup.rs"]
mod lookup;
#[path = "federation/members.rs"]
mod members;
#[path = "federation/node.rs"]
mod node;
#[path = "federation/offline.rs"]
mod offline;
#[path = "federation/partition.rs"]
mod partition;
#[path = "federation/private.rs"]
mod private;
#[path = "federation/process.rs"]
mod process;
#[path = "federation/puppet.rs"]
mod puppet;
#[path = "federation/relay.rs"]
mod relay;
#[path = "federation/restart.rs"]
mod restart;
#[path = "federation/resume.rs"]
mod resume;
#[path = "federation/service.rs"]
mod service;
#[path = "federation/sharing.rs"]
mod sharing;
#[path = "federation/variables.rs"]
mod variables;
#[path = "federation/writers.rs"]
mod writers;
