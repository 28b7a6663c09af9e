//! What is ready for the sockets of clients and backends.

use std::io::{self, IoSlice};

use super::farewell::Farewell;
use super::{ClientId, Front, Pause, State};
use crate::backend::ConnectionId;

impl Front {
    /// Lets `write` send what is ready for a client.
    ///
    /// # Errors
    /// Whatever `write` answers; after `WouldBlock` call again when the socket takes more.
    pub fn flush_client(
        &mut self,
        id: ClientId,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let Some(client) = self.clients.table.get_mut(id as usize) else {
            return Ok(());
        };
        client.dirty = false;
        let mut result = Ok(());
        while !client.pipeline.out.is_empty() && result.is_ok() {
            let out = &mut client.pipeline.out;
            result = out
                .write_to(&mut write)
                .map(|n| out.release(n, &mut self.buffers));
        }
        if client.pipeline.is_over() && client.state == State::Open {
            client.state = State::Closing;
        }
        let resumes = client.pause != Pause::No
            && client.may_resume(&self.clients.limits[usize::from(client.pool)]);
        let leaves = self.farewell == Farewell::Soon && client.is_quiet();
        if resumes || leaves || client.is_finished() {
            self.clients.woken.push(id);
        }
        if client.session.special.is_some() {
            self.settle(id);
        }
        self.account(id);
        result
    }

    /// Lets `write` send what is ready for a server.
    ///
    /// # Errors
    /// As [`Front::flush_client`].
    pub fn flush_backend(
        &mut self,
        id: ConnectionId,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        self.backends.flush(id, write)
    }

    /// Clients with something to write; `spare` is an empty list to be filled next.
    pub fn take_dirty(&mut self, spare: Vec<ClientId>) -> Vec<ClientId> {
        std::mem::replace(&mut self.clients.dirty, spare)
    }

    /// Clients whose task must call [`Front::step`]; `spare` as above.
    pub fn take_woken(&mut self, spare: Vec<ClientId>) -> Vec<ClientId> {
        std::mem::replace(&mut self.clients.woken, spare)
    }

    /// Is there nothing that may be late, and nobody who waits for a better time?
    pub fn is_idle(&self) -> bool {
        self.backends.is_idle() && self.lost.is_empty()
    }

    /// Does the shell have anything to flush, open, remove or wake?
    pub fn has_work(&self) -> bool {
        !self.clients.dirty.is_empty() || !self.clients.woken.is_empty() || self.backends.has_work()
    }
}
