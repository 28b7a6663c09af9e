//! What workers tell each other: questions about clients, and the answers. Nobody waits for it: who asks
//! serves others meanwhile.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::shared::Shared;
use crate::backend::Call;
use crate::client::{Asked, Place};

/// One worker's way to hear from all workers, and to reach them.
#[derive(Debug)]
pub struct Mailbox {
    pub(super) place: Place,
    pub(super) incoming: mpsc::UnboundedReceiver<Mail>,
    pub(super) workers: Vec<mpsc::UnboundedSender<Mail>>,
}

impl Mailbox {
    /// One for each of so many workers.
    pub fn for_all(workers: usize) -> Vec<Mailbox> {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let place = |worker: usize| Place {
            worker: worker as u16,
            workers: workers as u16,
        };
        let boxes = receivers.into_iter().enumerate();
        boxes
            .map(|(worker, incoming)| Mailbox {
                place: place(worker),
                incoming,
                workers: senders.clone(),
            })
            .collect()
    }
}

#[derive(Debug)]
pub(super) enum Mail {
    Question(Letter),
    Answer(Call, Vec<u8>),
}

/// A question with the way back. One that is thrown away, because its worker ends, is answered all the same.
#[derive(Debug)]
pub(super) struct Letter {
    asked: Asked,
    from: mpsc::UnboundedSender<Mail>,
    answer: Option<Vec<u8>>,
}

impl Drop for Letter {
    fn drop(&mut self) {
        let answer = self.answer.take();
        let answer = answer.unwrap_or_else(|| self.asked.question.nobody());
        // Who has ended needs no answer.
        let _ = self.from.send(Mail::Answer(self.asked.call, answer));
    }
}

/// The worker's end of the post.
pub(super) struct Post {
    worker: usize,
    workers: Vec<mpsc::UnboundedSender<Mail>>,
}

impl Post {
    pub fn new(place: Place, workers: Vec<mpsc::UnboundedSender<Mail>>) -> Post {
        Post {
            worker: place.worker.into(),
            workers,
        }
    }

    /// Sends questions on their way.
    pub fn send(&self, questions: Vec<Asked>) {
        for asked in questions {
            let to = &self.workers[usize::from(asked.to)];
            // One that cannot be delivered answers as it is dropped.
            let _ = to.send(Mail::Question(Letter {
                asked,
                from: self.workers[self.worker].clone(),
                answer: None,
            }));
        }
    }
}

/// Sees to what another worker says.
pub(super) fn receive(shared: &Rc<Shared>, mail: Mail) {
    let now = shared.now();
    match mail {
        Mail::Question(mut letter) => {
            let mut front = shared.front.borrow_mut();
            letter.answer = Some(front.answer(&letter.asked.question, now));
        }
        Mail::Answer(call, reply) => {
            shared.front.borrow_mut().handle_answer(call, &reply, now);
        }
    }
    shared.kick();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::{Front, Now, Peer};
    use crate::stats::WorkerStats;
    use crate::topology::Topology;

    /// What a client of the first of two workers asks the other.
    fn questions(mailbox: &Mailbox) -> Vec<Asked> {
        let yaml = "p:\n  listen: 127.0.0.1:1\n  redis: true\n  servers: ['127.0.0.1:2:1']\n";
        let config = crate::config::parse(yaml, "f").unwrap().config;
        let topology = Arc::new(Topology::initial(&config));
        let stats = Arc::new(WorkerStats::new(&[1]));
        let mut front = Front::new(topology, stats, 1 << 30, mailbox.place, 1);
        let now = Now::new(0);
        let client = front.open(0, Peer::Unix, now);
        front.handle_input(client, b"CLIENT KILL ID 7\r\n", now);
        front.take_asked()
    }

    #[test]
    fn a_worker_that_ends_has_nobody_and_says_so() {
        let mut boxes = Mailbox::for_all(2);
        let (second, mut first) = (boxes.pop().unwrap(), boxes.pop().unwrap());
        let post = Post::new(first.place, first.workers.clone());
        let asked = questions(&first);
        let call = asked[0].call;
        post.send(asked);
        assert!(first.incoming.try_recv().is_err(), "it is not answered yet");
        // With a question that it has not seen.
        drop(second);
        // And with one that comes too late.
        post.send(questions(&first));
        for _ in 0..2 {
            let Ok(Mail::Answer(back, reply)) = first.incoming.try_recv() else {
                panic!("no answer")
            };
            assert_eq!((back, &reply[..]), (call, &b":0\r\n"[..]));
        }
        assert!(first.incoming.try_recv().is_err(), "one answer for each");
    }
}
