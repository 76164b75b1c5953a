//! Lists of containers, as they are read from the view: piece by piece.
//!
//! A platform may have tens of thousands of containers and a client may read slowly. A list therefore is neither collected nor
//! written as a whole: while one piece is on its way there is nothing of it but that piece, and the view is locked only while
//! references to the containers of the next are taken.

use axum::body::Body;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures::{StreamExt, stream};
use paas_core::controller::Controller;
use paas_core::model::ContainerId;

use crate::problem::{Answer, Problem};

/// Containers in a piece: some hundred kilobytes.
const PIECE: usize = 128;

/// What of a list is still to be sent.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) controller: Controller,
    /// Whether those that do not run are listed, too.
    pub(super) all: bool,
    /// The last container that was sent.
    pub(super) after: Option<ContainerId>,
    /// How many may still be sent; all when there is no limit.
    pub(super) left: Option<usize>,
}

impl Listing {
    /// The list as an answer: a JSON array.
    pub(super) fn answer(mut self) -> Answer {
        let first = self.piece(b'[').map_err(|error| Problem::internal(&error))?;
        let body = match &self.left {
            // What is complete can say how long it is.
            Some(0) => Body::from(first),
            _ => Body::from_stream(stream::iter([Ok(first)]).chain(stream::unfold(self, Self::next))),
        };
        Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    }

    async fn next(mut self) -> Option<(Result<Bytes, serde_json::Error>, Self)> {
        (self.left != Some(0)).then(|| (self.piece(b','), self))
    }

    /// The next containers, after the sign that comes before them. Nothing is left when there are no more.
    fn piece(&mut self, sign: u8) -> Result<Bytes, serde_json::Error> {
        let wanted = self.left.map_or(PIECE, |left| left.min(PIECE));
        let containers = self.controller.containers_after(self.after.as_ref(), self.all, wanted);
        self.left = match self.left {
            _ if containers.len() < wanted => Some(0),
            left => left.map(|left| left - wanted),
        };
        let mut json = Vec::with_capacity(1024 * containers.len() + 2);
        let mut sign = Some(sign);
        for container in &containers {
            json.push(sign.take().unwrap_or(b','));
            serde_json::to_writer(&mut json, container)?;
        }
        // Of an empty list there is only the sign.
        json.extend(sign.filter(|&sign| sign == b'['));
        if self.left == Some(0) {
            json.push(b']');
        }
        self.after = containers.last().map(|container| container.id.clone());
        Ok(json.into())
    }
}
