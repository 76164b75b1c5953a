//! The numbers of RethinkDB's wire protocol (version 1.0) and its frames: a token of eight bytes and a length of four,
//! both little endian, then JSON. From the protocol's public description and from what a server of version 2.4.4 says.

use bytes::{Buf, Bytes, BytesMut};

/// What a client begins with, little endian.
pub(crate) const MAGIC: u32 = 0x34c2_bdc3;

/// Bytes in front of the JSON of a frame.
pub(crate) const HEADER: usize = 12;

/// Longest JSON of a frame. The server takes no longer ones.
pub(crate) const MAX_FRAME: usize = 64 << 20;

/// What a query begins with.
pub(crate) mod query {
    pub(crate) const START: u64 = 1;
    pub(crate) const CONTINUE: u64 = 2;
    pub(crate) const STOP: u64 = 3;
    pub(crate) const NOREPLY_WAIT: u64 = 4;
    pub(crate) const SERVER_INFO: u64 = 5;
}

/// What an answer is.
pub(crate) mod response {
    pub(crate) const SUCCESS_ATOM: u64 = 1;
    pub(crate) const SUCCESS_SEQUENCE: u64 = 2;
    pub(crate) const SUCCESS_PARTIAL: u64 = 3;
    pub(crate) const WAIT_COMPLETE: u64 = 4;
    pub(crate) const SERVER_INFO: u64 = 5;
    pub(crate) const CLIENT_ERROR: u64 = 16;
    pub(crate) const COMPILE_ERROR: u64 = 17;
    pub(crate) const RUNTIME_ERROR: u64 = 18;
}

/// What kind of runtime error an answer tells of.
pub(crate) mod failure {
    pub(crate) const QUERY_LOGIC: u64 = 3_000_000;
    /// The cluster was not in a state to do it, and it was not done.
    pub(crate) const OP_FAILED: u64 = 4_100_000;
    /// The cluster lost track of it: it may or may not have been done.
    pub(crate) const OP_INDETERMINATE: u64 = 4_200_000;
    pub(crate) const USER: u64 = 5_000_000;
    pub(crate) const PERMISSION: u64 = 6_000_000;
}

/// What a term does.
pub(crate) mod term {
    pub(crate) const MAKE_ARRAY: u64 = 2;
    pub(crate) const VAR: u64 = 10;
    pub(crate) const ERROR: u64 = 12;
    pub(crate) const DB: u64 = 14;
    pub(crate) const TABLE: u64 = 15;
    pub(crate) const GET: u64 = 16;
    pub(crate) const EQ: u64 = 17;
    pub(crate) const NE: u64 = 18;
    pub(crate) const ORDER_BY: u64 = 41;
    pub(crate) const COUNT: u64 = 43;
    pub(crate) const DELETE: u64 = 54;
    pub(crate) const REPLACE: u64 = 55;
    pub(crate) const INSERT: u64 = 56;
    pub(crate) const DB_CREATE: u64 = 57;
    pub(crate) const DB_DROP: u64 = 58;
    pub(crate) const DB_LIST: u64 = 59;
    pub(crate) const TABLE_CREATE: u64 = 60;
    pub(crate) const FUNCALL: u64 = 64;
    pub(crate) const BRANCH: u64 = 65;
    pub(crate) const FUNC: u64 = 69;
    pub(crate) const LIMIT: u64 = 71;
    pub(crate) const DESC: u64 = 74;
    pub(crate) const BRACKET: u64 = 170;
    pub(crate) const WAIT: u64 = 177;
    pub(crate) const MINVAL: u64 = 180;
    pub(crate) const MAXVAL: u64 = 181;
    pub(crate) const BETWEEN: u64 = 182;
}

/// A frame, ready to be sent.
pub(crate) fn frame(token: u64, json: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + json.len());
    frame.extend_from_slice(&token.to_le_bytes());
    // A frame is made no longer than MAX_FRAME.
    frame.extend_from_slice(&(json.len() as u32).to_le_bytes());
    frame.extend_from_slice(json);
    frame
}

/// A length that no frame has.
#[derive(Debug)]
pub(crate) struct TooLong(pub(crate) usize);

/// Takes the first frame out of what was received, once all of it is there.
pub(crate) fn take_frame(received: &mut BytesMut) -> Result<Option<(u64, Bytes)>, TooLong> {
    if received.len() < HEADER {
        return Ok(None);
    }
    let mut header = &received[..HEADER];
    let (token, length) = (header.get_u64_le(), header.get_u32_le() as usize);
    if length > MAX_FRAME {
        return Err(TooLong(length));
    }
    if received.len() < HEADER + length {
        received.reserve(HEADER + length - received.len());
        return Ok(None);
    }
    received.advance(HEADER);
    Ok(Some((token, received.split_to(length).freeze())))
}

/// Takes the first message that ends with a zero byte: so the two talk until they know each other.
pub(crate) fn take_message(received: &mut BytesMut) -> Option<Bytes> {
    let end = received.iter().position(|&byte| byte == 0)?;
    let message = received.split_to(end).freeze();
    received.advance(1);
    Some(message)
}
