//! What a run is like, drawn by its seed: the tier, the limits, and what goes wrong beside it.

use procession::Containment;

use super::chance::Chance;

/// One run. The process that watches it and the one that does it draw the same.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) workers: u64,
    pub(super) tier: Containment,
    /// Somebody else in the host waits for every child, and takes its status.
    pub(super) thief: bool,
    /// The host is stopped and continued.
    pub(super) stops: bool,
    /// There is no descriptor to be had for moments.
    pub(super) few_descriptors: bool,
    /// There is a ledger, so that children may be detached.
    pub(super) ledger: bool,
    pub(super) slots: Option<usize>,
    /// How many events a subscriber's channel holds.
    pub(super) capacity: usize,
}

impl World {
    /// The first has nothing that disturbs it, the next three have one disturbance each, and those after have what comes.
    pub(super) fn draw(seed: u64, run: u64) -> Self {
        let mut chance = Chance::new(seed, run << 32);
        let later = run >= 4;
        let thief = run == 1 || later && chance.one_in(3);
        let tiers = [
            Containment::Group,
            Containment::Group,
            Containment::Cgroup,
            Containment::Leader,
            Containment::Subreaper,
        ];
        let mut tier = *chance.of(&tiers);
        // There the host has handed all its children over, which excludes anybody else who waits for them.
        if thief && tier == Containment::Subreaper {
            tier = Containment::Group;
        }
        Self {
            workers: 4 + chance.below(5),
            tier,
            thief,
            stops: run == 2 || later && chance.one_in(3),
            few_descriptors: run == 3 || later && chance.one_in(3),
            ledger: chance.one_in(3),
            slots: chance.one_in(3).then_some(24),
            capacity: if chance.one_in(4) { 8 } else { 4096 },
        }
    }

    /// Whether what the host starts by itself, and then hands over, is the host's until then.
    pub(super) fn may_adopt(&self) -> bool {
        self.tier != Containment::Subreaper
    }

    /// Whether no event is lost as long as somebody reads.
    pub(super) fn hears_everything(&self) -> bool {
        self.capacity > 1000
    }

    /// Whether descendants are looked for.
    pub(super) fn covers_descendants(&self) -> bool {
        self.tier != Containment::Leader
    }
}
