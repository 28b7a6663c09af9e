//! What must hold after every step, whatever the network and the cluster do.

use super::cluster::{Cluster, Config};
use super::*;

pub struct Judge {
    hold: Vec<Duration>,
    shards: Vec<Trial>,
    ready: bool,
    /// How often which kind of decision was made.
    pub kinds: BTreeMap<String, usize>,
}

#[derive(Default)]
struct Trial {
    hold_until: Option<Instant>,
    without_master: bool,
    /// The highest epoch of all answers that reached the watcher.
    known: u64,
    published: u64,
    /// The last role each node told.
    roles: BTreeMap<HostPort, RoleAnswer>,
    serving: Option<HostPort>,
}

impl Judge {
    pub fn new(specs: &[ShardSpec]) -> Judge {
        Judge {
            hold: specs.iter().map(|spec| spec.failover_hold).collect(),
            shards: specs.iter().map(|_| Trial::default()).collect(),
            ready: false,
            kinds: BTreeMap::new(),
        }
    }

    pub fn role_told(&mut self, shard: ShardId, address: &HostPort, role: &RoleAnswer) {
        let roles = &mut self.shards[shard.0].roles;
        roles.insert(address.clone(), role.clone());
    }

    pub fn epoch_told(&mut self, shard: usize, epoch: u64) {
        let known = &mut self.shards[shard].known;
        *known = epoch.max(*known);
    }

    pub fn output(&mut self, output: &Output, cluster: &Cluster, now: Instant) {
        let shard = match output {
            Output::Ready { .. } => {
                assert!(!self.ready, "ready twice");
                self.ready = true;
                return;
            }
            Output::Note(Note::EpochReset { .. }) => panic!("nobody was monitored anew"),
            Output::Hold { shard, .. }
            | Output::Release { shard, .. }
            | Output::NoMaster { shard, .. }
            | Output::Warm { shard, .. } => *shard,
            Output::Switch(switch) => switch.shard,
            _ => return,
        };
        assert!(
            shard.0 == 0 || !self.ready,
            "shard {} noticed: {output:?}",
            shard.0
        );
        let kind = match output {
            Output::Switch(switch) => format!("{:?}", switch.via),
            Output::Release { why, .. } => format!("{why:?}"),
            Output::NoMaster { .. } => "NoMaster".to_string(),
            _ => "other".to_string(),
        };
        *self.kinds.entry(kind).or_default() += 1;
        let hold = self.hold[shard.0];
        let trial = &mut self.shards[shard.0];
        match output {
            Output::Hold { until, .. } => {
                assert_eq!(trial.hold_until, None, "held twice");
                assert_eq!(*until, now + hold);
                assert!(trial.serving.is_some(), "held before anything served");
                trial.hold_until = Some(*until);
                trial.without_master = false;
            }
            Output::Release { .. } => {
                assert!(trial.hold_until.take().is_some(), "released without hold");
            }
            Output::NoMaster { .. } => {
                trial.hold_until = None;
                trial.without_master = true;
            }
            Output::Switch(switch) => trial.judge(switch, cluster),
            _ => {}
        }
    }

    pub fn at(&self, now: Instant) {
        for trial in &self.shards {
            assert!(
                trial.hold_until.is_none_or(|until| now <= until),
                "held too long"
            );
        }
    }

    /// After the network was quiet and whole for long enough.
    pub fn finally(&self, watcher: &Watcher, cluster: &Cluster) {
        assert!(self.ready);
        let snapshot = watcher.snapshot();
        for (index, trial) in self.shards.iter().enumerate() {
            assert!(cluster.is_whole(index), "the model itself does not settle");
            let truth = cluster.agreed(index).expect("all talk");
            assert_eq!(trial.serving.as_ref(), Some(&truth.address), "{truth:?}");
            assert_eq!((trial.hold_until, trial.without_master), (None, false));
            let shard = &snapshot.shards[index];
            assert_eq!(shard.epoch, Some(truth.epoch));
            assert_eq!(shard.phase, snapshot::Phase::Stable);
        }
        let linked = |it: &snapshot::SentinelSnapshot| it.subscribed && it.queried;
        assert!(snapshot.sentinels.iter().all(linked));
    }
}

impl Trial {
    fn judge(&mut self, switch: &Switch, cluster: &Cluster) {
        let shard = switch.shard.0;
        let role = self.roles.get(&switch.address);
        assert_eq!(
            role,
            Some(&RoleAnswer::Master),
            "{switch:?} was not verified"
        );
        let elected = cluster.elected[shard].iter();
        let eager = cluster.announced[shard]
            .iter()
            .filter(|_| switch.via == Via::Candidate);
        let of_it = |config: &&Config| config.address == switch.address;
        let newest = elected
            .chain(eager)
            .filter(of_it)
            .map(|config| config.epoch)
            .max();
        let newest = newest.unwrap_or_else(|| panic!("{switch:?} was never elected"));
        if switch.via == Via::Overruled {
            self.known = 0;
            self.published = 0;
        }
        assert!(
            newest >= self.known,
            "{switch:?}: epoch {} was known",
            self.known
        );
        if let Some(epoch) = switch.epoch {
            assert!(
                epoch >= self.published,
                "{switch:?} after epoch {}",
                self.published
            );
            assert!(epoch <= newest, "{switch:?}: its newest epoch is {newest}");
            self.published = epoch;
        }
        self.hold_until = None;
        self.without_master = false;
        self.serving = Some(switch.address.clone());
    }
}
