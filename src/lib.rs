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
//! # The way of a request
//! ```text
//! worker/header.rs   takes the PROXY protocol header first, if the pool wants one ... protocol::proxy
//! worker/client.rs   reads the socket into a buffer the worker's clients share
//! client/front.rs    finds complete requests in it ............ protocol::redis::scan
//! client/session.rs  what is it? where does it go? ............ protocol::redis::command, topology::route
//! client/pipeline.rs opens the reply slot: from here on the order of replies is fixed
//! backend/pool.rs    the connection to that server, opened if need be
//! backend/connection.rs  queues the request behind the others
//! worker/shared.rs   the flusher writes every connection that has something, once per turn
//! ------- and back -------
//! worker/backend.rs  reads the socket
//! backend/connection.rs  finds the end of the reply ........... protocol::redis::reply
//!                    and the call at the head of its queue it belongs to
//! client/pipeline.rs fills the slot; the finished front of the pipeline goes to the client's buffer
//!                    (split requests are joined first ......... protocol::redis::fragment)
//! worker/shared.rs   the flusher writes every client that has something, once per turn
//! ```
//! A request that no server is asked for (PING, HELLO, an error) is answered by `client/local/` or
//! `client/session.rs` into its slot.
//!
//! # The way of a change
//! ```text
//! sentinels: events, answers --> topology/sentinel/task: links to all of them
//!     topology/sentinel/watcher decides: hold, switch, release --Update--------v
//! workers: failed connections, refusals, answers of suspects --Event--> topology/task.rs <-- clock, names
//!     topology/eject.rs, topology/resolve.rs decide --Update--> topology/publish.rs: version + 1
//!     --watch--> each worker: Front::apply -> Backends::apply keeps, retires, opens connections;
//!                backend/hold.rs: requests of a held server wait, and go on at its new address
//! ```
//! ```text
//! SIGHUP, the file (app/watch.rs) --> app/reload.rs: config::load, config::merge, bind; or refused
//!     --> app/running.rs: room in stats and workers --> topology/task/reload.rs: the machines take it in,
//!         topology/configure.rs keeps what is still true --> one snapshot, as above
//!     --> workers: client/leave.rs, backend/reload.rs --> accept loops
//! ```
//! Pools and servers are addressed by *slots*: an index belongs to one name for the life of the process, so
//! that what is in flight across a reload is never taken for somebody else's (config/merge.rs).
//!
//! The topology task is the only writer. Nothing but finished snapshots reaches the data path, and a
//! request only ever reads the worker's own copy.
//!
//! # Threads
//! The control thread ([`app`]) accepts clients and gives each to the worker with the fewest, follows
//! signals, runs the topology task and the statistics port. Every [`worker`] is one thread with its own
//! clients and its own connections to every server; workers share nothing they write to but counters that
//! have one writer each.
//!
//! Machines (everything below [`worker`]) name no socket, clock or task: time is an argument, what is to be
//! done is returned. All sockets of the data path are in [`worker`], not spread over `client` and
//! `backend`: replies then need no trait objects to cross the layers, and one flusher sees every dirty
//! connection.
//!
//! # The way of a hand-over
//! `app/handover` passes the listening sockets of a process to the next one, which begins to accept when the
//! first has stopped (`app/takeover.rs`); the first serves its clients until they leave (`app/ending.rs`,
//! `client/farewell.rs`).
//!
//! # Layers
//! A module names only modules above it in this list (`tests/layers.rs` keeps it true).
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`hash`], [`distribution`], [`protocol`], [`stats`], [`backoff`], [`buffer`], [`log`], [`allocator`] |
//! | 1 | [`config`] |
//! | 2 | [`topology`] |
//! | 3 | [`backend`] |
//! | 4 | [`client`] |
//! | 5 | [`worker`], [`admin`] |
//! | 6 | [`app`] |
//! | 7 | [`cli`] |
#![deny(unsafe_code)]

pub mod admin;
pub mod allocator;
pub mod app;
pub mod backend;
pub mod backoff;
pub mod buffer;
pub mod cli;
pub mod client;
pub mod config;
pub mod distribution;
pub mod hash;
pub mod log;
pub mod protocol;
pub mod stats;
pub mod topology;
pub mod worker;
