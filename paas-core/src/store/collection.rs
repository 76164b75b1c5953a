//! Typed access to a table.
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Store, Table, Version};

/// A document read with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// Its content.
    pub value: T,
}

/// Typed access to one table of a store.
#[derive(Debug)]
pub struct Collection<T> {
    #[allow(dead_code)]
    store: Arc<dyn Store>,
    #[allow(dead_code)]
    table: Table,
    marker: PhantomData<fn() -> T>,
}
