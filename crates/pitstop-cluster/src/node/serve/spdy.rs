//! `exec` over SPDY/3.1: one stream each for errors, stdin, stdout, stderr and the size of the terminal.
//!
//! This is what API servers speak to kubelets, also where their own client came by WebSocket.

mod frame;

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::frame::{Decoder, Encoder, Frame};
use super::exec::{self, Output, Session};

/// How long the client may take to open its streams. Source: what kubelets allow.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// More streams than an exec has are a fault of the client.
const MAX_STREAMS: usize = 8;

/// Numbers of the streams of one exec.
#[derive(Debug, Default)]
struct Streams {
    error: Option<u32>,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
    opened: usize,
    last: u32,
}

impl Streams {
    /// Takes note of a stream; false: it is none of an exec.
    fn open(&mut self, stream: u32, headers: &[(String, String)]) -> bool {
        let kind = headers.iter().find(|(name, _)| name == "streamtype");
        let slot = match kind.map(|(_, value)| value.as_str()) {
            Some("error") => &mut self.error,
            Some("stdin") => &mut self.stdin,
            Some("stdout") => &mut self.stdout,
            Some("stderr") => &mut self.stderr,
            Some("resize") => &mut self.resize,
            _ => return false,
        };
        *slot = Some(stream);
        self.last = self.last.max(stream);
        self.opened += 1;
        self.opened <= MAX_STREAMS
    }

    fn are_complete(&self, session: &Session) -> bool {
        let (wanted, is) = (&session.wanted, Option::is_some);
        is(&self.error)
            && (is(&self.stdin) || !wanted.stdin)
            && (is(&self.stdout) || !wanted.stdout)
            && (is(&self.stderr) || !wanted.stderr || wanted.tty)
            && (is(&self.resize) || !wanted.tty)
    }
}

struct Reader<S> {
    source: ReadHalf<S>,
    buffer: BytesMut,
    decoder: Decoder,
}

impl<S: AsyncRead> Reader<S> {
    /// `None`: the client hung up.
    async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.buffer).map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Plays an exec on a connection.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send>(stream: S, session: Session) -> io::Result<()> {
    let (source, mut sink) = split(stream);
    let mut reader = Reader {
        source,
        buffer: BytesMut::new(),
        decoder: Decoder::new(),
    };
    let open = open_streams(&mut reader, &mut sink, &session);
    let Some(streams) = timeout(OPEN_WITHIN, open).await?? else {
        return Ok(());
    };
    let (stdin, input) = mpsc::channel(exec::QUEUE);
    let (output, mut outputs) = mpsc::channel(exec::QUEUE);
    let (pong, mut pongs) = mpsc::unbounded_channel();
    let work = session.run(input, output);
    let write = async {
        loop {
            tokio::select! {
                Some(pong) = pongs.recv() => sink.write_all(&frame::pong(pong)).await?,
                said = outputs.recv() => match said {
                    Some(said) => write_output(&mut sink, &streams, &said).await?,
                    None => return io::Result::Ok(()),
                },
            }
            sink.flush().await?;
        }
    };
    let status = tokio::select! {
        (status, written) = async { tokio::join!(work, write) } => {
            written?;
            status
        }
        ended = read_input(&mut reader, streams.stdin, stdin, &pong) => return ended,
    };
    let status = status.to_string();
    if let Some(error) = streams.error {
        sink.write_all(&frame::data(error, status.as_bytes(), true))
            .await?;
    }
    for stream in [streams.stdout, streams.stderr].into_iter().flatten() {
        sink.write_all(&frame::data(stream, &[], true)).await?;
    }
    sink.write_all(&frame::go_away(streams.last)).await?;
    sink.shutdown().await?;
    // Closed at once, what was sent could be lost on the way.
    let hung_up = async { while matches!(reader.next().await, Ok(Some(_))) {} };
    let _ = timeout(exec::HANG_UP_WITHIN, hung_up).await;
    Ok(())
}

async fn open_streams<S: AsyncRead + AsyncWrite>(
    reader: &mut Reader<S>,
    sink: &mut WriteHalf<S>,
    session: &Session,
) -> io::Result<Option<Streams>> {
    let mut encoder = Encoder::new().map_err(io::Error::other)?;
    let mut streams = Streams::default();
    while !streams.are_complete(session) {
        let answer = match reader.next().await? {
            None => return Ok(None),
            Some(Frame::Open { stream, headers }) if streams.open(stream, &headers) => {
                encoder.accept(stream).map_err(io::Error::other)?
            }
            Some(Frame::Open { stream, .. }) => frame::refuse(stream),
            Some(Frame::Ping(id)) => frame::pong(id),
            Some(_) => Bytes::new(),
        };
        sink.write_all(&answer).await?;
        sink.flush().await?;
    }
    Ok(Some(streams))
}

/// Reads until the client hangs up. A stream that ends or breaks off is the end of the input.
async fn read_input<S: AsyncRead>(
    reader: &mut Reader<S>,
    stdin: Option<u32>,
    input: mpsc::Sender<Bytes>,
    pongs: &mpsc::UnboundedSender<u32>,
) -> io::Result<()> {
    let mut input = Some(input).filter(|_| stdin.is_some());
    while let Some(frame) = reader.next().await? {
        let (data, is_last) = match frame {
            Frame::Data {
                stream,
                data,
                is_last,
            } if Some(stream) == stdin => (data, is_last),
            Frame::Reset(stream) if Some(stream) == stdin => (Bytes::new(), true),
            Frame::Ping(id) => {
                let _ = pongs.send(id);
                continue;
            }
            _ => continue,
        };
        if let Some(input) = input.as_ref().filter(|_| !data.is_empty()) {
            // A program that reads no more leaves the rest unread.
            let _ = input.send(data).await;
        }
        if is_last {
            input = None;
        }
    }
    Ok(())
}

async fn write_output<S: AsyncWrite>(
    sink: &mut WriteHalf<S>,
    streams: &Streams,
    said: &Output,
) -> io::Result<()> {
    let (stream, data) = match said {
        Output::Stdout(data) => (streams.stdout, data),
        Output::Stderr(data) => (streams.stderr.or(streams.stdout), data),
    };
    match stream {
        Some(stream) => sink.write_all(&frame::data(stream, data, false)).await,
        None => Ok(()),
    }
}
