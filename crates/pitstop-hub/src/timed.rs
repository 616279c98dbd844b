//! A connection whose client has to finish a request once it began one.
//!
//! The HTTP library has one time limit for the head of a request that also counts the silence before it; idle clients
//! may stay longer than slow ones, so the slow ones are caught here.
//!
//! Source: hub.md B10 (header read 5 s, idle 60 s), E (slow-loris).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A connection with a limit on how long the head of a request may take.
pub(crate) struct Timed<T> {
    inner: T,
    limit: Duration,
    /// Whether the head of the request was read.
    in_request: Arc<AtomicBool>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<T> Timed<T> {
    pub(crate) fn new(inner: T, limit: Duration, in_request: Arc<AtomicBool>) -> Self {
        Self {
            inner,
            limit,
            in_request,
            deadline: None,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.in_request.load(Ordering::Relaxed) {
            this.deadline = None;
            return Pin::new(&mut this.inner).poll_read(cx, to);
        }
        let before = to.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, to);
        let limit = this.limit;
        if read.is_ready() && to.filled().len() > before && this.deadline.is_none() {
            this.deadline = Some(Box::pin(sleep_until(Instant::now() + limit)));
        }
        if let (Poll::Pending, Some(deadline)) = (&read, &mut this.deadline) {
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
