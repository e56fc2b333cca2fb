//! What the owner asks of the network, and what the network says for the log.

use std::time::{Duration, Instant};

use ocm_discovery::{PeerId, Sighting};
use ocm_sync::Request;
use tokio::sync::oneshot;

use super::event_loop::EventLoop;
use crate::handle::{NetworkCommand, NetworkFailure, NetworkReply, Tuning};
use crate::network::{ForgetError, NetworkEvent, REQUEST_TIMEOUT, Reachability, RequestId};

type Answer = oneshot::Sender<Result<NetworkReply, NetworkFailure>>;

/// A round trip being measured.
pub(super) struct Ping {
    peer: PeerId,
    began: Instant,
    answer: Answer,
}

impl EventLoop {
    pub(super) fn network_command(&mut self, command: NetworkCommand, answer: Answer) {
        let Some(network) = &mut self.network else {
            let _ = answer.send(Err(NetworkFailure::Off));
            return;
        };
        let own = network.peer_id();
        let result = match command {
            NetworkCommand::Connect(address) => match network.dial(&address) {
                Ok(()) => return self.keep_then_answer(answer, Ok(NetworkReply::Done)),
                Err(error) => Err(NetworkFailure::Address(error.to_string())),
            },
            NetworkCommand::Forget(address) => match network.forget(&address) {
                Ok(()) => return self.keep_then_answer(answer, Ok(NetworkReply::Done)),
                Err(ForgetError::Configured) => {
                    let result = Err(NetworkFailure::Configured(address));
                    return self.keep_then_answer(answer, result);
                }
                Err(ForgetError::NotKept) => {
                    let kept = network.kept().map(str::to_owned).collect();
                    Err(NetworkFailure::NotKept(address, kept))
                }
            },
            NetworkCommand::Block(peer) | NetworkCommand::Ping(peer) if peer == own => {
                Err(NetworkFailure::Own(peer))
            }
            NetworkCommand::Block(peer) => {
                network.block(peer);
                self.show(true);
                return self.keep_then_answer(answer, Ok(NetworkReply::Done));
            }
            NetworkCommand::Unblock(peer) => {
                network.unblock(peer);
                self.show(true);
                return self.keep_then_answer(answer, Ok(NetworkReply::Done));
            }
            NetworkCommand::Ping(peer) if !network.is_connected(&peer) => {
                Err(NetworkFailure::NotConnected(peer))
            }
            NetworkCommand::Ping(peer) => {
                // The smallest question there is: which of no spaces do we share?
                let question = Request::Spaces { tags: Vec::new() };
                match question.encode() {
                    Ok(bytes) => {
                        let request = network.request(peer, bytes);
                        let ping = Ping { peer, began: Instant::now(), answer };
                        self.pings.insert(request, ping);
                        return;
                    }
                    Err(error) => Err(NetworkFailure::Address(error.to_string())),
                }
            }
        };
        // Whoever hears the answer is to see its effect; they may have gone, it is done all the same.
        self.show(true);
        let _ = answer.send(result);
    }

    /// Takes up what was configured anew.
    pub(super) fn configure(&mut self, tuning: Tuning, done: oneshot::Sender<Result<(), String>>) {
        self.node.set_settings(tuning.settings);
        let mut result = Ok(());
        if let Some(network) = &mut self.network {
            network.set_connections(tuning.max_peers);
            result = network.set_bootstrap(&tuning.seed_peers).map_err(|error| error.to_string());
        }
        self.show(true);
        // Whoever asked may have gone; it is done all the same.
        let _ = done.send(result);
    }

    /// Answers once it is written down which addresses are dialled, and who is blocked.
    fn keep_then_answer(&mut self, answer: Answer, result: Result<NetworkReply, NetworkFailure>) {
        let saving = self.save_peers();
        tokio::spawn(async move {
            let saved = saving.await.map_err(|cause| NetworkFailure::Kept(cause.to_string()));
            // Whoever asked may have gone; it is done all the same.
            let _ = answer.send(saved.and(result));
        });
    }

    /// A request that was no request of the core's has ended.
    pub(super) fn ping_answered(&mut self, request: RequestId, answered: bool) {
        let Some(Ping { peer, began, answer }) = self.pings.remove(&request) else { return };
        let _ = answer.send(if answered {
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            Ok(NetworkReply::RoundTrip(micros))
        } else {
            Err(NetworkFailure::NoAnswer(peer, REQUEST_TIMEOUT.as_secs()))
        });
    }
}

/// Says in the log what needs no decision.
pub(super) fn log(event: &NetworkEvent) {
    match event {
        NetworkEvent::Listening { address } => tracing::info!(%address, "listening"),
        NetworkEvent::ListenFailed { address, cause } => {
            tracing::warn!(%address, %cause, "not listened on");
        }
        NetworkEvent::Sighting { peer, source, sighting: Sighting::CopiedKey { .. } } => {
            tracing::error!(
                %peer,
                source = source.name(),
                "another process uses this node's peer key: stop one of the two, or give the copy \
                 a data directory of its own"
            );
        }
        NetworkEvent::Sighting { peer, source, .. } => {
            tracing::debug!(%peer, source = source.name(), "heard of a peer");
        }
        NetworkEvent::Dialled { address, outcome: Ok(peer) } => {
            tracing::debug!(%address, %peer, "dialled");
        }
        NetworkEvent::Dialled { address, outcome: Err(cause) } => {
            tracing::info!(%address, %cause, "cannot dial; it is tried again");
        }
        NetworkEvent::Reachability { known: Reachability::Public(address) } => {
            tracing::info!(%address, "a peer outside dialled this node");
        }
        NetworkEvent::Reachability { known } => {
            tracing::info!(known = known.name(), "whether peers outside can dial this node");
        }
        NetworkEvent::Banned { peer, time } => {
            let seconds = Duration::as_secs(time);
            tracing::warn!(%peer, seconds, "refused for its third invalid message");
        }
        _ => {}
    }
}
