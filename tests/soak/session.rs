//! One client thread: connections that come, talk and leave in different ways.

use std::fmt;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::model::{KEYS, Model, Op, Request, Verdict};
use crate::support::{Client, NoReply, Value, encode};
use crate::traffic::{Traffic, wire};
use crate::world::World;

/// Longer than any failure lasts: a reply that takes longer is lost.
const LOST: Duration = Duration::from_secs(20);

/// Batches above this are sent by a second thread while replies are read, so that neither side waits
/// for the other to read first.
const FITS_IN_SOCKET: usize = 32 * 1024;

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub replies: u64,
    pub messages: u64,
    errors: u64,
    sessions: u64,
    resp3: u64,
    half_closed: u64,
    abandoned: u64,
    mute: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.replies += other.replies;
        self.messages += other.messages;
        self.errors += other.errors;
        self.sessions += other.sessions;
        self.resp3 += other.resp3;
        self.half_closed += other.half_closed;
        self.abandoned += other.abandoned;
        self.mute += other.mute;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            replies,
            messages,
            errors,
            sessions,
            resp3,
            half_closed,
            abandoned,
            mute,
        } = self;
        write!(
            f,
            "{replies} replies checked, {errors} of them errors of failed servers; {messages} messages; \
             {sessions} connections: \
             {resp3} with RESP3, {half_closed} half-closed, {abandoned} broken off, {mute} not reading"
        )
    }
}

#[derive(Debug)]
pub struct Worker<'w> {
    pub(crate) id: u64,
    address: SocketAddr,
    pub(crate) world: &'w World,
    pub(crate) model: Model<'w>,
    pub(crate) traffic: Traffic,
    pub(crate) counts: Counts,
}

impl<'w> Worker<'w> {
    pub fn new(id: u64, seed: u64, (host, port): (&str, u16), world: &'w World) -> Worker<'w> {
        let host = host.parse().expect("an IP address");
        Worker {
            id,
            address: SocketAddr::new(host, port),
            world,
            model: Model::new(id, 0, world),
            traffic: Traffic::new(seed.wrapping_add(id)),
            counts: Counts::default(),
        }
    }

    pub fn into_counts(self) -> Counts {
        self.counts
    }

    /// Connections until `stop`, then a last look at every key.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), String> {
        while !stop.load(Ordering::Relaxed) {
            let mut client = self.connect()?;
            match self.traffic.random.u32(..100) {
                0..70 => {
                    let batches = self.traffic.random.usize(1..30);
                    for _ in 0..batches {
                        self.batch(&mut client)?;
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
                70..84 => self.half_close(client)?,
                84..93 => self.break_off(client)?,
                93..97 => self.listen(client)?,
                _ => self.do_not_read(client)?,
            }
        }
        self.world.wait_healthy();
        let mut client = self.connect()?;
        let everything = self.model.request(Op::Mget((0..KEYS).collect()));
        client.send(wire(&everything.op, &self.model));
        if self.reply(&mut client, &everything)? == Verdict::Failed {
            return Err("an error with all servers up".into());
        }
        self.scan(&mut client)
    }

    pub(crate) fn connect(&mut self) -> Result<Client, String> {
        let stream = TcpStream::connect_timeout(&self.address, LOST)
            .map_err(|e| format!("connecting: {e}"))?;
        let mut client = Client::over(stream);
        client.set_timeout(LOST);
        self.counts.sessions += 1;
        if self.traffic.random.u32(..4) == 0 {
            self.counts.resp3 += 1;
            client.send(encode(&["HELLO", "3"]));
            match client.try_read() {
                Ok(Value::Map(_)) => {}
                other => return Err(format!("HELLO 3: {other:?}")),
            }
        }
        Ok(client)
    }

    fn requests(&mut self, count: usize, blocking: bool) -> (Vec<Request>, Vec<u8>) {
        let ops = self.traffic.ops(count, &self.model, blocking);
        let bytes = ops.iter().flat_map(|op| wire(op, &self.model)).collect();
        (
            ops.into_iter().map(|op| self.model.request(op)).collect(),
            bytes,
        )
    }

    /// Sends some requests and checks all their replies.
    fn batch(&mut self, client: &mut Client) -> Result<(), String> {
        let depth = self.traffic.depth();
        let (requests, bytes) = self.requests(depth, true);
        let step = if bytes.len() < 4096 && self.traffic.random.u32(..5) == 0 {
            self.traffic.random.usize(1..40)
        } else {
            usize::MAX
        };
        let large = bytes.len() > FITS_IN_SOCKET;
        let mut stream = second_handle(client)?;
        let mut send = move || {
            bytes
                .chunks(step)
                .try_for_each(|piece| stream.write_all(piece))
        };
        if large {
            self.while_sending(client, &requests, send)?;
        } else {
            send_failed(send())?;
            self.replies(client, &requests)?;
        }
        if client.has_unread() {
            Err("more replies than requests".into())
        } else {
            Ok(())
        }
    }

    fn replies(&mut self, client: &mut Client, requests: &[Request]) -> Result<(), String> {
        for (index, request) in requests.iter().enumerate() {
            self.reply(client, request)
                .map_err(|why| format!("request {} of {}: {why}", index + 1, requests.len()))?;
        }
        Ok(())
    }

    /// Reads all replies while `send` sends the requests on a thread of its own.
    fn while_sending(
        &mut self,
        client: &mut Client,
        requests: &[Request],
        send: impl FnOnce() -> io::Result<()> + Send,
    ) -> Result<(), String> {
        std::thread::scope(|scope| {
            let sender = scope.spawn(send);
            let replies = self.replies(client, requests);
            if replies.is_err() {
                // Unblocks the sender when the proxy takes no more.
                drop(client.stream().shutdown(Shutdown::Both));
            }
            let sent = sender.join().expect("sending does not panic");
            replies.and(send_failed(sent))
        })
    }

    fn reply(&mut self, client: &mut Client, request: &Request) -> Result<Verdict, String> {
        let reply = client
            .try_read()
            .map_err(|error| format!("{error} to {:?}", request.op))?;
        let verdict = self.model.settle(request, &reply)?;
        self.counts.replies += 1;
        self.counts.errors += u64::from(verdict == Verdict::Failed);
        Ok(verdict)
    }

    /// A client that closes its sending side still gets its replies, and then the end of the stream.
    fn half_close(&mut self, mut client: Client) -> Result<(), String> {
        self.counts.half_closed += 1;
        let count = self.traffic.random.usize(1..40);
        // Who closes while it waits for an element has left, for Redis too.
        let (requests, bytes) = self.requests(count, false);
        let mut stream = second_handle(&client)?;
        self.while_sending(&mut client, &requests, move || {
            stream.write_all(&bytes)?;
            stream.shutdown(Shutdown::Write)
        })?;
        match client.try_read() {
            Err(NoReply::Closed) if !client.has_unread() => Ok(()),
            other => Err(format!(
                "after the last reply to a half-closed connection: {other:?}"
            )),
        }
    }

    /// Leaves in the middle of a request, with some replies unread.
    fn break_off(&mut self, mut client: Client) -> Result<(), String> {
        self.counts.abandoned += 1;
        let count = self.traffic.random.usize(1..60);
        let (requests, bytes) = self.requests(count, true);
        let cut = self.traffic.random.usize(..bytes.len());
        let mut length = 0;
        let whole = requests
            .iter()
            .take_while(|request| {
                length += wire(&request.op, &self.model).len();
                length <= cut
            })
            .count();
        let read = self.traffic.random.usize(..=whole);
        let mut stream = second_handle(&client)?;
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || stream.write_all(&bytes[..cut]));
            let replies = self.replies(&mut client, &requests[..read]);
            // Unblocks the sender when the proxy waits for us to read.
            drop(client.stream().shutdown(Shutdown::Both));
            let _ = sender.join().expect("sending does not panic");
            replies
        })?;
        self.model = Model::new(self.id, self.model.generation() + 1, self.world);
        Ok(())
    }

    /// Asks for much and takes nothing for a while; what it then takes must be right as far as it goes.
    /// The proxy may close such a connection.
    fn do_not_read(&mut self, mut client: Client) -> Result<(), String> {
        self.counts.mute += 1;
        let count = self.traffic.random.usize(20..200);
        let ops = (0..count).map(|_| self.traffic.heavy_read());
        let requests: Vec<Request> = ops.map(|op| self.model.request(op)).collect();
        let bytes: Vec<u8> = requests
            .iter()
            .flat_map(|request| wire(&request.op, &self.model))
            .collect();
        let pause = Duration::from_millis(self.traffic.random.u64(100..800));
        let mut stream = second_handle(&client)?;
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || stream.write_all(&bytes));
            std::thread::sleep(pause);
            let mut outcome = Ok(());
            for request in &requests {
                outcome = match client.try_read() {
                    Ok(reply) => self.model.settle(request, &reply).map(|_| ()),
                    Err(NoReply::Closed | NoReply::Io(_)) => break,
                    Err(error) => Err(format!("{error} to a client that read late")),
                };
                if outcome.is_err() {
                    break;
                }
                self.counts.replies += 1;
            }
            drop(client.stream().shutdown(Shutdown::Both));
            let _ = sender.join().expect("sending does not panic");
            outcome
        })
    }
}

fn second_handle(client: &Client) -> Result<TcpStream, String> {
    client
        .stream()
        .try_clone()
        .map_err(|error| format!("a second handle: {error}"))
}

fn send_failed(sent: io::Result<()>) -> Result<(), String> {
    sent.map_err(|error| format!("sending: {error}"))
}
