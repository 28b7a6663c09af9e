//! What sentinels publish: channel and payload to a typed [`Event`].
//!
//! Only form is checked here, and that addresses can be addresses; whether an event is believed is
//! `shard.rs`'s matter. The order of fields is Sentinel's `sentinelEvent`: `<type> <name> <ip> <port>`,
//! for replicas and sentinels followed by `@ <master> <ip> <port>`; further words may follow.

use super::address::HostPort;

/// What to subscribe to, by name: an ACL that grants channels refuses `PSUBSCRIBE *`, and the pattern
/// would bring the noise of `+cmd-link` and its like.
pub const CHANNELS: &[&str] = &[
    "+switch-master",
    "+promoted-slave",
    "+config-update-from",
    "+try-failover",
    "+elected-leader",
    "+vote-for-leader",
    "+new-epoch",
    "+failover-state-select-slave",
    "+selected-slave",
    "+failover-state-send-slaveof-noone",
    "+failover-state-wait-promotion",
    "+failover-state-reconf-slaves",
    "-failover-abort-not-elected",
    "-failover-abort-no-good-slave",
    "-failover-abort-slave-timeout",
    "+failover-end",
    "+failover-end-for-timeout",
    "+sdown",
    "-sdown",
    "+odown",
    "-odown",
    "+slave",
    "+convert-to-slave",
    "+fix-slave-config",
    "+slave-reconf-sent",
    "+slave-reconf-inprog",
    "+slave-reconf-done",
    "-slave-reconf-sent-timeout",
    "+role-change",
    "-role-change",
    "+reboot",
    "+reset-master",
    "+monitor",
    "-monitor",
    "+set",
    "+sentinel",
    "+sentinel-address-switch",
    "+sentinel-invalid-addr",
    "+tilt",
    "-tilt",
];

/// Longest payload that can be meant for us: five fields and two host names.
const MAX_PAYLOAD: usize = 4096;

/// A master as a message names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    /// What the sentinel holds, or still holds, to be its address.
    pub address: HostPort,
}

/// Whom an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instance {
    Master(Named),
    Replica {
        address: HostPort,
        of: Named,
    },
    /// Its address is left out: `+sentinel-invalid-addr` has none that could be used.
    Sentinel {
        run_id: String,
        of: Named,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The master is at `new` now. `promoted`: said by the leader of the failover the moment the new
    /// epoch is its own (`+promoted-slave`); else by whoever follows (`+switch-master`).
    Moved {
        name: String,
        old: HostPort,
        new: HostPort,
        promoted: bool,
    },
    /// A sentinel tries to become the leader of a failover; elections may fail.
    Attempted(Named),
    /// A leader promotes `candidate`, which takes a moment; `None` when the stage names the master only.
    Announced {
        stage: Stage,
        master: Named,
        candidate: Option<HostPort>,
    },
    /// The leader gave up.
    Aborted(Named),
    /// The leader is done; the address is still the old one.
    Ended(Named),
    /// A vote or a new epoch; which master it is about is not said.
    Election {
        epoch: u64,
    },
    /// One sentinel's opinion, or (`agreed`) that of a quorum.
    Down {
        instance: Instance,
        agreed: bool,
    },
    Up {
        instance: Instance,
        agreed: bool,
    },
    /// Something about the replicas of this master changed.
    Replicas(Named),
    /// A node that claimed to be a master was told to be a replica.
    Converted {
        address: HostPort,
        of: Named,
    },
    /// A node reports another role than the sentinel remembers.
    RoleChanged {
        instance: Instance,
        master: bool,
    },
    /// Same address, new process.
    Rebooted(Instance),
    /// The sentinel forgot the replicas and other sentinels of this master.
    Reset(Named),
    Monitored(Named),
    Unmonitored(Named),
    /// The other sentinels of this master changed.
    Sentinels(Named),
    /// Another sentinel's newer configuration is about to be taken over.
    Updating(Named),
    /// An operator changed a parameter.
    Reconfigured(Named),
    /// The sentinel's clock jumped or it was stopped: it reports nobody down and starts no failover.
    Tilt(bool),
    /// Known and without consequence.
    Irrelevant,
}

/// How far an announced failover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first that names the candidate, 50-100 ms before it is told.
    Selected,
    /// Later ones, for those who missed the first.
    Promoting,
}

/// Why a message means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("unknown channel")]
    UnknownChannel,
    #[error("payload of {0} bytes")]
    TooLong(usize),
    #[error("payload is not text")]
    NotText,
    #[error("payload does not have the fields of its channel")]
    Fields,
}

/// Reads one published message.
///
/// # Errors
/// [`MessageError`] for anything that Sentinel would not send on this channel; nothing panics.
pub fn event(channel: &[u8], payload: &[u8]) -> Result<Event, MessageError> {
    let channel = std::str::from_utf8(channel).map_err(|_| MessageError::UnknownChannel)?;
    if payload.len() > MAX_PAYLOAD {
        return Err(MessageError::TooLong(payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| MessageError::NotText)?;
    parse(channel, text)
}

fn parse(channel: &str, text: &str) -> Result<Event, MessageError> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let master = || master_of(&fields);
    Ok(match channel {
        "+switch-master" => switched(&fields).ok_or(MessageError::Fields)?,
        "+promoted-slave" => {
            let (new, of) = replica(&fields)?;
            Event::Moved {
                name: of.name,
                old: of.address,
                new,
                promoted: true,
            }
        }
        "+try-failover" | "+elected-leader" | "+failover-state-select-slave" => {
            Event::Attempted(master()?)
        }
        "+selected-slave" => announced(Stage::Selected, &fields)?,
        "+failover-state-send-slaveof-noone"
        | "+failover-state-wait-promotion"
        | "+failover-state-reconf-slaves" => announced(Stage::Promoting, &fields)?,
        "-failover-abort-not-elected"
        | "-failover-abort-no-good-slave"
        | "-failover-abort-slave-timeout" => Event::Aborted(master()?),
        "+failover-end" | "+failover-end-for-timeout" => Event::Ended(master()?),
        "+vote-for-leader" | "+new-epoch" => election(channel, &fields)?,
        "+sdown" | "+odown" => Event::Down {
            instance: instance(&fields)?,
            agreed: channel == "+odown",
        },
        "-sdown" | "-odown" => Event::Up {
            instance: instance(&fields)?,
            agreed: channel == "-odown",
        },
        "+slave"
        | "+fix-slave-config"
        | "+slave-reconf-sent"
        | "+slave-reconf-inprog"
        | "+slave-reconf-done"
        | "-slave-reconf-sent-timeout" => Event::Replicas(replica(&fields)?.1),
        "+convert-to-slave" => {
            let (address, of) = replica(&fields)?;
            Event::Converted { address, of }
        }
        "+role-change" | "-role-change" => Event::RoleChanged {
            instance: instance(&fields)?,
            master: match fields.last() {
                Some(&"master") => true,
                Some(&"slave") => false,
                _ => return Err(MessageError::Fields),
            },
        },
        "+reboot" => Event::Rebooted(instance(&fields)?),
        "+reset-master" => Event::Reset(master()?),
        "+monitor" => Event::Monitored(master()?),
        "-monitor" => Event::Unmonitored(master()?),
        "+set" => Event::Reconfigured(master()?),
        "+config-update-from" => Event::Updating(sentinel(&fields)?.1),
        "+sentinel" | "+sentinel-address-switch" | "+sentinel-invalid-addr" => {
            Event::Sentinels(sentinel(&fields)?.1)
        }
        "+tilt" => Event::Tilt(true),
        "-tilt" => Event::Tilt(false),
        "+redirect-to-master" | "+script-error" | "-script-error" | "-script-timeout" => {
            Event::Irrelevant
        }
        _ => return Err(MessageError::UnknownChannel),
    })
}

fn switched(fields: &[&str]) -> Option<Event> {
    let [name, old_host, old_port, new_host, new_port] = fields else {
        return None;
    };
    Some(Event::Moved {
        name: (*name).to_string(),
        old: HostPort::from_fields(old_host, old_port)?,
        new: HostPort::from_fields(new_host, new_port)?,
        promoted: false,
    })
}

fn announced(stage: Stage, fields: &[&str]) -> Result<Event, MessageError> {
    let (candidate, master) = match instance(fields)? {
        Instance::Master(master) => (None, master),
        Instance::Replica { address, of } => (Some(address), of),
        Instance::Sentinel { .. } => return Err(MessageError::Fields),
    };
    Ok(Event::Announced {
        stage,
        master,
        candidate,
    })
}

/// `<runid> <epoch>` for a vote, `<epoch>` alone for a new epoch.
fn election(channel: &str, fields: &[&str]) -> Result<Event, MessageError> {
    let epoch = match (channel, fields) {
        ("+vote-for-leader", [_, epoch]) | ("+new-epoch", [epoch]) => epoch.parse().ok(),
        _ => None,
    };
    let epoch = epoch.ok_or(MessageError::Fields)?;
    Ok(Event::Election { epoch })
}

fn instance(fields: &[&str]) -> Result<Instance, MessageError> {
    match fields.first() {
        Some(&"master") => master_of(fields).map(Instance::Master),
        Some(&"slave") => {
            let (address, of) = replica(fields)?;
            Ok(Instance::Replica { address, of })
        }
        Some(&"sentinel") => {
            let (run_id, of) = sentinel(fields)?;
            Ok(Instance::Sentinel { run_id, of })
        }
        _ => Err(MessageError::Fields),
    }
}

fn master_of(fields: &[&str]) -> Result<Named, MessageError> {
    match fields {
        ["master", name, host, port, ..] => named(name, host, port),
        _ => Err(MessageError::Fields),
    }
}

fn replica(fields: &[&str]) -> Result<(HostPort, Named), MessageError> {
    let [
        "slave",
        _,
        host,
        port,
        "@",
        name,
        master_host,
        master_port,
        ..,
    ] = fields
    else {
        return Err(MessageError::Fields);
    };
    let address = HostPort::from_fields(host, port).ok_or(MessageError::Fields)?;
    Ok((address, named(name, master_host, master_port)?))
}

fn sentinel(fields: &[&str]) -> Result<(String, Named), MessageError> {
    let ["sentinel", run_id, _, _, "@", name, host, port, ..] = fields else {
        return Err(MessageError::Fields);
    };
    Ok(((*run_id).to_string(), named(name, host, port)?))
}

fn named(name: &str, host: &str, port: &str) -> Result<Named, MessageError> {
    let address = HostPort::from_fields(host, port).ok_or(MessageError::Fields)?;
    let name = name.to_string();
    Ok(Named { name, address })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
