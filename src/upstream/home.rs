//! Where a connection rests: in the pool of its tenant, or in one client's own slot.
//!
//! A connection that was authenticated as a connection (NTLM, Negotiate) belongs to one client
//! connection alone: it rests in that client's [`Pinned`] slot and never in the pool.

use std::sync::{Arc, Mutex, PoisonError};

use super::connection::Connection;
use super::lane::Speech;
use super::pool::Pool;
use crate::origin::Origin;

/// Who may share connections: an organization and a runner, as one text that tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(pub Arc<str>);

/// What two requests must have in common to go over one connection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tenant: Tenant,
    pub(super) origin: Origin,
    /// What its connections were made for, where that makes a difference.
    pub(super) kind: Speech,
    /// Of the settings under which its connections were made.
    pub(super) generation: u64,
}

/// The place of one client connection for an upstream connection that is its own.
pub struct Pinned<B>(Arc<Mutex<Slot<B>>>);

type Slot<B> = Option<(Key, Connection<B>)>;

impl<B> Pinned<B> {
    /// An empty slot.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Takes the connection, if it is for the tenant and origin of `key`: whatever it was made for, what it was
    /// authenticated for is this client's.
    pub(super) fn take(&self, key: &Key) -> Option<Connection<B>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Other settings are in force than when it was made.
        drop(slot.take_if(|(held, _)| held.generation < key.generation));
        let is_meant = |held: &Key| held.tenant == key.tenant && held.origin == key.origin && held.generation == key.generation;
        slot.take_if(|(held, _)| is_meant(held)).map(|(_, connection)| connection)
    }

    pub(super) fn put(&self, key: Key, connection: Connection<B>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, connection));
    }
}

impl<B> Clone for Pinned<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Default for Pinned<B> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a connection belongs once its exchange is over.
pub(super) struct WayHome<B> {
    pub(super) key: Key,
    pub(super) home: Home<B>,
}

/// The place a connection rests in.
pub(super) enum Home<B> {
    Pool(Pool<B>),
    Pinned(Pinned<B>),
    /// Nowhere: it speaks another protocol from now on (a 101 response).
    Nowhere,
}

impl<B> WayHome<B> {
    /// Lets a connection rest in its place.
    pub(super) fn take_in(&self, mut connection: Connection<B>) {
        connection.rest();
        match &self.home {
            Home::Pool(pool) => pool.put(self.key.clone(), connection),
            Home::Pinned(pinned) => pinned.put(self.key.clone(), connection),
            Home::Nowhere => {}
        }
    }
}

/// A connection that was taken to be used, and goes home again if it is not.
pub(super) struct Kept<B> {
    connection: Option<Connection<B>>,
    way_home: WayHome<B>,
}

impl<B> Kept<B> {
    pub(super) fn new(connection: Connection<B>, way_home: WayHome<B>) -> Self {
        Self { connection: Some(connection), way_home }
    }

    pub(super) fn into_connection(mut self) -> Connection<B> {
        self.connection.take().expect("it is emptied only here and on dropping")
    }
}

impl<B> Drop for Kept<B> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.way_home.take_in(connection);
        }
    }
}
