//! The sockets: links to sentinels, and a node's `ROLE`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::message::CHANNELS;
use super::super::{HostPort, LinkDown, Question, RoleAnswer, answer};
use crate::config::{PoolConfig, SentinelAuth};
use crate::protocol::redis::handshake::repeatable;
use crate::protocol::redis::write;

/// Largest reply or message that is read: a sentinel with hundreds of masters stays far below.
const MAX_FRAME: usize = 4 * 1024 * 1024;

/// How a link is opened and how long its sentinel may take.
#[derive(Clone)]
pub(super) struct LinkPlan {
    pub address: HostPort,
    pub auth: Option<SentinelAuth>,
    pub connect: Duration,
    pub command: Duration,
}

/// What the driver asks of a link.
#[derive(Debug)]
pub(super) enum Command {
    Subscribe,
    Ping,
    Ask(Vec<Question>),
}

/// What a link reports.
#[derive(Debug)]
pub(super) enum Report {
    Up,
    Down(LinkDown),
    Subscribed,
    Alive,
    Message(Vec<u8>, Vec<u8>),
    Answer(Question, OwnedFrame),
}

/// A connection that speaks RESP2 frame by frame.
pub(super) struct Conversation {
    stream: TcpStream,
    input: BytesMut,
}

impl Conversation {
    async fn open(address: &HostPort) -> io::Result<Conversation> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        Ok(Conversation {
            stream,
            input: BytesMut::new(),
        })
    }

    async fn send(&mut self, commands: &[Vec<&str>]) -> io::Result<()> {
        let mut out = Vec::new();
        for arguments in commands {
            write::array_header(&mut out, arguments.len());
            for argument in arguments {
                write::bulk(&mut out, argument.as_bytes());
            }
        }
        self.stream.write_all(&out).await
    }

    /// The next whole frame. Cancelling it loses nothing.
    async fn receive(&mut self) -> io::Result<OwnedFrame> {
        loop {
            match decode(&self.input) {
                Ok(Some((frame, taken))) => {
                    self.input.advance(taken);
                    return Ok(frame);
                }
                Ok(None) if self.input.len() > MAX_FRAME => {
                    return Err(io::Error::other("a reply without end"));
                }
                Ok(None) => {}
                Err(error) => return Err(io::Error::other(format!("not RESP: {error}"))),
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn failed(error: io::Error) -> LinkDown {
    LinkDown::Failed(match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed by the sentinel".to_string(),
        _ => error.to_string(),
    })
}

/// Opens a link and serves it until it is lost; the last report is `Down`.
pub(super) async fn run(
    plan: LinkPlan,
    mut commands: mpsc::UnboundedReceiver<Command>,
    report: impl Fn(Report),
) {
    let ended = async {
        let mut conversation = open(&plan).await?;
        report(Report::Up);
        serve(&mut conversation, &mut commands, &plan, &report).await
    };
    if let Err(down) = ended.await {
        report(Report::Down(down));
    }
}

/// Connects, and logs in if that is asked for.
pub(super) async fn open(plan: &LinkPlan) -> Result<Conversation, LinkDown> {
    let late = |_| LinkDown::Failed("connecting took too long".to_string());
    let connecting = timeout(plan.connect, Conversation::open(&plan.address));
    let mut conversation = connecting.await.map_err(late)?.map_err(failed)?;
    if let Some(auth) = &plan.auth {
        let mut login = vec!["AUTH"];
        login.extend(auth.username.as_deref());
        login.push(&auth.password.0);
        conversation.send(&[login]).await.map_err(failed)?;
        let late = |_| LinkDown::Failed("no answer to AUTH in time".to_string());
        let answered = timeout(plan.command, conversation.receive()).await;
        match answered.map_err(late)?.map_err(failed)? {
            OwnedFrame::SimpleString(_) => {}
            OwnedFrame::Error(text) => {
                let text = repeatable(&text, Some(&auth.password.0));
                return Err(LinkDown::Denied(text));
            }
            _ => return Err(LinkDown::Failed("an odd answer to AUTH".to_string())),
        }
    }
    Ok(conversation)
}

/// Never `Ok`: a link ends only by being lost, or with its task.
async fn serve(
    conversation: &mut Conversation,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    plan: &LinkPlan,
    report: &impl Fn(Report),
) -> Result<(), LinkDown> {
    let mut confirmed = 0;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => std::future::pending().await,
                Some(Command::Subscribe) => {
                    let mut subscribe = vec!["SUBSCRIBE"];
                    subscribe.extend(CHANNELS);
                    conversation.send(&[subscribe]).await.map_err(failed)?;
                }
                Some(Command::Ping) => {
                    conversation.send(&[vec!["PING"]]).await.map_err(failed)?;
                }
                Some(Command::Ask(questions)) => {
                    let answered = |question, frame| report(Report::Answer(question, frame));
                    ask(conversation, questions, plan, answered).await?;
                }
            },
            frame = conversation.receive() => {
                take_push(frame.map_err(failed)?, &mut confirmed, report)?;
            }
        }
    }
}

/// One pipeline; each answer is given on as it comes.
pub(super) async fn ask(
    conversation: &mut Conversation,
    questions: Vec<Question>,
    plan: &LinkPlan,
    mut answered: impl FnMut(Question, OwnedFrame),
) -> Result<(), LinkDown> {
    let commands: Vec<Vec<&str>> = questions.iter().map(Question::arguments).collect();
    conversation.send(&commands).await.map_err(failed)?;
    for question in questions {
        let late = |_| LinkDown::Failed("no answer in time".to_string());
        let received = timeout(plan.command, conversation.receive()).await;
        let frame = received.map_err(late)?.map_err(failed)?;
        answered(question, frame);
    }
    Ok(())
}

/// A frame on a subscribed link.
fn take_push(
    frame: OwnedFrame,
    confirmed: &mut usize,
    report: &impl Fn(Report),
) -> Result<(), LinkDown> {
    let fields = match frame {
        OwnedFrame::Array(fields) => fields,
        OwnedFrame::Error(text) => return Err(LinkDown::Denied(repeatable(&text, None))),
        _ => {
            report(Report::Alive);
            return Ok(());
        }
    };
    let bytes = |index: usize| fields.get(index).and_then(OwnedFrame::as_bytes);
    match (bytes(0), bytes(1), bytes(2)) {
        (Some(b"message"), Some(channel), Some(payload)) => {
            report(Report::Message(channel.to_vec(), payload.to_vec()));
        }
        (Some(b"subscribe"), ..) => {
            *confirmed += 1;
            if *confirmed == CHANNELS.len() {
                report(Report::Subscribed);
            }
        }
        _ => report(Report::Alive),
    }
    Ok(())
}

/// Asks a node what it is, with the pool's password.
pub(super) async fn role(address: HostPort, config: &PoolConfig, patience: Duration) -> RoleAnswer {
    let conversation = async {
        let mut node = Conversation::open(&address).await?;
        let mut commands = Vec::new();
        if let Some(password) = &config.redis_auth {
            commands.push(vec!["AUTH", &password.0]);
        }
        commands.push(vec!["ROLE"]);
        node.send(&commands).await?;
        for _ in 1..commands.len() {
            match node.receive().await? {
                // A node without a password says so and serves all the same.
                OwnedFrame::Error(text) if text.starts_with("WRONGPASS") => {
                    return Ok(RoleAnswer::Denied(text));
                }
                _ => {}
            }
        }
        node.receive().await.map(|frame| answer::role(&frame))
    };
    match timeout(patience, conversation).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => RoleAnswer::Unreachable(error.to_string()),
        Err(_) => RoleAnswer::Unreachable("no answer in time".to_string()),
    }
}

/// The address behind a host name or literal.
pub(super) async fn resolve(address: &HostPort) -> io::Result<SocketAddr> {
    let mut found = lookup_host((address.host.as_str(), address.port)).await?;
    found
        .next()
        .ok_or_else(|| io::Error::other("the name has no address"))
}
