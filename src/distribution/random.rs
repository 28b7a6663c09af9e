//! twemproxy's random: any live server, whatever the key and the weights.

use super::Member;

#[derive(Clone, Debug)]
pub(super) struct Random {
    /// Not empty.
    owners: Vec<u16>,
}

impl Random {
    /// `None` if nobody is live.
    pub(super) fn build(live: &[Member]) -> Option<Random> {
        let owners: Vec<u16> = live.iter().map(|member| member.index).collect();
        (!owners.is_empty()).then_some(Random { owners })
    }

    #[inline]
    pub(super) fn pick(&self, drawn: u32) -> u16 {
        self.owners[drawn as usize % self.owners.len()]
    }

    pub(super) fn points(&self, index: u16) -> usize {
        self.owners.iter().filter(|&&owner| owner == index).count()
    }
}
