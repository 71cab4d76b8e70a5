//! From a [`Command`] to what the back end is told.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;

use super::builder::Command;
use super::stdio::Stream;
use crate::launch::{Failure, Setup};
use crate::mark;
use crate::sys::{self, ChildMask, Grouping, Limit, Orders, Passed};

/// Where programs are if nobody says.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// The kernel takes no longer path.
const LONGEST_PATH: usize = 4096;

/// Our ends of the pipes that were asked for.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

impl Command {
    /// Checks everything that can be checked, and opens what the child is given.
    pub(super) fn orders(&self, setup: &Setup<'_>) -> Result<(Orders, Ends), Failure> {
        let mut environment = self.environment.capture();
        if let Some(token) = &setup.token {
            match environment
                .iter_mut()
                .find(|(name, _)| name == mark::VARIABLE)
            {
                Some((_, own)) => *own = mark::nest(Some(own), token),
                None => environment.push((mark::VARIABLE.into(), mark::nest(None, token))),
            }
        }
        let path = environment.iter().find(|(name, _)| name == "PATH");
        let programs = programs(&self.program, path.map(|(_, path)| path))?;
        let grouping = self.grouping(setup)?;
        let arg0 = self.arg0.as_ref().unwrap_or(&self.program);
        let argv = std::iter::once(arg0).chain(&self.args);
        let mut orders = Orders {
            programs,
            argv: argv
                .map(|arg| text(arg.clone(), "an argument contains a NUL"))
                .collect::<Result<_, _>>()?,
            environment: variables(environment)?,
            directory: match &self.directory {
                Some(directory) => Some(text(
                    directory.clone().into_os_string(),
                    "the directory contains a NUL",
                )?),
                None => None,
            },
            reset_ignored: self.reset_ignored,
            mask: if self.reset_mask {
                ChildMask::Empty
            } else {
                ChildMask::Set(sys::signal_mask())
            },
            grouping,
            nice: self.niceness()?,
            limits: self.limits(setup)?,
            umask: self.creation_mask()?,
            cgroup: setup.leaf.map(sys::Leaf::door),
            groups: self.groups.clone(),
            drop_groups: self.uid.is_some() && self.groups.is_none(),
            gid: self.gid,
            uid: self.uid,
            parent_death_signal: self.parent_death_signal.map(|signal| signal.0),
            descriptors: self.passed()?,
            close_others: self.close_others,
        };
        let ends = self.open_streams(&mut orders).map_err(Failure::streams)?;
        Ok((orders, ends))
    }

    fn grouping(&self, setup: &Setup<'_>) -> Result<Grouping, Failure> {
        match self.process_group {
            Some(group) if group < 0 => Err(Failure::refused("a process group is negative")),
            Some(group) if group > 0 && self.new_session => Err(Failure::refused(
                "the leader of a new session cannot be in another's group",
            )),
            Some(group) if group > 0 && setup.own_group => Err(Failure::refused(
                "the tier Group has the process in a group of its own, not in another's",
            )),
            Some(_) | None if self.new_session => Ok(Grouping::OwnSession),
            Some(_) | None if setup.own_group => Ok(Grouping::Own),
            Some(0) => Ok(Grouping::Own),
            Some(group) => Ok(Grouping::Join(group)),
            None => Ok(Grouping::Inherit),
        }
    }

    fn niceness(&self) -> Result<Option<i32>, Failure> {
        match self.nice {
            Some(nice) if !(-20..=19).contains(&nice) => {
                Err(Failure::refused("a niceness is from -20 to 19"))
            }
            nice => Ok(nice),
        }
    }

    fn creation_mask(&self) -> Result<Option<u32>, Failure> {
        match self.umask {
            Some(mask) if mask > 0o777 => Err(Failure::refused("a umask has nine bits")),
            mask => Ok(mask),
        }
    }

    fn limits(&self, setup: &Setup<'_>) -> Result<Vec<Limit>, Failure> {
        let limit = |&(resource, soft, hard): &(super::Resource, Option<u64>, Option<u64>)| {
            // The kernel's "unlimited" is the largest number.
            let (soft, hard) = (soft.unwrap_or(u64::MAX), hard.unwrap_or(u64::MAX));
            if soft > hard {
                return Err(Failure::refused("a soft limit is above the hard one"));
            }
            Ok(Limit {
                resource: resource.code(),
                soft,
                hard,
            })
        };
        let mark = setup.limit_mark.map(|mark| {
            Ok(Limit {
                resource: sys::LIMIT_OF_MARK,
                soft: mark.soft,
                hard: mark.hard,
            })
        });
        self.limits.iter().map(limit).chain(mark).collect()
    }

    fn passed(&self) -> Result<Vec<Passed>, Failure> {
        let mut passed: Vec<Passed> = Vec::new();
        for (from, number) in &self.descriptors {
            // The largest is what an "other one above all" has to go beyond.
            if *number < 0 || *number == i32::MAX {
                return Err(Failure::refused("no descriptor can have this number"));
            }
            if passed.iter().any(|other| other.number == *number) {
                return Err(Failure::refused("two descriptors are to have one number"));
            }
            let stream = usize::try_from(*number)
                .ok()
                .and_then(|number| self.streams.get(number));
            if stream.is_some_and(|stream| !matches!(stream, Stream::Inherit)) {
                return Err(Failure::refused("a standard stream is asked for twice"));
            }
            passed.push(Passed {
                from: Arc::clone(from),
                number: *number,
            });
        }
        Ok(passed)
    }

    fn open_streams(&self, orders: &mut Orders) -> io::Result<Ends> {
        let mut ends = Ends::default();
        let mut null = None;
        for (number, stream) in (0..).zip(&self.streams) {
            let from = match stream {
                Stream::Inherit => continue,
                Stream::Descriptor(descriptor) => Arc::clone(descriptor),
                Stream::Null => match &null {
                    Some(null) => Arc::clone(null),
                    None => Arc::clone(null.insert(Arc::new(sys::null_device()?))),
                },
                Stream::Piped => Arc::new(ends.pipe(number)?),
            };
            orders.descriptors.push(Passed { from, number });
        }
        Ok(ends)
    }
}

impl Ends {
    /// Keeps our end of a pipe, and returns the child's.
    fn pipe(&mut self, number: i32) -> io::Result<OwnedFd> {
        let (reader, writer) = sys::pipe()?;
        Ok(match number {
            0 => {
                self.stdin = Some(writer.into());
                reader
            }
            1 => {
                self.stdout = Some(reader.into());
                writer
            }
            _ => {
                self.stderr = Some(reader.into());
                writer
            }
        })
    }
}

fn text(from: OsString, refusal: &'static str) -> Result<CString, Failure> {
    CString::new(from.into_vec()).map_err(|_| Failure::refused(refusal))
}

fn variables(environment: Vec<(OsString, OsString)>) -> Result<Vec<CString>, Failure> {
    let one = |(name, value): (OsString, OsString)| {
        // A name that begins with one is what some shells keep for themselves.
        if name.as_bytes().iter().skip(1).any(|byte| *byte == b'=') || name.is_empty() {
            return Err(Failure::refused(
                "a variable's name is empty or contains an equals sign",
            ));
        }
        // With room for the NUL as well: this is done for each variable of each launch.
        let mut both = name.into_vec();
        both.reserve_exact(value.len() + 2);
        both.push(b'=');
        both.extend_from_slice(value.as_bytes());
        CString::new(both)
            .map_err(|_| Failure::refused("a variable of the environment contains a NUL"))
    };
    environment.into_iter().map(one).collect()
}

/// The paths at which `execvp` would look for a program, in its order.
fn programs(program: &OsStr, path: Option<&OsString>) -> Result<Vec<CString>, Failure> {
    const REFUSAL: &str = "the program contains a NUL";
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![text(program.to_owned(), REFUSAL)?]);
    }
    let path = path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    let mut programs = Vec::new();
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        let mut whole = directory.to_vec();
        // An empty entry is the current directory.
        if !whole.is_empty() {
            whole.push(b'/');
        }
        whole.extend_from_slice(program.as_bytes());
        if whole.len() < LONGEST_PATH {
            programs.push(text(OsString::from_vec(whole), REFUSAL)?);
        }
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(program: &str, path: Option<&str>) -> Vec<String> {
        let path = path.map(OsString::from);
        let programs = programs(OsStr::new(program), path.as_ref()).expect("no NUL");
        let text = |path: CString| path.into_string().expect("ASCII");
        programs.into_iter().map(text).collect()
    }

    #[test]
    fn a_program_is_looked_for_where_execvp_would() {
        assert_eq!(found("x", Some("/a:/b")), ["/a/x", "/b/x"]);
        assert_eq!(found("x", Some(":/b:")), ["x", "/b/x", "x"]);
        assert_eq!(found("x", Some("")), ["x"]);
        assert_eq!(found("x", None), ["/bin/x", "/usr/bin/x"]);
        assert_eq!(found("./x", Some("/a")), ["./x"]);
        let long = "d".repeat(LONGEST_PATH);
        assert_eq!(found("x", Some(&format!("{long}:/b"))), ["/b/x"]);
    }
}
