//! The only writer of the topology.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{Event, Topology};
use crate::config::Config;
use crate::stats::ControlStats;

/// The ends of the topology task that others hold.
pub struct TopologyHandle {
    pub snapshots: watch::Receiver<Arc<Topology>>,
    pub events: mpsc::UnboundedSender<Event>,
}

/// Starts the task on the current (control) runtime; it ends when all event senders are gone.
pub fn spawn(_config: &Config, _stats: Arc<ControlStats>) -> TopologyHandle {
    unimplemented!()
}
