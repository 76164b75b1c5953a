//! One file per resource. A handler reads the request, asks the controller, and forms the answer.

pub(crate) mod accounts;
pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod containers;
pub(crate) mod engines;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod images;
pub(crate) mod join;
mod listing;
pub(crate) mod progress;
pub(crate) mod registry_logins;
