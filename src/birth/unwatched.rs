//! The end of a process that no reactor watches: it could not be handed over, or the reactor is gone.

use std::time::Instant;

use crate::machine::Relation;
use crate::reactor::Core;
use crate::signal::Signal;
use crate::sys::{self, Facilities, Pin, Target};

/// Kills what nobody watches: the group first, then the process.
pub(crate) fn kill(core: &Core) {
    let Some(pin) = core.pin() else { return };
    let facilities = &core.shared.facilities;
    if core.facts.leads_group {
        let group = Target::Group {
            leader: &pin,
            reaped: false,
        };
        // ESRCH: nobody is in it. Whatever else it is, the process itself comes next.
        drop(sys::send_signal(group, Signal::KILL.as_raw(), facilities));
    }
    // ESRCH: it is gone. EPERM: it runs as somebody else, and there is nothing that could be done about it.
    drop(sys::send_signal(
        Target::Process(&pin),
        Signal::KILL.as_raw(),
        facilities,
    ));
}

/// Takes away what was killed at its launch, with what it may have started if it came as far as that.
pub(super) fn clear_away(pin: &Pin, leads_group: bool, facilities: &Facilities) {
    if leads_group {
        let group = Target::Group {
            leader: pin,
            reaped: false,
        };
        // ESRCH: it came not even as far as its group.
        drop(sys::send_signal(group, Signal::KILL.as_raw(), facilities));
    }
    // SIGKILL was sent to it; once more, should it have been too early for that. ESRCH: it is gone.
    let target = Target::Process(pin);
    drop(sys::send_signal(target, Signal::KILL.as_raw(), facilities));
    if matches!(sys::sleep_on_alone(pin, None), Ok(true)) {
        // `false`, or an error: somebody else has taken it away.
        drop(pin.reap());
    }
}

/// Waits for the death of what nobody watches, until the deadline, and takes its zombie away.
pub(crate) fn bury(core: &Core, deadline: Option<Instant>) {
    let Some(pin) = core.pin() else { return };
    let dead = sys::sleep_on_alone(&pin, deadline);
    if matches!(dead, Ok(true)) && core.facts.relation == Relation::Child {
        // `false`, or an error: somebody else has taken it away.
        drop(pin.reap());
    }
}
