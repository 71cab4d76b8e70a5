//! One record of the ledger: a line of text with a checksum.
//!
//! ```text
//! file    = HEADER LF *( CHECKSUM SP record LF )
//! record  = "host" SP BOOT SP PIDNS SP REGISTRY SP NAME SP PID SP START SP INODE SP LEVEL
//!         | "intent" SP REGISTRY SP PROCESS SP LIFE SP SESSION
//!         | "alive" SP REGISTRY SP PROCESS SP PID SP START SP INODE
//!         | "cancel" | "gone" | "detached"  SP REGISTRY SP PROCESS
//!         | "over" SP REGISTRY SP LIFE
//!         | "released" | "settled"  SP REGISTRY
//! ```
//!
//! | field | what | written as |
//! | --- | --- | --- |
//! | `CHECKSUM` | CRC-32 of what stands between it and the end of the line | 8 hexadecimal digits |
//! | `BOOT`, `REGISTRY`, `NAME` | as in the variable of the [`crate::mark`] | as there |
//! | `LEVEL` | how the registry marked in a limit: not at all, as the outermost, inside this hard limit | `-`, `0`, decimal |
//! | all others | | decimal |
//!
//! Why lines: whoever has to find out what happened can read them, and where one is damaged the next begins all the same
//! at the end of the line. A CRC-32 finds every change of one bit, and all within 32 bits in a row.

use std::fmt::Write as _;

use crate::limit_mark::LimitMark;
use crate::mark;
use crate::session::{Life, ProcessId, SessionId};

/// The first line of the file.
pub(super) const HEADER: &str = "procession ledger 1";
/// What stands in it before the version.
const TITLE: &str = "procession ledger ";

/// Whether this first line is that of another version.
pub(super) fn is_of_another_version(header: &[u8]) -> bool {
    let text = std::str::from_utf8(header).ok();
    let version = text.and_then(|text| mark::decimal(text.strip_prefix(TITLE)?));
    version.is_some() && header != HEADER.as_bytes()
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A registry writes from here on.
    Host(Host),
    /// A process is about to be started.
    Intent {
        registry: u64,
        process: ProcessId,
        life: Life,
        session: SessionId,
    },
    /// It runs.
    Alive {
        registry: u64,
        process: ProcessId,
        identity: Identity,
    },
    /// It was not started after all.
    Cancelled { registry: u64, process: ProcessId },
    /// It is dead, by the kernel's word.
    Gone { registry: u64, process: ProcessId },
    /// It was given up, and is to be left alone.
    Detached { registry: u64, process: ProcessId },
    /// Nothing is left of this life of a session, descendants included as far as the registry could see.
    Over { registry: u64, life: Life },
    /// All that the registry had was given up.
    Released { registry: u64 },
    /// Nothing is left of what the registry had.
    Settled { registry: u64 },
}

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) registry: u64,
    pub(crate) name: String,
    pub(crate) boot: u128,
    pub(crate) pid_namespace: u64,
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) inode: u64,
    /// How it marks in a limit, if it does.
    pub(crate) limit_mark: Option<LimitMark>,
}

/// Which process it was, in the owner's pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In clock ticks since boot; 0 where it was not read, because the inode says more.
    pub(crate) start: u64,
    /// Of its pidfd; 0 where the kernel has none.
    pub(crate) inode: u64,
}

impl Record {
    /// Appends the record as a line, its end included.
    pub(crate) fn encode(&self, to: &mut String) {
        let checksum_at = to.len();
        to.push_str("00000000 ");
        let text_at = to.len();
        self.encode_text(to);
        let checksum = format!("{:08x}", crc32(&to.as_bytes()[text_at..]));
        to.replace_range(checksum_at..checksum_at + checksum.len(), &checksum);
        to.push('\n');
    }

    fn encode_text(&self, to: &mut String) {
        // Writing into a String cannot fail.
        let _ = match self {
            Self::Host(host) => {
                host.encode(to);
                Ok(())
            }
            Self::Intent {
                registry,
                process,
                life,
                session,
            } => write!(to, "intent {registry:016x} {process} {} {session}", life.0),
            Self::Alive {
                registry,
                process,
                identity: Identity { pid, start, inode },
            } => write!(to, "alive {registry:016x} {process} {pid} {start} {inode}"),
            Self::Cancelled { registry, process } => write!(to, "cancel {registry:016x} {process}"),
            Self::Gone { registry, process } => write!(to, "gone {registry:016x} {process}"),
            Self::Detached { registry, process } => {
                write!(to, "detached {registry:016x} {process}")
            }
            Self::Over { registry, life } => write!(to, "over {registry:016x} {}", life.0),
            Self::Released { registry } => write!(to, "released {registry:016x}"),
            Self::Settled { registry } => write!(to, "settled {registry:016x}"),
        };
    }

    /// Understands a line without its end. `None` for one that is damaged, or of a kind that this version does not know.
    pub(crate) fn decode(line: &[u8]) -> Option<Self> {
        let (checksum, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        if u128::from(crc32(text.as_bytes())) != mark::hexadecimal(checksum, 8)? {
            return None;
        }
        let mut fields = Fields(text.split(' '));
        let record = Self::of_kind(fields.text()?, &mut fields)?;
        fields.end()?;
        Some(record)
    }

    fn of_kind(kind: &str, fields: &mut Fields<'_>) -> Option<Self> {
        if kind == "host" {
            return Host::decode(fields).map(Self::Host);
        }
        let registry = fields.registry()?;
        Some(match kind {
            "intent" => Self::Intent {
                registry,
                process: fields.process()?,
                life: Life(fields.number()?),
                session: SessionId(fields.number()?),
            },
            "alive" => Self::Alive {
                registry,
                process: fields.process()?,
                identity: Identity {
                    pid: fields.number()?.try_into().ok()?,
                    start: fields.number()?,
                    inode: fields.number()?,
                },
            },
            "cancel" => Self::Cancelled {
                registry,
                process: fields.process()?,
            },
            "gone" => Self::Gone {
                registry,
                process: fields.process()?,
            },
            "detached" => Self::Detached {
                registry,
                process: fields.process()?,
            },
            "over" => Self::Over {
                registry,
                life: Life(fields.number()?),
            },
            "released" => Self::Released { registry },
            "settled" => Self::Settled { registry },
            _ => return None,
        })
    }
}

impl Host {
    fn encode(&self, to: &mut String) {
        // Writing into a String cannot fail.
        let _ = write!(
            to,
            "host {:032x} {} {:016x} ",
            self.boot, self.pid_namespace, self.registry
        );
        mark::encode_name(mark::cut(&self.name, mark::MAX_NAME), to);
        let _ = write!(to, " {} {} {} ", self.pid, self.start, self.inode);
        match self.limit_mark.map(LimitMark::hard_above) {
            None => to.push('-'),
            Some(None) => to.push('0'),
            Some(Some(hard)) => {
                let _ = write!(to, "{hard}");
            }
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let boot = mark::hexadecimal(fields.text()?, 32)?;
        let pid_namespace = fields.number()?;
        let registry = fields.registry()?;
        let name = mark::decode_name(fields.text()?)?;
        let pid = fields.number()?.try_into().ok()?;
        let (start, inode) = (fields.number()?, fields.number()?);
        let limit_mark = match fields.text()? {
            "-" => None,
            "0" => Some(LimitMark::outermost(registry)),
            hard => Some(LimitMark::within(mark::decimal(hard)?, registry)?),
        };
        Some(Self {
            registry,
            name,
            boot,
            pid_namespace,
            pid,
            start,
            inode,
            limit_mark,
        })
    }
}

/// What is left of a line.
struct Fields<'a>(std::str::Split<'a, char>);

impl<'a> Fields<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn number(&mut self) -> Option<u64> {
        mark::decimal(self.text()?)
    }

    fn process(&mut self) -> Option<ProcessId> {
        self.number().map(ProcessId)
    }

    fn registry(&mut self) -> Option<u64> {
        mark::hexadecimal(self.text()?, 16)?.try_into().ok()
    }

    fn end(&mut self) -> Option<()> {
        self.text().is_none().then_some(())
    }
}

#[cfg(fuzzing)]
impl Record {
    /// Whether it speaks of a process or a life with the number 0, which none has.
    pub(super) fn is_of_none(&self) -> bool {
        match *self {
            Self::Intent { process, life, .. } => process.0 == 0 || life.0 == 0,
            Self::Alive { process, .. }
            | Self::Cancelled { process, .. }
            | Self::Gone { process, .. }
            | Self::Detached { process, .. } => process.0 == 0,
            Self::Over { life, .. } => life.0 == 0,
            Self::Host(_) | Self::Released { .. } | Self::Settled { .. } => false,
        }
    }
}

/// Any text as a line whose checksum is right, its end included.
#[cfg(fuzzing)]
pub(super) fn seal(text: &[u8]) -> Vec<u8> {
    let checksum = format!("{:08x} ", crc32(text));
    [checksum.as_bytes(), text, b"\n"].concat()
}

/// The CRC-32 of Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    };
    !bytes.iter().fold(u32::MAX, step)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    let mut number: u32 = 0;
    while index < table.len() {
        let mut value = number;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                0xEDB8_8320 ^ (value >> 1)
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
        number += 1;
    }
    table
};

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_host() -> impl Strategy<Value = Host> {
        let numbers = (any::<u64>(), any::<u128>(), any::<[u64; 3]>(), any::<u32>());
        let level = prop_oneof![
            Just(None),
            Just(Some(0)),
            (1_u64 << 62..1 << 63).prop_map(Some)
        ];
        (numbers, "\\PC{1,16}", level).prop_map(|(numbers, name, level)| {
            let (registry, boot, [pid_namespace, start, inode], pid) = numbers;
            let limit_mark = level.map(|hard| {
                LimitMark::within(hard, registry).unwrap_or(LimitMark::outermost(registry))
            });
            Host {
                registry,
                name: mark::cut(&name, mark::MAX_NAME).to_owned(),
                boot,
                pid_namespace,
                pid,
                start,
                inode,
                limit_mark,
            }
        })
    }

    /// Any record, of one of few registries and processes so that they concern each other.
    pub(in crate::ledger) fn any_record() -> impl Strategy<Value = Record> {
        let process = (0..3_u64, 0..5_u64).prop_map(|(registry, id)| (registry, ProcessId(id)));
        prop_oneof![
            any_host().prop_map(|host| Record::Host(Host {
                registry: host.registry % 3,
                limit_mark: host
                    .limit_mark
                    .map(|_| LimitMark::outermost(host.registry % 3)),
                ..host
            })),
            (process.clone(), 1..4_u64, any::<u64>()).prop_map(|((registry, process), life, n)| {
                Record::Intent {
                    registry,
                    process,
                    life: Life(life),
                    session: SessionId(n),
                }
            }),
            (process.clone(), any::<u32>(), any::<[u64; 2]>()).prop_map(
                |((registry, process), pid, [start, inode])| Record::Alive {
                    registry,
                    process,
                    identity: Identity { pid, start, inode },
                }
            ),
            process
                .clone()
                .prop_map(|(registry, process)| Record::Cancelled { registry, process }),
            process
                .clone()
                .prop_map(|(registry, process)| Record::Gone { registry, process }),
            process.prop_map(|(registry, process)| Record::Detached { registry, process }),
            (0..3_u64, 0..4_u64).prop_map(|(registry, life)| Record::Over {
                registry,
                life: Life(life)
            }),
            (0..3_u64).prop_map(|registry| Record::Released { registry }),
            (0..3_u64).prop_map(|registry| Record::Settled { registry }),
        ]
    }

    fn line(record: &Record) -> String {
        let mut line = String::new();
        record.encode(&mut line);
        line
    }

    /// The file is read by later versions. This test changes with the number in the header, or never.
    #[test]
    fn the_format_is_fixed() {
        let host = Host {
            registry: 0x2a,
            name: "ci agent".to_owned(),
            boot: 0xab,
            pid_namespace: 4_026_531_836,
            pid: 4711,
            start: 123_456,
            inode: 789,
            limit_mark: Some(LimitMark::outermost(0x2a)),
        };
        let records = [
            (
                Record::Host(host),
                "host 000000000000000000000000000000ab 4026531836 000000000000002a ci%20agent 4711 123456 789 0",
            ),
            (
                Record::Intent {
                    registry: 0x2a,
                    process: ProcessId(1),
                    life: Life(3),
                    session: SessionId(7),
                },
                "intent 000000000000002a 1 3 7",
            ),
            (
                Record::Alive {
                    registry: 0x2a,
                    process: ProcessId(1),
                    identity: Identity {
                        pid: 5000,
                        start: 0,
                        inode: 9,
                    },
                },
                "alive 000000000000002a 1 5000 0 9",
            ),
        ];
        for (record, text) in records {
            let checksum = crc32(text.as_bytes());
            assert_eq!(line(&record), format!("{checksum:08x} {text}\n"));
        }
        // The check value of the catalogues.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(HEADER, "procession ledger 1");
    }

    /// Another version may write more behind what is known here; that is another record.
    #[test]
    fn a_line_with_more_behind_a_record_is_none() {
        for (text, is_one) in [
            ("settled 000000000000002a", true),
            ("settled 000000000000002a 1", false),
            ("settled 000000000000002a ", false),
        ] {
            let line = format!("{:08x} {text}", crc32(text.as_bytes()));
            assert_eq!(Record::decode(line.as_bytes()).is_some(), is_one, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in any_record()) {
            let line = line(&record);
            prop_assert_eq!(Record::decode(line.trim_end().as_bytes()), Some(record));
        }

        #[test]
        fn any_host_is_read_as_it_was_written(host in any_host()) {
            let record = Record::Host(host);
            prop_assert_eq!(Record::decode(line(&record).trim_end().as_bytes()), Some(record));
        }

        #[test]
        fn a_flipped_bit_is_seen(record in any_record(), at: prop::sample::Index, bit in 0..8) {
            let mut bytes = line(&record).into_bytes();
            bytes.pop();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(Record::decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Record::decode(&bytes);
        }
    }
}
