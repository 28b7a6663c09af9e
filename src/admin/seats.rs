//! Who is being served at a time: a bounded number, in which nobody who says nothing keeps a newcomer out.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::SILENCE;

/// Clients served at a time. Each takes a file, some kilobytes, and while it is answered the report.
const SEATS: usize = 64;

/// How long a client may stay, from its arrival, when others wait for a seat.
const fn patience(phase: u8) -> Duration {
    match phase {
        // Who is to be answered for his silence must not be sent away for it.
        READING => SILENCE.saturating_add(Duration::from_millis(200)),
        ANSWERING => Duration::from_secs(1),
        _ => Duration::ZERO,
    }
}

const READING: u8 = 0;
const ANSWERING: u8 = 1;
const LEAVING: u8 = 2;

/// How far a client has got, told by the task that serves it.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    /// Its request is complete, or it is one that sends none.
    pub(super) fn answering(&self) {
        self.0.store(ANSWERING, Relaxed);
    }

    /// It has its answer; only its own close is waited for.
    pub(super) fn leaving(&self) {
        self.0.store(LEAVING, Relaxed);
    }
}

/// Dropped, it ends all its tasks.
#[derive(Default)]
pub(super) struct Seats {
    tasks: JoinSet<()>,
    /// In the order of arrival.
    taken: Vec<Seat>,
}

struct Seat {
    id: Id,
    task: AbortHandle,
    since: Instant,
    progress: Progress,
}

impl Seat {
    /// When it may be given to somebody else.
    fn is_due(&self) -> Instant {
        self.since + patience(self.progress.0.load(Relaxed))
    }
}

impl Seats {
    /// Waits until everybody has left.
    pub(super) async fn emptied(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Waits until there is a free seat, which is at once, or when somebody has left or can be asked to:
    /// of those whose time is over the one that came first.
    pub(super) async fn vacancy(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.free(&ended);
        }
        while self.taken.len() >= SEATS {
            let first_due = self.taken.iter().map(Seat::is_due).min();
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.free(&ended),
                () = sleep_until(first_due.unwrap_or_else(Instant::now)) => {
                    // It may have got further meanwhile.
                    let now = Instant::now();
                    if let Some(first) = self.taken.iter().position(|seat| seat.is_due() <= now) {
                        self.taken.remove(first).task.abort();
                    }
                }
            }
        }
    }

    fn free(&mut self, ended: &Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(aborted) => aborted.id(),
        };
        self.taken.retain(|seat| seat.id != id);
    }

    /// To be called when there is a [`Seats::vacancy`].
    pub(super) fn take<F>(&mut self, serve: impl FnOnce(Progress) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let progress = Progress::default();
        let task = self.tasks.spawn(serve(progress.clone()));
        self.taken.push(Seat {
            id: task.id(),
            task,
            since: Instant::now(),
            progress,
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(test);
    }

    /// Somebody who stays; the receiver ends when he is sent away.
    fn stay(seats: &mut Seats, get_on: fn(&Progress)) -> oneshot::Receiver<()> {
        let (held, gone) = oneshot::channel();
        seats.take(|progress| async move {
            get_on(&progress);
            let _held: oneshot::Sender<()> = held;
            std::future::pending().await
        });
        gone
    }

    #[test]
    fn who_came_first_makes_room_when_all_seats_are_taken() {
        run(async {
            let begin = Instant::now();
            let mut seats = Seats::default();
            let mut guests = Vec::new();
            for _ in 0..SEATS {
                seats.vacancy().await;
                guests.push(stay(&mut seats, |_| {}));
            }
            let staying = |guest: &mut oneshot::Receiver<()>| {
                matches!(guest.try_recv(), Err(TryRecvError::Empty))
            };
            assert!(guests.iter_mut().all(staying));
            seats.vacancy().await;
            assert!(begin.elapsed() >= patience(READING));
            assert!(guests.remove(0).await.is_err());
            assert!(guests.iter_mut().all(staying));
        });
    }

    #[test]
    fn who_is_being_answered_may_stay_longer_and_who_was_need_not_stay() {
        run(async {
            let begin = Instant::now();
            let mut seats = Seats::default();
            let mut answered = Vec::new();
            for _ in 0..SEATS - 1 {
                answered.push(stay(&mut seats, Progress::answering));
            }
            let leaving = stay(&mut seats, Progress::leaving);
            tokio::task::yield_now().await;
            seats.vacancy().await;
            assert!(leaving.await.is_err(), "it came last and goes first");
            answered.push(stay(&mut seats, Progress::answering));
            seats.vacancy().await;
            assert!(begin.elapsed() >= patience(ANSWERING));
            assert!(answered.remove(0).await.is_err());
        });
    }

    #[test]
    fn seats_of_those_who_left_are_free() {
        run(async {
            let mut seats = Seats::default();
            for _ in 0..SEATS {
                seats.take(|_| async {});
            }
            // The runtime may need several rounds for so many.
            for _ in 0..100 {
                tokio::task::yield_now().await;
                seats.vacancy().await;
            }
            assert_eq!(seats.taken.len(), 0);
        });
    }
}
