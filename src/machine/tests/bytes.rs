//! Runs that are read off bytes, for the fuzzer.

use super::descendants::Sees;
use super::world::{Op, Temper, Tier, World};
use crate::limits::Limits;

/// Reads operations off bytes: a run of them, and then the end of everything.
pub(crate) fn drive(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let first = bytes.next().unwrap_or(0);
    let limits = if first & 1 == 0 {
        Limits::NONE
    } else {
        Limits::NONE.processes(4).processes_per_session(2)
    };
    let tier = Tier::ALL[usize::from(first >> 3) % Tier::ALL.len()];
    let mut world = World::of_tier(limits, first & 2 == 0 || tier == Tier::Subreaper, tier);
    world.prompt_passes = tier == Tier::Group && first & 4 == 0;
    world.meanwhile = first & 0x80 == 0;
    while let Some(byte) = bytes.next() {
        let n = usize::from(bytes.next().unwrap_or(0));
        let op = decode(byte, n);
        if world.prompt_passes && matches!(op, Op::Fork(_)) {
            continue;
        }
        world.step(op);
    }
    world.finish();
}

fn decode(byte: u8, n: usize) -> Op {
    let tempers = [
        Temper::Obedient,
        Temper::Deaf,
        Temper::Asleep,
        Temper::Foreign,
    ];
    let temper = tempers[n % 4];
    let session = (n / 4 % 3) as u64;
    match byte % 28 {
        0 | 1 => Op::Reserve(session),
        2 | 3 => Op::Born(temper),
        4 => Op::Attach(temper),
        5 => Op::Abort,
        6 => Op::Exit(n),
        7 => Op::ExitUnseen(n),
        8 => Op::Steal(n),
        9 => Op::Trace(n),
        10 => Op::Untrace,
        11 => Op::Wake,
        12 => Op::ForeignReap,
        13 => Op::End(session, n),
        14 => Op::Stop(n / 4, n),
        15 => Op::Signal(n),
        16 => Op::SignalAll(session),
        17 => Op::Timer,
        18 => Op::Pause(u16::try_from(n).unwrap_or(0) * 10),
        19 => Op::Inspected(n % 2 == 0),
        20 | 21 => Op::Passed(if n % 3 == 0 {
            Sees::Glimpses
        } else {
            Sees::All
        }),
        22 => Op::Passed(Sees::Nothing),
        23 if n % 4 == 3 => Op::Leave(n / 4),
        23 => Op::Fork(n),
        24 => Op::Join(n),
        25 if n % 4 == 3 => Op::GoesOn,
        25 => Op::Populated(n),
        26 => Op::Ready(n),
        _ if n < 8 => Op::Shutdown(n),
        _ if n < 16 => Op::Harden(n),
        _ if n < 32 => Op::Detach(n),
        _ => Op::Stray(n as u64),
    }
}
