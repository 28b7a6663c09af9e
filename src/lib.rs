//! Nuthatch: a sharding proxy for Redis that drops in for twemproxy.
//!
//! # Words
//! *pool* a listen address with its servers. *server* (or shard) one named place on the ring; its name
//! as written in the configuration is hashed, so a changed address moves no key. *endpoint* the address
//! that serves a server now. *client* who connects to us; *backend* a connection of ours to a Redis.
//! *call* one request on its way to a backend and the reply slot it will fill. *fragment* the part of a
//! multi-key request that goes to one server. *pipeline* a client's ordered, unanswered requests.
//! *topology* the immutable, numbered snapshot pool -> server -> endpoint. *machine* code without IO,
//! *task* the tokio shell around one.
//!
//! # Layers
//! A module names only modules above it in this list (`tests/layers.rs` keeps it true).
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`hash`], [`distribution`], [`protocol`], [`stats`], [`backoff`], [`buffer`] |
//! | 1 | [`config`] |
//! | 2 | [`topology`] |
//! | 3 | [`backend`] |
//! | 4 | [`client`] |
//! | 5 | [`worker`], [`admin`] |
//! | 6 | [`app`] |
//! | 7 | [`cli`] |
#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod backend;
pub mod backoff;
pub mod buffer;
pub mod cli;
pub mod client;
pub mod config;
pub mod distribution;
pub mod hash;
pub mod protocol;
pub mod stats;
pub mod topology;
pub mod worker;
