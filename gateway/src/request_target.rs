//! Request targets as people type them: JSON in a query with bare quotes, as the contract prints it
//! (`?where={"status":…}`). RFC 3986 wants them percent-encoded and the HTTP library refuses them
//! before we see the request, so that they are encoded on the way in.
//!
//! Invariant: only the first line of a request, only of a GET or HEAD, and only its query is
//! touched; every other byte passes as it came.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest first line that is looked at; longer ones are refused further in.
const LINE_MAX: usize = 16 * 1024;
/// Bytes read at once while a first line is looked for.
const CHUNK: usize = 8 * 1024;

/// A connection whose request targets are encoded.
pub(crate) struct Encoded<S> {
    inner: S,
    /// What was read ahead and is not handed on yet.
    ready: Vec<u8>,
    taken: usize,
    /// The beginning of a request line that is not complete yet.
    line: Vec<u8>,
    /// Whether the next bytes can be the beginning of a request: at first, and after an answer.
    fresh: bool,
}

impl<S> Encoded<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            ready: Vec::new(),
            taken: 0,
            line: Vec::new(),
            fresh: true,
        }
    }

    /// Takes what was read; true when there is something to hand on.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.line.extend_from_slice(bytes);
        if !could_be_target(&self.line) {
            self.fresh = false;
        } else if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end);
            let mut encoded = encode(&self.line);
            encoded.extend_from_slice(&rest);
            self.line = encoded;
            self.fresh = false;
        } else if self.line.len() <= LINE_MAX {
            return false;
        } else {
            self.fresh = false;
        }
        self.ready = std::mem::take(&mut self.line);
        self.taken = 0;
        true
    }
}

/// Whether the bytes begin like the first line of a GET or HEAD.
fn could_be_target(bytes: &[u8]) -> bool {
    ["GET /", "HEAD /"].iter().any(|start| {
        let shared = start.len().min(bytes.len());
        bytes[..shared] == start.as_bytes()[..shared]
    })
}

/// Percent-encodes what may not stand bare in the query of a request line.
fn encode(line: &[u8]) -> Vec<u8> {
    let Some(query) = line.iter().position(|byte| *byte == b'?') else {
        return line.to_vec();
    };
    let mut encoded = Vec::with_capacity(line.len() + 64);
    encoded.extend_from_slice(&line[..query]);
    for byte in &line[query..] {
        match byte {
            b'"' => encoded.extend_from_slice(b"%22"),
            b'<' => encoded.extend_from_slice(b"%3C"),
            b'>' => encoded.extend_from_slice(b"%3E"),
            other => encoded.push(*other),
        }
    }
    encoded
}

impl<S: AsyncRead + Unpin> AsyncRead for Encoded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.taken < this.ready.len() {
                let count = buffer.remaining().min(this.ready.len() - this.taken);
                buffer.put_slice(&this.ready[this.taken..this.taken + count]);
                this.taken += count;
                return Poll::Ready(Ok(()));
            }
            if !this.fresh {
                return Pin::new(&mut this.inner).poll_read(cx, buffer);
            }
            let mut chunk = [0; CHUNK];
            let mut chunk = ReadBuf::new(&mut chunk);
            match Pin::new(&mut this.inner).poll_read(cx, &mut chunk) {
                Poll::Ready(Ok(())) if chunk.filled().is_empty() => {
                    // The end of the stream: what was held back is all there is.
                    this.fresh = false;
                    this.ready = std::mem::take(&mut this.line);
                    this.taken = 0;
                    if this.ready.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Ok(())) => {
                    this.take(chunk.filled());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Encoded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.fresh = true;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.fresh = true;
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What comes out when these pieces come in, with an answer written where `None` stands.
    async fn through(pieces: &[Option<&str>]) -> String {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let mut encoded = Encoded::new(server);
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Some(piece) => {
                    client.write_all(piece.as_bytes()).await.unwrap();
                    let mut buffer = [0; 7];
                    // Read what is there already, without waiting for more.
                    while let Some(Ok(count)) =
                        futures::FutureExt::now_or_never(encoded.read(&mut buffer))
                    {
                        out.extend_from_slice(&buffer[..count]);
                    }
                }
                None => encoded.write_all(b"answer").await.unwrap(),
            }
        }
        drop(client);
        encoded.read_to_end(&mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn quotes_in_a_query_are_encoded_in_every_request_of_a_connection() {
        let pieces = [
            Some("GET /a?w={\"s\":1} HT"),
            Some("TP/1.1\r\nX: \"kept\"\r\n\r\n"),
            None,
            Some("GET /b?x=\"<>\" HTTP/1.1\r\n\r\n"),
        ];
        assert_eq!(
            through(&pieces).await,
            "GET /a?w={%22s%22:1} HTTP/1.1\r\nX: \"kept\"\r\n\r\nGET /b?x=%22%3C%3E%22 HTTP/1.1\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn everything_else_passes_as_it_came() {
        for text in [
            "POST /a?w=\"x\" HTTP/1.1\r\nContent-Length: 2\r\n\r\n\"\"",
            "GET /\"path\" HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "G",
            "GET /unfinished?\"",
        ] {
            assert_eq!(through(&[Some(text)]).await, text);
        }
    }
}
