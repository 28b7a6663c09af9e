//! Which address is believed, given what the sentinels say now. Pure rules, no state.
//!
//! The highest configuration epoch wins, as among sentinels: one elected leader, with a majority behind it,
//! makes each epoch. A lower one than ours moves nothing; it is a sentinel that was cut off. Different
//! addresses of one epoch come only from hands that configured sentinels differently: then a majority of
//! those who answer decides, and without one nothing moves.

use super::SentinelId;
use super::address::{Addresses, HostPort};

/// What one sentinel that can be asked says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) sentinel: SentinelId,
    pub(super) address: HostPort,
    pub(super) epoch: u64,
}

/// What the claims are measured against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// What is believed; at the start the configured address, which wins ties.
    pub(super) address: &'a HostPort,
    /// The lowest epoch its claim can have; `None`: any claim is better than what we have.
    pub(super) floor: Option<u64>,
    /// How many sentinels there are, with those that do not answer.
    pub(super) seats: usize,
    /// Epochs cannot be compared: a majority of the seats has to agree.
    pub(super) by_majority: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new is known.
    Keep,
    /// The believed address, with this epoch.
    Confirm {
        epoch: u64,
    },
    Move(Claim),
    /// The claims contradict each other and none prevails.
    Split,
}

pub(super) fn decide(claims: &[Claim], known: Known, addresses: &Addresses) -> Verdict {
    let parties = parties(claims, addresses);
    let winner = if known.by_majority {
        let wins = |party: &&Party| party.votes * 2 > known.seats;
        match parties.iter().find(wins) {
            Some(winner) => winner.claim,
            None => return Verdict::Keep,
        }
    } else {
        match highest(claims, known, addresses) {
            Ok(winner) => winner,
            Err(verdict) => return verdict,
        }
    };
    if addresses.same(&winner.address, known.address) {
        Verdict::Confirm {
            epoch: winner.epoch,
        }
    } else {
        Verdict::Move(winner.clone())
    }
}

/// Of the claims with the highest epoch. `Err`: none of them wins.
fn highest<'a>(
    claims: &'a [Claim],
    known: Known,
    addresses: &Addresses,
) -> Result<&'a Claim, Verdict> {
    let top = claims.iter().map(|claim| claim.epoch).max();
    let top = top.filter(|&top| Some(top) >= known.floor);
    let top = top.ok_or(Verdict::Keep)?;
    let parties = parties(claims.iter().filter(|claim| claim.epoch == top), addresses);
    let believed = |party: &&Party| addresses.same(&party.claim.address, known.address);
    let prevails = |party: &&Party| {
        let unopposed = parties.len() == 1 && (Some(top) > known.floor || believed(party));
        unopposed || is_majority(party.votes, claims.len(), known.seats)
    };
    let winner = parties.iter().find(prevails);
    let kept = parties.iter().find(believed);
    winner
        .or(kept)
        .map(|party| party.claim)
        .ok_or(Verdict::Split)
}

/// Of those who answer; but one voice is a majority only where there is no other.
fn is_majority(votes: usize, answering: usize, seats: usize) -> bool {
    votes * 2 > answering && (votes > 1 || seats == 1)
}

/// Those who name the same address.
struct Party<'a> {
    /// The one with the highest epoch.
    claim: &'a Claim,
    votes: usize,
}

fn parties<'a>(
    claims: impl IntoIterator<Item = &'a Claim>,
    addresses: &Addresses,
) -> Vec<Party<'a>> {
    let mut parties: Vec<Party> = Vec::new();
    for claim in claims {
        let same = |party: &&mut Party| addresses.same(&party.claim.address, &claim.address);
        match parties.iter_mut().find(same) {
            Some(party) => {
                party.votes += 1;
                if claim.epoch > party.claim.epoch {
                    party.claim = claim;
                }
            }
            None => parties.push(Party { claim, votes: 1 }),
        }
    }
    parties
}

/// The address other than the believed one that a majority of all seats names, if nobody who can be asked
/// stands by what we believe.
pub(super) fn contradiction(
    claims: &[Claim],
    known: Known,
    addresses: &Addresses,
) -> Option<Claim> {
    let stands_by = |claim: &Claim| {
        addresses.same(&claim.address, known.address) && Some(claim.epoch) >= known.floor
    };
    if claims.iter().any(stands_by) {
        return None;
    }
    let parties = parties(claims, addresses);
    let party = parties.iter().find(|party| party.votes * 2 > known.seats)?;
    let other = !addresses.same(&party.claim.address, known.address);
    other.then(|| party.claim.clone())
}

/// Whether the claims name more than one address.
pub(super) fn disagree(claims: &[Claim], addresses: &Addresses) -> bool {
    parties(claims, addresses).len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str) -> HostPort {
        HostPort::new(name, 6379)
    }

    /// "B6" is address B with epoch 6, one per sentinel.
    fn claims(text: &str) -> Vec<Claim> {
        let each = text.split_whitespace().enumerate();
        each.map(|(index, claim)| Claim {
            sentinel: SentinelId(u32::try_from(index).unwrap()),
            address: at(&claim[..1]),
            epoch: claim[1..].parse().unwrap(),
        })
        .collect()
    }

    fn verdict(text: &str, floor: Option<u64>, seats: usize, by_majority: bool) -> String {
        let address = at("A");
        let known = Known {
            address: &address,
            floor,
            seats,
            by_majority,
        };
        match decide(&claims(text), known, &Addresses::default()) {
            Verdict::Keep => "keep".to_string(),
            Verdict::Split => "split".to_string(),
            Verdict::Confirm { epoch } => format!("confirm {epoch}"),
            Verdict::Move(claim) => format!("{}{}", claim.address.host, claim.epoch),
        }
    }

    #[test]
    fn the_highest_epoch_wins_and_equal_ones_need_a_majority() {
        for (said, expected) in [
            ("", "keep"),
            ("A5 A5 A5", "confirm 5"),
            ("A7", "confirm 7"),
            // One sentinel knows of a newer epoch: an elected leader made it.
            ("A5 B6 A5", "B6"),
            ("B6 C7 A5", "C7"),
            // Cut off sentinels, even all of them, have old epochs.
            ("B4", "keep"),
            ("B4 B4 B4", "keep"),
            ("B4 A5 B4", "confirm 5"),
            // Same epoch, other address.
            ("B5 B5 A5", "B5"),
            ("B5 A5 A5", "confirm 5"),
            ("B5 C5 A5", "confirm 5"),
            ("B5", "split"),
            ("B5 B5", "B5"),
            ("B5 C5", "split"),
            ("B6 C6 A5", "split"),
            ("B6 C6 C6", "C6"),
            ("B6 C6 A6", "confirm 6"),
        ] {
            assert_eq!(verdict(said, Some(5), 3, false), expected, "{said}");
        }
        assert_eq!(verdict("B5", Some(5), 1, false), "B5");
    }

    #[test]
    fn anything_is_better_than_nothing_but_ties_go_to_the_configuration() {
        for (said, expected) in [
            ("B0", "B0"),
            ("B0 A0", "confirm 0"),
            ("B0 C0", "split"),
            ("A0 B1", "B1"),
        ] {
            assert_eq!(verdict(said, None, 3, false), expected, "{said}");
        }
    }

    #[test]
    fn when_epochs_start_over_a_majority_of_all_decides() {
        for (said, expected) in [
            ("B0", "keep"),
            ("B0 C9", "keep"),
            ("B0 B1 A9", "B1"),
            ("A0 A0", "confirm 0"),
        ] {
            assert_eq!(verdict(said, None, 3, true), expected, "{said}");
        }
    }

    #[test]
    fn a_majority_of_all_contradicts_only_if_nobody_stands_by_us() {
        let address = at("A");
        let known = Known {
            address: &address,
            floor: Some(6),
            seats: 3,
            by_majority: false,
        };
        let found = |text| {
            let claim = contradiction(&claims(text), known, &Addresses::default());
            claim.map(|claim| claim.address.host)
        };
        assert_eq!(found("B5 B5 B5"), Some("B".to_string()));
        assert_eq!(found("B5 B4"), Some("B".to_string()));
        for said in ["", "B5", "B5 C5", "B5 B5 A6", "A5 A5 A5"] {
            assert_eq!(found(said), None, "{said}");
        }
    }
}
