//! `exec` over WebSocket: the first byte of each message is its channel.
//!
//! Source: embedded-cluster.md 10.7; the subprotocols `v4.channel.k8s.io` and `v5.channel.k8s.io`.

use bytes::Bytes;
use futures::{SinkExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::exec::{self, Output, Session};

/// Subprotocols, the best first. Both are the same here but for the end of stdin, which only v5 can tell.
pub(super) const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// The next byte is a channel that ends.
const CLOSE: u8 = 255;

/// Plays an exec on a connection.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    session: Session,
) -> Result<(), Error> {
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (mut sink, mut source) = socket.split();
    let (stdin, input) = mpsc::channel(exec::QUEUE);
    let (output, mut outputs) = mpsc::channel(exec::QUEUE);
    let work = session.run(input, output);
    let write = async {
        while let Some(said) = outputs.recv().await {
            sink.send(match &said {
                Output::Stdout(data) => message(STDOUT, data),
                Output::Stderr(data) => message(STDERR, data),
            })
            .await?;
        }
        Ok::<_, Error>(())
    };
    let status = tokio::select! {
        (status, written) = async { tokio::join!(work, write) } => {
            written?;
            status
        }
        ended = read_input(&mut source, stdin) => return ended,
    };
    sink.send(message(ERROR, status.to_string().as_bytes())).await?;
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    sink.send(Message::Close(Some(close))).await?;
    // Closed at once, what was sent could be lost on the way.
    let hung_up = async { while let Some(Ok(_)) = source.next().await {} };
    let _ = timeout(exec::HANG_UP_WITHIN, hung_up).await;
    Ok(())
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

/// Reads until the client hangs up.
async fn read_input(
    source: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    input: mpsc::Sender<Bytes>,
) -> Result<(), Error> {
    let mut input = Some(input);
    while let Some(message) = source.next().await {
        let data: Bytes = match message? {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Close(_) => return Ok(()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        match data.split_first() {
            Some((&STDIN, typed)) if !typed.is_empty() => {
                if let Some(input) = &input {
                    // A program that reads no more leaves the rest unread.
                    let _ = input.send(data.slice(1..)).await;
                }
            }
            Some((&CLOSE, [STDIN])) => input = None,
            _ => {}
        }
    }
    Ok(())
}
