//! Blocking commands: BLPOP and its kin, XREAD with BLOCK; and WAIT, which waits at all servers.
//!
//! Such a request goes out when all before it are answered, on a connection of the client's own, and the
//! client's next requests wait for its reply. A client that leaves takes its connection with it, which ends
//! the command at the server. One that we see off is called back first: what the server has given it just
//! then it still gets.

use super::context::{After, Context, Request};
use super::{Client, ClientId, Front, Now, Pause, State};
use crate::backend::{Blocking, ConnectionId, UNTIMED};
use crate::protocol::redis::command::{Access, Command, Join, Timeout, Wait};
use crate::protocol::redis::fragment::Gather;
use crate::protocol::redis::scan::ArrayFrame;

/// So many bytes may come behind a blocking request before the socket is left alone; as much again as one
/// read brings may be held.
const WATCHED_INPUT: usize = 32 * 1024;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Where a client waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    pub connection: ConnectionId,
    /// For this only; else it is the client's tie.
    pub own: bool,
}

impl Client {
    /// Is the socket read although nothing is handled?
    pub(super) fn watches_input(&self) -> bool {
        self.pause == Pause::Blocked && self.input.len() < WATCHED_INPUT
    }
}

impl Context<'_> {
    /// A request that may wait for long, but for one that says that it does not.
    #[inline(never)]
    pub(super) fn block(
        &mut self,
        request: Request<'_>,
        frame: &ArrayFrame,
        command: &Command,
        timeout: Timeout,
    ) -> After {
        let bytes = request.bytes();
        let Some(wait) = timeout.of(bytes, frame) else {
            return self.forward(request, frame, command);
        };
        if self.pipeline.pending() > 0 {
            return After::Drain;
        }
        let server = match self.server_of(bytes, frame, command) {
            Ok(Some(server)) => server,
            Ok(None) => return self.wrong_arity(command),
            Err(after) => return after,
        };
        self.leave_stays();
        let stay = match self.stay(server) {
            Ok(stay) => stay,
            Err(after) => return after,
        };
        let watching = (self.session.special.as_ref())
            .and_then(|special| special.tie)
            .is_some_and(|tie| tie.watching);
        let what = Blocking {
            wait,
            timeout,
            movable: (stay.own || !watching) && !starts_now(bytes, frame, command),
        };
        let slot = self.pipeline.open(UNTIMED);
        let call = self.call(slot, 0, command.access);
        let Stay { connection, .. } = stay;
        self.backends
            .send_blocking(connection, call, bytes, what, self.now.ms, self.buffers);
        self.special().stays.push(stay);
        After::Block
    }

    /// A client's writes may be anywhere: all live servers are asked, and the fewest replicas count.
    #[inline(never)]
    pub(super) fn wait(
        &mut self,
        bytes: &[u8],
        frame: &ArrayFrame,
        command: &Command,
        join: Join,
    ) -> After {
        if self.pipeline.pending() > 0 {
            return After::Drain;
        }
        let timeout = Timeout::LastMilliseconds;
        let what = Blocking {
            wait: timeout.of(bytes, frame).unwrap_or(Wait::Forever),
            timeout,
            // Another server does not have the writes that it is about.
            movable: false,
        };
        self.leave_stays();
        let servers = self.backends.live(self.pool);
        if servers.is_empty() {
            return self.all_are_ejected();
        }
        for server in servers {
            match self.stay(server) {
                Ok(stay) => self.special().stays.push(stay),
                Err(after) => {
                    self.leave_stays();
                    return after;
                }
            }
        }
        let stays = self.special().stays.clone();
        let gather = Gather::new(join, Vec::new(), stays.len());
        let slot = self.pipeline.open_gather(gather, UNTIMED);
        for (part, Stay { connection, .. }) in (0u16..).zip(stays) {
            // It waits for what was written before the connection's last command (`replication.c`).
            self.send_unheard(connection, PING, false);
            let call = self.call(slot, part, command.access);
            self.backends
                .send_blocking(connection, call, bytes, what, self.now.ms, self.buffers);
        }
        After::Block
    }

    /// The connection to a server on which the client may wait.
    fn stay(&mut self, server: u16) -> Result<Stay, After> {
        let special = self.session.special.as_ref();
        let tied = special.and_then(|special| special.tied_to(server));
        let opened = match tied {
            Some(connection) => self.backends.admit(connection).map(|()| connection),
            None => {
                let (at, kind, owner) = ((self.pool, server), self.session.kind(), self.owner());
                self.backends.dedicate(at, kind, owner, self.now.ms)
            }
        };
        match opened {
            Ok(connection) => Ok(Stay {
                connection,
                own: tied.is_none(),
            }),
            Err(failure) => Err(self.failure(&failure)),
        }
    }

    /// Gives the connections of an earlier blocking request back, which has been answered.
    fn leave_stays(&mut self) {
        let Some(special) = &mut self.session.special else {
            return;
        };
        for stay in special.stays.drain(..).filter(|stay| stay.own) {
            self.backends.release(stay.connection, self.buffers);
        }
    }
}

/// Does XREAD ask for what comes after the moment of its execution?
fn starts_now(bytes: &[u8], frame: &ArrayFrame, command: &Command) -> bool {
    let is_now = |id: &[u8]| matches!(id, b"$" | b"+");
    command.access == Access::Read && frame.args(bytes).any(|arg| is_now(arg.bytes))
}

impl Front {
    /// A client that waits for a blocking command will not have its reply: the server learns that by the end
    /// of the connection.
    pub(super) fn forsake(&mut self, id: ClientId) {
        let client = &mut self.clients.table[id as usize];
        if client.pause != Pause::Blocked || client.pipeline.pending() == 0 {
            return;
        }
        client.pipeline.forget();
        if let Some(special) = &mut client.session.special {
            for stay in special.stays.drain(..) {
                self.backends.abandon(stay.connection, &mut self.buffers);
                if let Some(tie) = &mut special.tie {
                    tie.lost |= !stay.own;
                }
            }
        }
    }

    /// Has the server end what the clients that `are_meant` wait for (CLIENT UNBLOCK); answers how many that
    /// are. Not those that wait for a master or for their connection.
    pub(super) fn unblock(
        &mut self,
        with_error: bool,
        now: Now,
        are_meant: impl Fn(&Client) -> bool,
    ) -> i64 {
        let mut count = 0;
        for (_, client) in &self.clients.table {
            let waits = client.state == State::Open && client.pause == Pause::Blocked;
            if !waits || !are_meant(client) {
                continue;
            }
            let special = client.session.special.as_ref();
            let mut told = false;
            for stay in special.map_or(&[][..], |special| &special.stays) {
                let id = stay.connection;
                let (backends, buffers) = (&mut self.backends, &mut self.buffers);
                told |= backends.unblock(id, with_error, now.ms, buffers);
            }
            count += i64::from(told);
        }
        count
    }

    /// Sees off the clients of `whose` that wait for a blocking command, each as soon as it is sure that the
    /// server gives it nothing more.
    pub(super) fn call_back(&mut self, now: Now, whose: impl Fn(&Client) -> bool) {
        let waiting = self.clients.table.iter().filter(|(_, client)| {
            client.state == State::Open && client.pause == Pause::Blocked && whose(client)
        });
        let waiting: Vec<ClientId> = waiting.map(|(id, _)| id as ClientId).collect();
        for id in waiting {
            let client = &mut self.clients.table[id as usize];
            client.state = State::Closing;
            let special = client.session.special.as_ref();
            let stays = special.map_or(&[][..], |special| &special.stays);
            let told = match stays {
                [stay] => self
                    .backends
                    .cancel(stay.connection, now.ms, &mut self.buffers),
                _ => false,
            };
            if !told {
                self.forsake(id);
            }
            self.clients.woken.push(id);
        }
    }
}
