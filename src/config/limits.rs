//! What one client may take.

/// What one client of a pool may ask of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request.
    pub max_request_bytes: u64,
    /// Arguments of one request, the command's name included.
    pub max_arguments: u32,
    /// Unanswered requests of one client; above it we stop reading from that client.
    pub client_pending_limit: u32,
    /// Bytes of replies that wait for one client; above half of it we stop reading its requests, above
    /// it the client is closed.
    pub client_output_limit: u64,
    /// Connections to each server that belong to one client for a while, per worker; 0: none.
    pub dedicated_connections: u32,
}

impl Limits {
    /// Bytes of one argument: those of a request, but never more than Redis's `proto-max-bulk-len`.
    pub fn max_argument_bytes(&self) -> u64 {
        self.max_request_bytes.min(512 << 20)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_request_bytes: 1 << 30,
            max_arguments: 1 << 20,
            client_pending_limit: 1 << 16,
            client_output_limit: 1 << 30,
            dedicated_connections: 1000,
        }
    }
}
