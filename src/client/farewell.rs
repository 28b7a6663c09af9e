//! How clients are seen off: when they have nothing to do, when they have what they are owed, or as soon
//! as they are owed nothing.
//!
//! Redis has no word for "please leave": all we can do is to close, and a request that is on its way to
//! us just then is lost. So we close where a client least likely has one on its way: after a long silence,
//! or right behind a reply, which it will hardly have read yet.

use super::{ClientId, Front, Now, State};

/// What becomes of clients that do not leave by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    No,
    /// Each is closed in the first moment in which it is owed nothing.
    Soon,
    /// None may send another request.
    Now,
}

impl Front {
    /// To be called at intervals: clients that had nothing to do since the last time may be closed if their
    /// sockets are empty, see [`Front::should_leave`].
    pub fn sweep(&mut self) {
        for (id, client) in &mut self.clients.table {
            let quiet = client.is_quiet();
            client.may_leave = quiet && !client.heard;
            client.heard = !quiet;
            if client.may_leave {
                self.clients.woken.push(id as ClientId);
            }
        }
    }

    /// From now on every client may be closed as soon as it is owed nothing and its socket is empty.
    /// One that waits for a blocking command is about to send nothing.
    pub fn see_off(&mut self, now: Now) {
        if self.farewell == Farewell::No {
            self.farewell = Farewell::Soon;
        }
        self.call_back(now, |_| true);
        for (id, client) in &self.clients.table {
            if client.is_quiet() {
                self.clients.woken.push(id as ClientId);
            }
        }
    }

    /// Should this client, from whom nothing is there to read, be closed?
    pub fn should_leave(&self, id: ClientId) -> bool {
        let client = &self.clients.table[id as usize];
        let silent = client.may_leave && !client.heard;
        client.is_quiet() && (silent || self.farewell == Farewell::Soon)
    }

    /// The client may send no more requests; [`Front::step`] ends it when it has what it is owed.
    pub fn leave(&mut self, id: ClientId) {
        let client = &mut self.clients.table[id as usize];
        if client.state == State::Open {
            client.state = State::Closing;
        }
    }

    /// No more requests from anyone; every client ends when it has what it is owed.
    pub fn drain(&mut self, now: Now) {
        self.farewell = Farewell::Now;
        self.call_back(now, |_| true);
        for (id, client) in &mut self.clients.table {
            if client.state == State::Open {
                client.state = State::Closing;
            }
            self.clients.woken.push(id as ClientId);
        }
    }
}
