//! The TCP transport: encrypted and authenticated, and behind a network key where one is set.

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::futures::future::Either;
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PnetError, PreSharedKey};
use libp2p::{PeerId, Transport as _, noise, tcp, yamux};

/// TCP, on which both sides prove their PeerIds by Noise. With a key, everything before that is
/// encrypted with it, too (the libp2p specification `pnet/Private-Networks-PSK-V1.md`): who does not
/// have it sees noise, and is not told from garbage.
pub(super) fn tcp(
    keypair: &Keypair,
    key: Option<PreSharedKey>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let sockets = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let private = sockets.and_then(move |socket, _| async move {
        Ok::<_, PnetError>(match key {
            Some(key) => Either::Left(PnetConfig::new(key).handshake(socket).await?),
            None => Either::Right(socket),
        })
    });
    let secure = private.upgrade(Version::V1Lazy).authenticate(noise::Config::new(keypair)?);
    let multiplexed = secure.multiplex(yamux::Config::default());
    Ok(multiplexed.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed())
}
