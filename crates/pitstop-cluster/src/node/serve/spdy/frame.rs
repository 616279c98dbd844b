//! Frames of SPDY/3.1 as far as `kubectl exec` needs them, and their compressed headers.
//!
//! There is no flow control: the Kubernetes clients neither keep to a window nor ever grow one.
//!
//! Source: SPDY protocol draft 3.1, sections 2.2 and 2.6.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// The version in every control frame: 3 stands for 3.1, too.
const VERSION: u16 = 3;
/// First bit of a control frame.
const CONTROL: u16 = 0x8000;
/// Highest bits of lengths and stream numbers are flags, or reserved.
const LENGTH: u32 = 0x00ff_ffff;
const STREAM: u32 = 0x7fff_ffff;
/// The sender says nothing more on this stream.
const FIN: u8 = 1;
/// Bytes of a frame before its payload.
const HEAD: usize = 8;
/// Largest payload that is taken: clients send what they read from a pipe, 32 KiB at most.
const MAX_PAYLOAD: usize = 1 << 20;
/// Largest headers of a stream that are taken, unpacked.
const MAX_HEADERS: usize = 64 << 10;

/// What the peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// It opens a stream.
    Open {
        /// Number of the stream.
        stream: u32,
        /// Names (in lower case) and values.
        headers: Vec<(String, String)>,
    },
    /// Bytes on a stream; `is_last`: no more follow.
    Data { stream: u32, data: Bytes, is_last: bool },
    /// A stream is broken off.
    Reset(u32),
    /// To be sent back as it is.
    Ping(u32),
    /// The peer will open no more streams.
    GoAway,
    /// Settings, window updates, and what else is of no use here.
    Other,
}

/// The peer does not speak SPDY/3.1.
#[derive(Debug, thiserror::Error)]
#[error("not SPDY/3.1: {0}")]
pub(super) struct FrameError(&'static str);

/// Takes frames apart. One for each connection: headers are compressed across frames.
pub(super) struct Decoder {
    inflate: Decompress,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            inflate: Decompress::new(true),
        }
    }

    /// The next frame of a buffer; `None`: more bytes are needed.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(mut head) = buffer.get(..HEAD) else {
            return Ok(None);
        };
        let (first, second, rest) = (head.get_u16(), head.get_u16(), head.get_u32());
        let length = usize::try_from(rest & LENGTH).unwrap_or(usize::MAX);
        if length > MAX_PAYLOAD {
            return Err(FrameError("a frame is too large"));
        }
        if buffer.len() < HEAD + length {
            return Ok(None);
        }
        buffer.advance(HEAD);
        let mut payload = buffer.split_to(length).freeze();
        let [flags, ..] = rest.to_be_bytes();
        if first & CONTROL == 0 {
            let stream = (u32::from(first) << 16) | u32::from(second);
            return Ok(Some(Frame::Data {
                stream,
                data: payload,
                is_last: flags & FIN != 0,
            }));
        }
        if first & !CONTROL != VERSION {
            return Err(FrameError("another version"));
        }
        let number = |payload: &mut Bytes| {
            let short = FrameError("a frame is too short");
            payload.try_get_u32().map_err(|_| short)
        };
        Ok(Some(match second {
            // SYN_STREAM: the stream, the one it belongs to, priority and slot, headers.
            1 => {
                let stream = number(&mut payload)? & STREAM;
                number(&mut payload)?;
                if payload.len() < 2 {
                    return Err(FrameError("a frame is too short"));
                }
                payload.advance(2);
                let headers = self.headers(&payload)?;
                Frame::Open { stream, headers }
            }
            // SYN_REPLY and HEADERS: of no use, but the next headers are compressed with these.
            2 | 8 => {
                number(&mut payload)?;
                self.headers(&payload)?;
                Frame::Other
            }
            3 => Frame::Reset(number(&mut payload)? & STREAM),
            6 => Frame::Ping(number(&mut payload)?),
            7 => Frame::GoAway,
            _ => Frame::Other,
        }))
    }

    fn headers(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, FrameError> {
        let unpacked = self.inflate(block)?;
        let mut left = unpacked.as_slice();
        let text = |left: &mut &[u8]| -> Option<String> {
            let length = usize::try_from(left.try_get_u32().ok()?).ok()?;
            let (text, rest) = left.split_at_checked(length)?;
            *left = rest;
            String::from_utf8(text.to_vec()).ok()
        };
        let count = left
            .try_get_u32()
            .map_err(|_| FrameError("headers are too short"))?;
        let mut headers = Vec::new();
        for _ in 0..count {
            match (text(&mut left), text(&mut left)) {
                (Some(name), Some(value)) => headers.push((name, value)),
                _ => return Err(FrameError("headers are cut off")),
            }
        }
        Ok(headers)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, FrameError> {
        let broken = FrameError("headers cannot be unpacked");
        let mut unpacked = Vec::new();
        let mut left = block;
        while !left.is_empty() {
            if unpacked.len() >= MAX_HEADERS {
                return Err(FrameError("headers are too large"));
            }
            unpacked.reserve(4096);
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            match self
                .inflate
                .decompress_vec(left, &mut unpacked, FlushDecompress::Sync)
            {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate
                        .set_dictionary(&dictionary())
                        .map_err(|_| FrameError("headers have another dictionary"))?;
                }
                Err(_) => return Err(broken),
            }
            let taken = usize::try_from(self.inflate.total_in() - read).unwrap_or(usize::MAX);
            left = left.get(taken..).unwrap_or_default();
            if taken == 0 && self.inflate.total_out() == written {
                return Err(broken);
            }
        }
        // What a full buffer held back.
        loop {
            unpacked.reserve(4096);
            let written = self.inflate.total_out();
            let more = self
                .inflate
                .decompress_vec(&[], &mut unpacked, FlushDecompress::Sync);
            if more.is_err() || self.inflate.total_out() == written {
                return Ok(unpacked);
            }
            if unpacked.len() >= MAX_HEADERS {
                return Err(FrameError("headers are too large"));
            }
        }
    }
}

/// Puts frames together. One for each connection, as [`Decoder`].
pub(super) struct Encoder {
    deflate: Compress,
}

impl Encoder {
    pub(super) fn new() -> Result<Self, FrameError> {
        let mut deflate = Compress::new(Compression::best(), true);
        deflate
            .set_dictionary(&dictionary())
            .map_err(|_| FrameError("the dictionary is not taken"))?;
        Ok(Self { deflate })
    }

    /// `SYN_REPLY`: the stream is taken.
    pub(super) fn accept(&mut self, stream: u32) -> Result<Bytes, FrameError> {
        let block = self.headers(&[])?;
        let mut payload = BytesMut::new();
        payload.put_u32(stream);
        payload.put_slice(&block);
        Ok(control(2, &payload))
    }

    fn headers(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, FrameError> {
        let mut plain = BytesMut::new();
        let number = |n: usize| u32::try_from(n).map_err(|_| FrameError("headers are too large"));
        plain.put_u32(number(headers.len())?);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(number(text.len())?);
            plain.put_slice(text.as_bytes());
        }
        // Little compresses badly: leave room for the end of the block.
        let mut packed = Vec::with_capacity(plain.len() + 128);
        self.deflate
            .compress_vec(&plain, &mut packed, FlushCompress::Sync)
            .map_err(|_| FrameError("headers cannot be packed"))?;
        Ok(packed)
    }
}

/// Bytes on a stream; no more follow after those with `is_last`.
pub(super) fn data(stream: u32, data: &[u8], is_last: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + data.len());
    frame.put_u32(stream & STREAM);
    let length = u32::try_from(data.len()).unwrap_or(LENGTH) & LENGTH;
    frame.put_u32((u32::from(if is_last { FIN } else { 0 }) << 24) | length);
    frame.put_slice(data);
    frame.freeze()
}

/// The answer to a ping.
pub(super) fn pong(id: u32) -> Bytes {
    control(6, &id.to_be_bytes())
}

/// A stream is refused. Status 3: refused.
pub(super) fn refuse(stream: u32) -> Bytes {
    let mut payload = BytesMut::new();
    payload.put_u32(stream);
    payload.put_u32(3);
    control(3, &payload)
}

/// The connection ends well.
pub(super) fn go_away(last_stream: u32) -> Bytes {
    let mut payload = BytesMut::new();
    payload.put_u32(last_stream);
    payload.put_u32(0);
    control(7, &payload)
}

fn control(kind: u16, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + payload.len());
    frame.put_u16(CONTROL | VERSION);
    frame.put_u16(kind);
    frame.put_u32(u32::try_from(payload.len()).unwrap_or(LENGTH) & LENGTH);
    frame.put_slice(payload);
    frame.freeze()
}

/// What both sides know before the first header. Source: SPDY protocol draft 3, section 2.6.10.1.
fn dictionary() -> Vec<u8> {
    const WORDS: &str = "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|\
        accept-ranges|age|allow|authorization|cache-control|connection|content-base|content-encoding|\
        content-language|content-length|content-location|content-md5|content-range|content-type|date|etag|expect|\
        expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|\
        location|max-forwards|pragma|proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|\
        trailer|transfer-encoding|upgrade|user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|\
        version|HTTP/1.1|url|public|set-cookie|keep-alive|origin";
    const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
        203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
        403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
        Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
        chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
        text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.split('|') {
        bytes.put_u32(u32::try_from(word.len()).unwrap_or_default());
        bytes.put_slice(word.as_bytes());
    }
    bytes.put_slice(REST.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(encoder: &mut Encoder, stream: u32, headers: &[(&str, &str)]) -> Bytes {
        let mut payload = BytesMut::new();
        payload.put_u32(stream);
        payload.put_u32(0);
        payload.put_u16(0);
        payload.put_slice(&encoder.headers(headers).unwrap());
        control(1, &payload)
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        // The checksum that zlib writes into the first header block. Source: SPDY draft 3, and what Go clients send.
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        assert_eq!((dictionary().len(), (b << 16) | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn streams_are_opened_one_after_the_other() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new());
        for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize")] {
            let frame = open(&mut encoder, stream, &[("streamtype", kind)]);
            let mut buffer = BytesMut::from(&*frame);
            let headers = vec![("streamtype".to_owned(), kind.to_owned())];
            assert_eq!(
                decoder.next(&mut buffer).unwrap(),
                Some(Frame::Open { stream, headers })
            );
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn an_answer_keeps_the_compression_in_step() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new());
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&encoder.accept(1).unwrap());
        buffer.extend_from_slice(&open(&mut encoder, 3, &[("streamtype", "stdin")]));
        assert_eq!(decoder.next(&mut buffer).unwrap(), Some(Frame::Other));
        assert!(matches!(
            decoder.next(&mut buffer).unwrap(),
            Some(Frame::Open { stream: 3, .. })
        ));
    }

    #[test]
    fn large_headers_are_unpacked_and_larger_ones_are_not() {
        let long = "x".repeat(20_000);
        let mut encoder = Encoder::new().unwrap();
        let mut buffer = BytesMut::from(&*open(&mut encoder, 1, &[("a", &long)]));
        let frame = Decoder::new().next(&mut buffer).unwrap();
        assert!(matches!(frame, Some(Frame::Open { headers, .. }) if headers == [("a".to_owned(), long)]));
        let bomb = "x".repeat(MAX_HEADERS * 4);
        let mut encoder = Encoder::new().unwrap();
        let mut buffer = BytesMut::from(&*open(&mut encoder, 1, &[("a", &bomb)]));
        Decoder::new().next(&mut buffer).unwrap_err();
    }

    #[test]
    fn frames_are_read_however_they_arrive() {
        let mut sent = BytesMut::new();
        sent.extend_from_slice(&data(5, b"hello", false));
        sent.extend_from_slice(&pong(9));
        sent.extend_from_slice(&control(4, &[0, 0, 0, 0]));
        sent.extend_from_slice(&control(9, &[0; 8]));
        sent.extend_from_slice(&refuse(7));
        sent.extend_from_slice(&data(5, b"", true));
        sent.extend_from_slice(&go_away(7));
        let of = |data: &'static [u8], is_last| Frame::Data {
            stream: 5,
            data: Bytes::from_static(data),
            is_last,
        };
        let want = [
            of(b"hello", false),
            Frame::Ping(9),
            Frame::Other,
            Frame::Other,
            Frame::Reset(7),
            of(b"", true),
            Frame::GoAway,
        ];
        let (mut decoder, mut buffer, mut got) = (Decoder::new(), BytesMut::new(), Vec::new());
        for byte in sent {
            buffer.put_u8(byte);
            while let Some(frame) = decoder.next(&mut buffer).unwrap() {
                got.push(frame);
            }
        }
        assert_eq!(got, want);
    }

    #[test]
    fn what_is_no_spdy_is_refused() {
        for bytes in [
            // Version 2.
            &[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1][..],
            // 16 MB.
            &[0, 0, 0, 1, 0, 0xff, 0xff, 0xff],
            // A SYN_STREAM without headers, and one with noise for headers.
            &[0x80, 3, 0, 1, 0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            &[
                0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4,
            ],
            // A ping without its number.
            &[0x80, 3, 0, 6, 0, 0, 0, 0],
        ] {
            Decoder::new().next(&mut BytesMut::from(bytes)).unwrap_err();
        }
    }
}
