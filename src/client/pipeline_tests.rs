//! A pipeline against the simplest thing that could be right: one reply per request, in order.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::protocol::redis::command::Join;
use crate::stats::WorkerStats;
use crate::stats::histogram::Snapshot;

/// Numbers choose among the open calls at the time.
#[derive(Clone, Debug)]
enum Step {
    Open,
    OpenGather(u16),
    Answer(usize),
    /// The rest of a call's reply, of this length if it has not begun.
    Reply {
        which: usize,
        len: usize,
        pieces: usize,
    },
    /// So many bytes of a call's reply; it gets no end yet.
    Piece {
        which: usize,
        len: usize,
    },
    Fail(usize),
    Write(usize),
    /// From here on, and for no request so far.
    Mute(Mute),
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 1usize..40,
        2 => 3_000usize..5_000,
        1 => 8_000usize..20_000,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Open),
        2 => (1u16..4).prop_map(Step::OpenGather),
        2 => len().prop_map(Step::Answer),
        8 => (any::<usize>(), len(), 1usize..4)
            .prop_map(|(which, len, pieces)| Step::Reply { which, len, pieces }),
        3 => (any::<usize>(), len()).prop_map(|(which, len)| Step::Piece { which, len }),
        1 => any::<usize>().prop_map(Step::Fail),
        3 => (1usize..30_000).prop_map(Step::Write),
        1 => prop::sample::select(&[Mute::None, Mute::All, Mute::This][..]).prop_map(Step::Mute),
    ]
}

/// What the client must get for one request.
#[derive(Debug)]
enum Expected {
    Whole {
        bytes: Vec<u8>,
        done: bool,
    },
    /// The joined integers of the parts that have replied, and the first error.
    Sum {
        open: usize,
        sum: i64,
        error: Option<Vec<u8>>,
    },
}

/// A call without the end of its reply.
#[derive(Debug)]
struct Open {
    number: u32,
    part: u16,
    begun: bool,
    /// The request's position among all requests.
    index: usize,
}

struct Model {
    pipeline: Pipeline,
    buffers: BufferPool,
    stats: Arc<WorkerStats>,
    timing: Timing,
    requests: Vec<Expected>,
    /// Of each, does the client do without the reply?
    mute: Vec<bool>,
    /// Positions of those that no server was asked for.
    own: Vec<usize>,
    open: Vec<Open>,
    received: Vec<u8>,
    fill: u8,
}

const ERROR: &[u8] = b"-ERR gone\r\n";

impl Model {
    fn new() -> Model {
        let stats = Arc::new(WorkerStats::new(&[0]));
        Model {
            pipeline: Pipeline::default(),
            buffers: BufferPool::default(),
            timing: Timing::new(stats.clone(), vec![u32::MAX]),
            stats,
            requests: Vec::new(),
            mute: Vec::new(),
            own: Vec::new(),
            open: Vec::new(),
            received: Vec::new(),
            fill: 0,
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.fill = self.fill.wrapping_add(1);
        vec![self.fill; len]
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open => {
                let number = self.pipeline.open(1);
                self.expect(number, 0);
                self.request(Expected::Whole {
                    bytes: Vec::new(),
                    done: false,
                });
            }
            Step::OpenGather(parts) => {
                let gather = Gather::new(Join::Sum, Vec::new(), parts.into());
                let number = self.pipeline.open_gather(gather, 1);
                (0..parts).for_each(|part| self.expect(number, part));
                self.request(Expected::Sum {
                    open: parts.into(),
                    sum: 0,
                    error: None,
                });
            }
            Step::Answer(len) => {
                let bytes = self.bytes(len);
                self.pipeline
                    .answer(&mut self.buffers, |out| out.extend_from_slice(&bytes));
                if self.is_mute() {
                    return self.pipeline.end_request();
                }
                self.own.push(self.requests.len());
                self.request(Expected::Whole { bytes, done: true });
            }
            Step::Reply { which, len, pieces } => {
                if let Some(at) = self.choose(which) {
                    self.reply(at, len, pieces);
                }
            }
            Step::Piece { which, len } => {
                if let Some(at) = self.choose(which) {
                    self.piece(at, len);
                }
            }
            Step::Fail(which) => {
                if let Some(at) = self.choose(which) {
                    self.fail(at);
                }
            }
            Step::Write(most) => self.write(most),
            Step::Mute(mute) => self.pipeline.mute = mute,
        }
    }

    fn is_mute(&self) -> bool {
        self.pipeline.mute != Mute::None
    }

    fn request(&mut self, expected: Expected) {
        self.requests.push(expected);
        self.mute.push(self.is_mute());
        self.pipeline.end_request();
    }

    fn expect(&mut self, number: u32, part: u16) {
        self.open.push(Open {
            number,
            part,
            begun: false,
            index: self.requests.len(),
        });
    }

    fn choose(&self, which: usize) -> Option<usize> {
        (!self.open.is_empty()).then(|| which % self.open.len())
    }

    fn piece(&mut self, at: usize, len: usize) {
        let index = self.open[at].index;
        if let Expected::Sum { .. } = self.requests[index] {
            return;
        }
        let piece = self.bytes(len);
        let open = &mut self.open[at];
        open.begun = true;
        self.pipeline.handle_reply(
            open.number,
            open.part,
            &piece,
            false,
            &mut self.timing,
            &mut self.buffers,
        );
        if let Expected::Whole { bytes, .. } = &mut self.requests[index] {
            bytes.extend(piece);
        }
    }

    fn reply_to(&mut self, index: usize, len: usize) {
        let at = self.open.iter().position(|open| open.index == index);
        self.reply(at.expect("the call is open"), len, 1);
    }

    fn reply(&mut self, at: usize, len: usize, pieces: usize) {
        let open = self.open.swap_remove(at);
        let reply = match self.requests[open.index] {
            Expected::Whole { .. } => self.bytes(len),
            Expected::Sum { .. } => format!(":{len}\r\n").into_bytes(),
        };
        let mut chunks = reply.chunks(reply.len().div_ceil(pieces)).peekable();
        while let Some(piece) = chunks.next() {
            let end = chunks.peek().is_none();
            self.pipeline.handle_reply(
                open.number,
                open.part,
                piece,
                end,
                &mut self.timing,
                &mut self.buffers,
            );
        }
        match &mut self.requests[open.index] {
            Expected::Whole { bytes, done } => {
                bytes.extend(reply);
                *done = true;
            }
            Expected::Sum { open, sum, .. } => {
                *open -= 1;
                *sum += len as i64;
            }
        }
    }

    fn fail(&mut self, at: usize) {
        let is_head = self.requests[..self.open[at].index].iter().all(is_done);
        let open = &self.open[at];
        let result = self.pipeline.handle_failure(
            open.number,
            open.part,
            ERROR,
            &mut self.timing,
            &mut self.buffers,
        );
        let sent = match &self.requests[open.index] {
            Expected::Whole { bytes, .. } => bytes.len() >= SHARE_FROM,
            Expected::Sum { .. } => false,
        };
        if is_head && sent && !self.mute[open.index] {
            // The client would be closed; here the reply goes on instead.
            assert_eq!(result, Err(Broken));
            return;
        }
        assert_eq!(result, Ok(()));
        let open = self.open.swap_remove(at);
        match &mut self.requests[open.index] {
            Expected::Whole { bytes, done } => (*bytes, *done) = (ERROR.to_vec(), true),
            Expected::Sum { open, error, .. } => {
                *open -= 1;
                *error = Some(ERROR.to_vec());
            }
        }
    }

    fn write(&mut self, most: usize) {
        let received = &mut self.received;
        if !self.pipeline.out.is_empty() {
            let written = self.pipeline.out.write_to(|slices| {
                let before = received.len();
                for slice in slices {
                    let room = most - (received.len() - before);
                    received.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                Ok(received.len() - before)
            });
            let written = written.expect("this socket takes all");
            self.pipeline.out.release(written, &mut self.buffers);
        }
    }

    /// All the client can have got: whole replies, and what has come of the first unfinished one.
    fn expected(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (request, mute) in self.requests.iter().zip(&self.mute) {
            match request {
                _ if *mute => {}
                // Held back until it is large: its server may still fail.
                Expected::Whole { bytes, done: false } if bytes.len() < SHARE_FROM => {}
                Expected::Whole { bytes, .. } => all.extend_from_slice(bytes),
                Expected::Sum {
                    open: 0,
                    sum,
                    error,
                } => match error {
                    Some(error) => all.extend_from_slice(error),
                    None => all.extend(format!(":{sum}\r\n").bytes()),
                },
                Expected::Sum { .. } => {}
            }
            if !is_done(request) {
                break;
            }
        }
        all
    }

    fn check(&mut self) {
        let done = self.requests.iter().take_while(|r| is_done(r)).count();
        self.timing.flush();
        let measured = Snapshot::of([&self.stats.pools[0].latency]).count();
        let own = self.own.iter().filter(|index| **index < done).count();
        assert_eq!(
            measured,
            (done - own) as u64,
            "each is measured once, in its turn"
        );
        assert_eq!(self.pipeline.pending(), self.requests.len() - done);
        assert_eq!(
            self.received.len() + self.pipeline.out.len(),
            self.expected().len(),
            "every reply is on its way as soon as it is its turn"
        );
        assert!(
            self.pipeline.stash.len() <= 2 * self.pipeline.stashed + STASH_WASTE + STASH_SMALL,
            "the stash is tidied up"
        );
        assert!(self.pipeline.buffered() >= self.pipeline.out.len() + self.pipeline.stashed);
    }

    fn end(&mut self) {
        while !self.open.is_empty() {
            self.reply(0, 5, 1);
        }
        while !self.pipeline.out.is_empty() {
            self.write(usize::MAX);
        }
        assert!(self.received == self.expected(), "the replies differ");
        assert_eq!(self.pipeline.pending(), 0);
        assert_eq!(self.pipeline.buffered(), 0);
    }
}

fn is_done(request: &Expected) -> bool {
    matches!(
        request,
        Expected::Whole { done: true, .. } | Expected::Sum { open: 0, .. }
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replies_leave_whole_and_in_the_order_of_their_requests(
        head in any::<u32>(),
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut model = Model::new();
        model.pipeline.head = head;
        for step in steps {
            model.take(step);
            model.check();
        }
        model.end();
    }
}

#[test]
fn the_reply_to_the_next_request_is_left_out_and_no_other() {
    let mut pipeline = Pipeline::default();
    let mut buffers = BufferPool::default();
    let mut told = Vec::new();
    for (request, mute) in [Mute::None, Mute::Next, Mute::Next, Mute::None, Mute::None]
        .into_iter()
        .enumerate()
    {
        // As CLIENT REPLY SKIP does, which has no reply itself.
        match mute {
            Mute::Next => pipeline.mute = mute,
            _ => pipeline.answer(&mut buffers, |out| out.push(request as u8)),
        }
        told.push(pipeline.mute);
        pipeline.end_request();
    }
    assert_eq!(
        told,
        [Mute::None, Mute::Next, Mute::Next, Mute::This, Mute::None]
    );
    assert_eq!(pipeline.out.len(), 2);
    assert_eq!(pipeline.mute, Mute::None);
}

#[test]
fn what_the_stash_cannot_hold_is_kept_all_the_same() {
    let mut model = Model::new();
    model.take(Step::Open);
    let count = STASH_MOST / STASH_SMALL + 10;
    for _ in 0..count {
        model.take(Step::Answer(STASH_SMALL));
    }
    assert!(model.pipeline.stash.len() <= STASH_MOST + STASH_SMALL);
    assert_eq!(model.pipeline.buffered(), count * STASH_SMALL);
    model.end();
}

#[test]
fn the_stash_is_tidied_behind_a_second_slow_reply() {
    let mut model = Model::new();
    let (slow, last) = (40, 60);
    for _ in 0..=last {
        model.take(Step::Open);
    }
    for index in (1..=last).filter(|index| *index != slow) {
        model.reply_to(index, STASH_SMALL);
    }
    model.reply_to(0, 1);
    let waste = model.pipeline.stash.len() - model.pipeline.stashed;
    assert!(waste > STASH_WASTE, "the replies before the slow one left");
    model.take(Step::Answer(1));
    assert_eq!(model.pipeline.stash.len(), model.pipeline.stashed);
    model.check();
    model.end();
}
