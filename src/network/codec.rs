//! The frame of the federation protocol: a length, and that many bytes.

use std::io;

use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response;

/// The protocol's name (`protocols/README.md`, section 8).
pub const FEDERATION_PROTOCOL: &str = "/ocm/1/federation";

/// Bytes of one request or response, at most: 1 MiB. More travels in several.
pub const FRAME_BYTES: usize = 1 << 20;

/// Memory taken before the first byte of a frame has come.
const FIRST_BYTES: usize = 16 * 1024;

/// Reads and writes frames: the length as four bytes, big-endian, then the bytes, then the end
/// of the stream's direction. What the bytes say is nothing to this codec.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameCodec;

async fn read_frame<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES {
        return Err(invalid(format!("a frame of {length} bytes, at most {FRAME_BYTES} are read")));
    }
    // Memory grows with what has come, never with what was promised.
    let mut bytes = Vec::with_capacity(length.min(FIRST_BYTES));
    io.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        let got = bytes.len();
        return Err(invalid(format!("the frame ended after {got} of {length} bytes")));
    }
    if io.read(&mut [0]).await? != 0 {
        return Err(invalid(format!("bytes after the frame's {length}")));
    }
    Ok(bytes)
}

async fn write_frame<T: AsyncWrite + Unpin + Send>(io: &mut T, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|n| *n as usize <= FRAME_BYTES);
    let Some(length) = length else {
        let what = format!("a frame of {} bytes, at most {FRAME_BYTES} are sent", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    };
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(bytes).await?;
    io.flush().await
}

impl request_response::Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_frame(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_frame(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &request).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &response).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    async fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        read_frame(&mut Cursor::new(bytes)).await
    }

    #[tokio::test]
    async fn frames_are_read_exactly() {
        for size in [0, 1, FIRST_BYTES + 1, FRAME_BYTES] {
            let mut out = Cursor::new(Vec::new());
            write_frame(&mut out, &vec![7; size]).await.unwrap();
            let written = out.into_inner();
            assert_eq!(written.len(), size + 4);
            assert_eq!(read(written).await.unwrap(), vec![7; size]);
        }
    }

    #[tokio::test]
    async fn other_bytes_are_refused() {
        let long = u32::try_from(FRAME_BYTES + 1).unwrap().to_be_bytes();
        assert!(read(long.to_vec()).await.unwrap_err().to_string().contains("1048577"));
        assert!(read(u32::MAX.to_be_bytes().to_vec()).await.is_err());
        assert!(read(vec![0, 0, 0]).await.is_err(), "half a length");
        assert!(read(vec![0, 0, 0, 2, 1]).await.is_err(), "a byte short");
        assert!(read(vec![0, 0, 0, 1, 1, 1]).await.is_err(), "a byte too many");
        let mut out = Cursor::new(Vec::new());
        assert!(write_frame(&mut out, &vec![0; FRAME_BYTES + 1]).await.is_err());
        assert!(out.into_inner().is_empty());
    }
}
