//! What sentinels published: to the shards of the master it is about.

use std::time::Instant;

use super::super::SentinelId;
use super::super::address::HostPort;
use super::super::answer::Question;
use super::super::message::{Event, Instance, Named};
use super::super::output::{Note, Suspicion, Via};
use super::super::shard::{Context, Poll, Shard};
use super::Watcher;

impl Watcher {
    pub(super) fn handle_event(
        &mut self,
        from: SentinelId,
        channel: &'static str,
        event: Event,
        now: Instant,
    ) {
        if let Event::Tilt(entered) = event {
            return self.handle_tilt(from, entered);
        }
        let Some(name) = name_of(&event).map(str::to_string) else {
            return;
        };
        let event = self.translate(event, now);
        let known = self.each_of(&name, now, |shard, ctx| {
            shard.handle_event(from, channel, &event, ctx);
        });
        match event {
            _ if !known => {
                if let Event::Monitored(_) = event {
                    self.hasten_search(now);
                }
                self.note(Note::Foreign { sentinel: from });
            }
            Event::Sentinels(_) => self.ask(from, vec![Question::Sentinels(name)], now),
            _ => {}
        }
    }

    /// A sentinel in tilt still tells addresses that it learns from others.
    fn handle_tilt(&mut self, sentinel: SentinelId, entered: bool) {
        if let Some(peer) = self.peers.get_mut(sentinel) {
            peer.tilt = entered;
            self.note(Note::Tilt { sentinel, entered });
        }
    }

    fn translate(&mut self, event: Event, now: Instant) -> Event {
        let mut meet = |address: HostPort| self.meet(address, now);
        let named = |named: Named, meet: &mut dyn FnMut(HostPort) -> HostPort| Named {
            name: named.name,
            address: meet(named.address),
        };
        match event {
            Event::Moved {
                name,
                old,
                new,
                promoted,
            } => Event::Moved {
                name,
                old: meet(old),
                new: meet(new),
                promoted,
            },
            Event::Announced {
                stage,
                master,
                candidate,
            } => Event::Announced {
                stage,
                master: named(master, &mut meet),
                candidate: candidate.map(meet),
            },
            Event::Attempted(master) => Event::Attempted(named(master, &mut meet)),
            Event::Aborted(master) => Event::Aborted(named(master, &mut meet)),
            Event::Down {
                instance: Instance::Master(master),
                agreed,
            } => Event::Down {
                instance: Instance::Master(named(master, &mut meet)),
                agreed,
            },
            Event::Up {
                instance: Instance::Master(master),
                agreed,
            } => Event::Up {
                instance: Instance::Master(named(master, &mut meet)),
                agreed,
            },
            // No address of the others is looked at.
            other => other,
        }
    }
}

/// The master an event is about. `None` if it does not name one.
fn name_of(event: &Event) -> Option<&str> {
    let named = match event {
        Event::Moved { name, .. } => return Some(name),
        Event::Down { instance, .. }
        | Event::Up { instance, .. }
        | Event::RoleChanged { instance, .. }
        | Event::Rebooted(instance) => match instance {
            Instance::Master(named) => named,
            Instance::Replica { of, .. } | Instance::Sentinel { of, .. } => of,
        },
        Event::Attempted(named)
        | Event::Announced { master: named, .. }
        | Event::Aborted(named)
        | Event::Ended(named)
        | Event::Replicas(named)
        | Event::Converted { of: named, .. }
        | Event::Reset(named)
        | Event::Monitored(named)
        | Event::Unmonitored(named)
        | Event::Sentinels(named)
        | Event::Updating(named)
        | Event::Reconfigured(named) => named,
        Event::Election { .. } | Event::Tilt(_) | Event::Irrelevant => return None,
    };
    Some(&named.name)
}

impl Shard {
    fn handle_event(
        &mut self,
        from: SentinelId,
        channel: &'static str,
        event: &Event,
        ctx: Context,
    ) {
        self.note(Note::Event {
            shard: self.id,
            sentinel: from,
            channel,
        });
        match event {
            Event::Moved {
                old, new, promoted, ..
            } => {
                let via = if *promoted {
                    Via::Promoted
                } else {
                    Via::Switched
                };
                self.handle_moved(from, old, new.clone(), via, ctx);
            }
            Event::Announced {
                stage,
                master,
                candidate,
            } => self.handle_announced(from, *stage, master, candidate.clone(), ctx),
            Event::Attempted(master) => self.handle_attempt(master, ctx),
            Event::Aborted(master) => self.handle_aborted(from, master, ctx),
            Event::Down {
                instance: Instance::Master(master),
                agreed,
            } if self.believes(&master.address, ctx) => {
                let why = if *agreed {
                    Suspicion::ObjectivelyDown
                } else {
                    Suspicion::SubjectivelyDown
                };
                self.suspect(why, ctx);
            }
            Event::Up {
                instance: Instance::Master(master),
                ..
            } => {
                if self.believes(&master.address, ctx) {
                    self.end_suspicion();
                }
                self.polls.push(Poll::All);
            }
            Event::Monitored(_) => {
                self.views.handle_anew(from);
                self.polls.push(Poll::One(from));
            }
            Event::Unmonitored(_) => {
                self.views.handle_unmonitored(from);
                self.reconsider(ctx);
            }
            Event::Reset(_) | Event::RoleChanged { .. } | Event::Rebooted(_) => {
                self.polls.push(Poll::One(from));
            }
            _ => {}
        }
    }
}
