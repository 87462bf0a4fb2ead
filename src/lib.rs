//! subrosa: a forward HTTP proxy that injects secrets.
//!
//! A runner writes `{secrets.crm.apiKey}` where a credential belongs; the proxy puts the value in
//! place on the way out, or refuses the whole request. This file is the table of contents, floor
//! by floor: a room may use the rooms below it, never those above or beside it
//! (`tests/floors.rs` holds the arrows). `docs/architecture.md` draws the house.

#![doc(html_no_source)]

// The roof: what a person starts.
pub mod cli;

pub mod app;

pub mod config;

// The doors: one for people, one for runners.
pub mod admin;

pub mod proxy;

// What the doors ask: secrets, runners, people, the keys, backups.
pub mod backup;
pub mod custody;
pub mod identity;
pub mod members;
pub mod vault;

// Sealed records with their manifest, what happened, where both lie, and what somebody shows to be
// known.
pub mod activity;
pub mod ledger;

pub mod audit;
pub mod store;
pub mod token;

// The core, the cipher and the way out.
pub mod fetch;
pub mod inject;
pub mod seal;
pub mod upstream;

// Parsed words everybody shares.
pub mod runtimes;
pub mod secret;
pub mod serve;
pub mod tls;

// The ground.
pub mod drain;
pub mod metrics;
pub mod origin;
pub mod readiness;
pub mod stack;
pub mod staleness;
