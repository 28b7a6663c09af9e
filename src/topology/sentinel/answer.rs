//! What the proxy asks sentinels and nodes, and their replies as typed values.
//!
//! Replies come as `redis_protocol`'s owned RESP2 frames; connections to sentinels never send `HELLO 3`.
//! Addresses are as announced: the watcher applies the NAT map.

use redis_protocol::resp2::types::OwnedFrame;

use super::address::HostPort;
use crate::protocol::redis::handshake::repeatable;

/// One command for a sentinel. Everything in one [`super`] is sent as one pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    MyId,
    Masters,
    /// For epoch and flags only: during a failover the leader answers the *new* epoch with the *old*
    /// address.
    Master(String),
    /// The address. Asked right after [`Question::Master`]: should the master move in between, the pair
    /// is the new address with the old epoch, which never wins. The other order could make the old
    /// address win.
    Address(String),
    Sentinels(String),
    Replicas(String),
}

impl Question {
    /// The command, to be sent as an array of bulk strings.
    pub fn arguments(&self) -> Vec<&str> {
        match self {
            Question::MyId => vec!["SENTINEL", "MYID"],
            Question::Masters => vec!["SENTINEL", "MASTERS"],
            Question::Master(name) => vec!["SENTINEL", "MASTER", name],
            Question::Address(name) => vec!["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name],
            Question::Sentinels(name) => vec!["SENTINEL", "SENTINELS", name],
            Question::Replicas(name) => vec!["SENTINEL", "REPLICAS", name],
        }
    }
}

/// Why an answer tells nothing. Never to be taken for "no such master".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// No, wrong or insufficient credentials, or protected mode.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Refused(String),
    #[error("not what was asked for: {0}")]
    Malformed(&'static str),
}

/// `SENTINEL MASTER`, or one entry of `SENTINEL MASTERS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterEntry {
    pub name: String,
    /// `None` if it cannot be one. Only good for finding a master by its address, see
    /// [`Question::Master`].
    pub address: Option<HostPort>,
    pub epoch: u64,
    pub flags: Flags,
}

/// What a sentinel thinks of a master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub subjectively_down: bool,
    pub objectively_down: bool,
    pub failover_in_progress: bool,
}

/// One entry of `SENTINEL SENTINELS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelEntry {
    pub run_id: String,
    pub address: HostPort,
    /// The sentinel that lists it cannot reach it.
    pub down: bool,
}

/// What a node says of itself, or why it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleAnswer {
    Master,
    Replica,
    /// `-LOADING`, `-MASTERDOWN`, `-BUSY`: later.
    NotReady(String),
    /// It does not accept our credentials.
    Denied(String),
    /// No connection, no answer in time, connection lost.
    Unreachable(String),
    /// Any other answer: not a node we know how to use.
    Strange(String),
}

/// The answer to [`Question::Address`]; `None`: not monitored here.
///
/// # Errors
/// If it is an error reply or not an address.
pub fn address(frame: &OwnedFrame) -> Result<Option<HostPort>, AnswerError> {
    match frame {
        OwnedFrame::Null => Ok(None),
        OwnedFrame::Array(fields) => {
            let [host, port] = fields.as_slice() else {
                return Err(AnswerError::Malformed("an address has two fields"));
            };
            let address = HostPort::from_fields(text(host)?, text(port)?);
            let unusable = AnswerError::Malformed("nobody can connect to this address");
            address.ok_or(unusable).map(Some)
        }
        other => Err(unexpected(other)),
    }
}

/// The answer to [`Question::Master`]; `None`: not monitored here.
///
/// # Errors
/// If it is another error reply or lacks a field.
pub fn master(frame: &OwnedFrame) -> Result<Option<MasterEntry>, AnswerError> {
    match frame {
        OwnedFrame::Error(message) if message.contains("No such master") => Ok(None),
        OwnedFrame::Array(fields) => master_entry(fields).map(Some),
        other => Err(unexpected(other)),
    }
}

/// The answer to [`Question::Masters`].
///
/// # Errors
/// If it is an error reply or an entry lacks a field.
pub fn masters(frame: &OwnedFrame) -> Result<Vec<MasterEntry>, AnswerError> {
    entries(frame)?.map(|entry| master_entry(entry?)).collect()
}

/// The answer to [`Question::Replicas`]: every known address, of replicas that are down too.
///
/// # Errors
/// If it is an error reply or an entry lacks a field.
pub fn replicas(frame: &OwnedFrame) -> Result<Vec<HostPort>, AnswerError> {
    let addresses = entries(frame)?.map(|entry| Ok(entry_address(entry?)));
    addresses.filter_map(Result::transpose).collect()
}

/// The answer to [`Question::Sentinels`]; those without a usable address are left out.
///
/// # Errors
/// If it is an error reply or an entry lacks a field.
pub fn sentinels(frame: &OwnedFrame) -> Result<Vec<SentinelEntry>, AnswerError> {
    let mut found = Vec::new();
    for entry in entries(frame)? {
        let entry = entry?;
        let run_id = field(entry, "runid").filter(|id| !id.is_empty());
        let run_id = run_id.ok_or(AnswerError::Malformed("a sentinel without runid"))?;
        let flags = field(entry, "flags").unwrap_or_default();
        if let Some(address) = entry_address(entry) {
            found.push(SentinelEntry {
                run_id: run_id.to_string(),
                address,
                down: flags
                    .split(',')
                    .any(|flag| ["s_down", "disconnected"].contains(&flag)),
            });
        }
    }
    Ok(found)
}

/// The answer to [`Question::MyId`].
///
/// # Errors
/// If it is an error reply (Sentinel before 6.2 does not know the question) or no id.
pub fn my_id(frame: &OwnedFrame) -> Result<String, AnswerError> {
    text(frame).map(str::to_string)
}

/// The answer to `ROLE`, or to `INFO replication` where `ROLE` is not available.
pub fn role(frame: &OwnedFrame) -> RoleAnswer {
    let said = match frame {
        OwnedFrame::Array(fields) => fields.first().and_then(|role| text(role).ok()),
        OwnedFrame::BulkString(_) => text(frame).ok().and_then(role_of_info),
        OwnedFrame::Error(message) => return role_error(message),
        _ => None,
    };
    match said {
        Some("master") => RoleAnswer::Master,
        Some("slave") => RoleAnswer::Replica,
        Some(other) => RoleAnswer::Strange(format!("its role is {other:?}")),
        None => RoleAnswer::Strange("its answer to ROLE is none".to_string()),
    }
}

fn role_of_info(info: &str) -> Option<&str> {
    info.lines()
        .find_map(|line| line.trim_end().strip_prefix("role:"))
}

fn role_error(message: &str) -> RoleAnswer {
    let said = repeatable(message, None);
    match code(message) {
        "LOADING" | "MASTERDOWN" | "BUSY" => RoleAnswer::NotReady(said),
        _ if is_denial(message) => RoleAnswer::Denied(said),
        _ => RoleAnswer::Strange(said),
    }
}

fn code(message: &str) -> &str {
    message.split(' ').next().unwrap_or_default()
}

/// Whether an error reply is about credentials or permissions.
pub fn is_denial(message: &str) -> bool {
    matches!(code(message), "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED")
        || message.starts_with("ERR invalid password")
        || message.starts_with("ERR operation not permitted")
}

fn unexpected(frame: &OwnedFrame) -> AnswerError {
    match frame {
        OwnedFrame::Error(message) if is_denial(message) => {
            AnswerError::Denied(repeatable(message, None))
        }
        OwnedFrame::Error(message) => AnswerError::Refused(repeatable(message, None)),
        _ => AnswerError::Malformed("a reply of another type"),
    }
}

fn text(frame: &OwnedFrame) -> Result<&str, AnswerError> {
    match frame {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => {
            std::str::from_utf8(bytes).map_err(|_| AnswerError::Malformed("not text"))
        }
        other => Err(unexpected(other)),
    }
}

/// The entries of a list, each a flat array of names and values.
fn entries(
    frame: &OwnedFrame,
) -> Result<impl Iterator<Item = Result<&[OwnedFrame], AnswerError>>, AnswerError> {
    let OwnedFrame::Array(entries) = frame else {
        return Err(unexpected(frame));
    };
    Ok(entries.iter().map(|entry| match entry {
        OwnedFrame::Array(fields) => Ok(fields.as_slice()),
        other => Err(unexpected(other)),
    }))
}

fn field<'a>(fields: &'a [OwnedFrame], name: &str) -> Option<&'a str> {
    let mut pairs = fields.chunks_exact(2);
    let pair = pairs.find(|pair| text(&pair[0]) == Ok(name))?;
    text(&pair[1]).ok()
}

fn entry_address(fields: &[OwnedFrame]) -> Option<HostPort> {
    HostPort::from_fields(field(fields, "ip")?, field(fields, "port")?)
}

fn master_entry(fields: &[OwnedFrame]) -> Result<MasterEntry, AnswerError> {
    let name = field(fields, "name").ok_or(AnswerError::Malformed("a master without name"))?;
    let epoch = field(fields, "config-epoch").and_then(|epoch| epoch.parse().ok());
    let flags = field(fields, "flags").unwrap_or_default();
    let has = |wanted| flags.split(',').any(|flag| flag == wanted);
    Ok(MasterEntry {
        name: name.to_string(),
        address: entry_address(fields),
        epoch: epoch.ok_or(AnswerError::Malformed("a master without config-epoch"))?,
        flags: Flags {
            subjectively_down: has("s_down"),
            objectively_down: has("o_down"),
            failover_in_progress: has("failover_in_progress"),
        },
    })
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
