//! What the writers lost, saw twice or waited for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use super::writers::{Operation, Outcome, Record, Token};
use super::{Cluster, text};
use crate::support::{Client, Value};

/// The comparison of everything that was acknowledged with the final masters.
#[derive(Debug)]
pub struct Report {
    begin: Instant,
    end: Instant,
    operations: Vec<Operation>,
    shards: Vec<Found>,
    wrong_reads: Vec<String>,
    stale_reads: Vec<String>,
    dropped: usize,
}

/// On the final master of one shard.
#[derive(Debug, Default)]
struct Found {
    acknowledged: usize,
    /// Acknowledged, yet not there.
    lost: Vec<Token>,
    /// There more than once.
    repeated: Vec<String>,
    /// By how much counters are below what was acknowledged.
    counted_too_little: i64,
    /// By how much counters are above what can have been applied.
    counted_too_much: i64,
    /// Keys of other shards.
    strays: Vec<String>,
}

impl Report {
    /// Waits until each shard has an agreed master, then reads all of it.
    #[track_caller]
    pub(super) fn make(
        cluster: &Cluster,
        records: Vec<Record>,
        begin: Instant,
        end: Instant,
    ) -> Report {
        let shards = (0..cluster.shards()).map(|shard| {
            let master = cluster.settle(shard);
            let mut client = cluster.nodes(shard)[master].client();
            Found::on(&mut client, shard, &records)
        });
        let shards = shards.collect();
        let mut report = Report {
            begin,
            end,
            operations: Vec::new(),
            shards,
            wrong_reads: Vec::new(),
            stale_reads: Vec::new(),
            dropped: 0,
        };
        for mut record in records {
            report.operations.append(&mut record.operations);
            report.wrong_reads.append(&mut record.wrong_reads);
            report.stale_reads.append(&mut record.stale_reads);
            report.dropped += record.dropped;
        }
        report.operations.sort_by_key(|operation| operation.ended);
        println!("{report}");
        report
    }

    /// Acknowledged list writes of the shard.
    pub fn acknowledged(&self, shard: usize) -> usize {
        self.shards[shard].acknowledged
    }

    /// Acknowledged writes of the shard that are gone.
    pub fn lost(&self, shard: usize) -> usize {
        let found = &self.shards[shard];
        found.lost.len() + usize::try_from(found.counted_too_little).expect("not negative")
    }

    /// Lost list writes of the shard that were sent after `since`.
    pub fn lost_since(&self, shard: usize, since: Instant) -> usize {
        let lost = &self.shards[shard].lost;
        lost.iter().filter(|token| token.sent > since).count()
    }

    /// Writes of the shard that were applied more than once.
    pub fn repeated(&self, shard: usize) -> usize {
        let found = &self.shards[shard];
        found.repeated.len() + usize::try_from(found.counted_too_much).expect("not negative")
    }

    /// Keys on shards that do not own them.
    pub fn strays(&self) -> usize {
        self.shards.iter().map(|found| found.strays.len()).sum()
    }

    /// Reads that gave another key's value or nil for a key that exists, MGET included.
    pub fn wrong_reads(&self) -> &[String] {
        &self.wrong_reads
    }

    /// Reads that gave less than what was acknowledged before they were sent.
    pub fn stale_reads(&self) -> usize {
        self.stale_reads.len()
    }

    /// Client connections that ended under their client.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Operations on the shard that got no proper reply, with what they got.
    pub fn errors(&self, shard: usize) -> Vec<&str> {
        self.failures(Some(shard)).collect()
    }

    /// Operations on all shards at once that got no proper reply.
    pub fn errors_of_all(&self) -> Vec<&str> {
        self.failures(None).collect()
    }

    fn failures(&self, shard: Option<usize>) -> impl Iterator<Item = &str> {
        failures(self.operations.iter(), shard)
    }

    /// The longest time without a good reply of the shard.
    pub fn longest_gap(&self, shard: usize) -> Duration {
        let ended = self.done(shard).map(|operation| operation.ended);
        let moments: Vec<Instant> = std::iter::once(self.begin)
            .chain(ended)
            .chain([self.end])
            .collect();
        let gaps = moments
            .windows(2)
            .map(|w| w[1].saturating_duration_since(w[0]));
        gaps.max().expect("there are two moments at least")
    }

    /// The longest time until the shard's client had a reply, errors included.
    pub fn slowest(&self, shard: usize) -> Duration {
        let ours = self.operations.iter().filter(|o| o.shard == Some(shard));
        ours.map(|o| o.ended - o.sent).max().unwrap_or_default()
    }

    /// When the first good reply to a write of the shard came that was sent after `since`.
    pub fn first_write_since(&self, shard: usize, since: Instant) -> Option<Instant> {
        let mut writes = self.done(shard).filter(|o| o.write && o.sent >= since);
        writes.next().map(|operation| operation.ended)
    }

    fn done(&self, shard: usize) -> impl Iterator<Item = &Operation> {
        self.operations
            .iter()
            .filter(move |o| o.shard == Some(shard) && o.outcome == Outcome::Done)
    }

    /// What must hold whatever fails: nothing applied twice, nothing on the wrong shard, no wrong value,
    /// no client dropped, and work was done at all.
    #[track_caller]
    pub fn assert_sound(&self) {
        for shard in 0..self.shards.len() {
            assert_eq!(
                self.repeated(shard),
                0,
                "shard {shard} applied writes twice\n{self}"
            );
            assert!(
                self.acknowledged(shard) > 10,
                "too little was tested\n{self}"
            );
        }
        assert_eq!(self.strays(), 0, "keys on other shards\n{self}");
        assert!(self.wrong_reads.is_empty(), "wrong reads\n{self}");
        assert_eq!(self.dropped, 0, "clients were dropped\n{self}");
    }

    /// Nothing at all happened to the shard: no error, no loss, no pause worth mentioning.
    #[track_caller]
    pub fn assert_untouched(&self, shard: usize) {
        /// What two busy cores may cost, with clusters of other tests beside.
        const HICCUP: Duration = Duration::from_millis(700);
        self.assert_no_errors(shard);
        assert_eq!(self.lost(shard), 0, "shard {shard}\n{self}");
        let gap = self.longest_gap(shard);
        assert!(gap < HICCUP, "shard {shard} paused for {gap:?}\n{self}");
    }

    #[track_caller]
    pub fn assert_no_errors(&self, shard: usize) {
        let errors = self.errors(shard);
        assert!(errors.is_empty(), "shard {shard}: {errors:?}\n{self}");
    }
}

impl Found {
    #[track_caller]
    fn on(client: &mut Client, shard: usize, records: &[Record]) -> Found {
        let tokens: Vec<&Token> = records.iter().flat_map(|record| &record.tokens).collect();
        let (ours, others): (Vec<&Token>, Vec<&Token>) =
            tokens.into_iter().partition(|token| token.shard == shard);
        let counters = records.iter().flat_map(|record| &record.counters);
        let mut found = Found::default();

        let mut present: HashMap<String, usize> = HashMap::new();
        let mut keys: Vec<&str> = ours.iter().map(|token| token.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let Value::Array(items) = client.cmd(&["LRANGE", key, "0", "-1"]) else {
                panic!("LRANGE answers an array")
            };
            for item in items.iter().filter_map(text) {
                *present.entry(item).or_default() += 1;
            }
        }
        let repeated = present.iter().filter(|&(_, &times)| times > 1);
        found.repeated = repeated.map(|(token, _)| token.clone()).collect();
        let acknowledged = ours.into_iter().filter(|token| token.acknowledged);
        let (kept, lost): (Vec<&Token>, Vec<&Token>) =
            acknowledged.partition(|token| present.contains_key(&token.text));
        found.acknowledged = kept.len() + lost.len();
        found.lost = lost.into_iter().cloned().collect();

        for counter in counters.filter(|counter| counter.shard == shard) {
            let value = text(&client.cmd(&["GET", &counter.key]));
            let value: i64 = value.map_or(0, |text| text.parse().expect("a counter"));
            found.counted_too_little += (counter.acknowledged - value).max(0);
            found.counted_too_much += (value - counter.acknowledged - counter.unsure).max(0);
        }
        let mut foreign: Vec<&str> = others.iter().map(|token| token.key.as_str()).collect();
        foreign.sort_unstable();
        foreign.dedup();
        for key in foreign {
            if client.cmd(&["EXISTS", key]) != Value::Int(0) {
                found.strays.push(key.to_owned());
            }
        }
        found
    }
}

/// What operations on `shard`, or on all at once, got instead of a proper reply.
fn failures<'a>(
    operations: impl Iterator<Item = &'a Operation>,
    shard: Option<usize>,
) -> impl Iterator<Item = &'a str> {
    operations
        .filter(move |operation| operation.shard == shard)
        .filter_map(|operation| match &operation.outcome {
            Outcome::Done => None,
            Outcome::Error(text) | Outcome::Lost(text) => Some(text.as_str()),
        })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shard, found) in self.shards.iter().enumerate() {
            let gap = self.longest_gap(shard).as_millis();
            let slowest = self.done(shard).map(|o| o.ended - o.sent).max();
            let slowest = slowest.unwrap_or_default().as_millis();
            write!(
                f,
                "shard {shard}: {} list writes, {} lost, {} repeated; counters short by {}, over by {}; \
                 longest gap {gap} ms, slowest reply {slowest} ms",
                found.acknowledged,
                found.lost.len(),
                found.repeated.len(),
                found.counted_too_little,
                found.counted_too_much
            )?;
            if let (Some(first), Some(last)) = (found.lost.first(), found.lost.last()) {
                let ms = |token: &Token| (token.sent - self.begin).as_millis();
                write!(f, " (lost: sent {} to {} ms)", ms(first), ms(last))?;
            }
            describe_failures(f, self.failures(Some(shard)))?;
            writeln!(f)?;
        }
        write!(f, "all shards at once:")?;
        describe_failures(f, self.failures(None))?;
        write!(
            f,
            "\n{} clients dropped; stale reads {}; strays {}; wrong reads {:?}",
            self.dropped,
            self.stale_reads.len(),
            self.strays(),
            self.wrong_reads.iter().take(5).collect::<Vec<_>>()
        )
    }
}

fn describe_failures<'a>(
    f: &mut fmt::Formatter<'_>,
    failures: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for failure in failures {
        *times.entry(failure).or_default() += 1;
    }
    for (failure, times) in times {
        write!(f, "\n  {times} x {failure}")?;
    }
    Ok(())
}
