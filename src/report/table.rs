//! How a report is laid out for a person.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::time::Duration;

use super::member::{How, MemberReport};
use super::strength::{Strength, Survivor};
use super::{Origin, Reason, ReportParts};

/// A command is cut to so many characters: with the other columns that is about the width of a
/// terminal.
const COMMAND_WIDTH: usize = 40;

const COLUMNS: usize = 6;

/// The heads of the columns, and whether what stands below is a number, which goes to the right.
const HEADS: [(&str, bool); COLUMNS] = [
    ("PROCESS", true),
    ("PID", true),
    ("COMMAND", false),
    ("HOW", false),
    ("EXIT", false),
    ("TOOK", true),
];

/// The headline, a row for each member, a line for each survivor and each claim.
pub(super) fn write_report(report: &ReportParts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write_headline(report, f)?;
    if !report.members.is_empty() {
        write_members(&report.members, f)?;
    }
    if let Strength::Unconfirmed { survivors } = &report.strength {
        write_processes("still alive", survivors, f)?;
    }
    write_processes("claims, not ended", &report.claims, f)
}

/// The label, or else the command line, as one short line without control characters.
pub(super) fn command(label: Option<&str>, command_line: &[OsString]) -> String {
    let text = match (label, command_line) {
        (Some(label), _) => escaped(label),
        (None, []) => String::from("(unknown)"),
        (None, args) => {
            let args: Vec<_> = args.iter().map(|arg| quoted(arg)).collect();
            args.join(" ")
        }
    };
    match text.char_indices().nth(COMMAND_WIDTH) {
        // The ellipsis takes the place of one character.
        Some(_) => {
            let kept = text.chars().take(COMMAND_WIDTH - 1);
            kept.chain(['…']).collect()
        }
        None => text,
    }
}

fn write_headline(report: &ReportParts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "session {}", report.session)?;
    if let Some(label) = &report.label {
        write!(f, " {label:?}")?;
    }
    if report.reason != Reason::Host {
        write!(f, " ({})", report.reason)?;
    }
    f.write_str(": ")?;
    write_summary(report, f)
}

/// The headline without the session that it is about.
pub(super) fn write_summary(report: &ReportParts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_clean = match &report.strength {
        Strength::Proven(_) | Strength::Observed(_) => {
            f.write_str("clean")?;
            true
        }
        Strength::Unconfirmed { survivors } => {
            f.write_str("NOT CLEAN")?;
            if !survivors.is_empty() {
                write!(f, ", {} still alive", survivors.len())?;
            }
            false
        }
    };
    match report.members.len() {
        0 => f.write_str(", no members")?,
        1 => f.write_str(", 1 member")?,
        n => write!(f, ", {n} members")?,
    }
    write_asides(report, f)?;
    write!(f, ", {}, {}", Took(report.took), report.strength)?;
    if is_clean && !report.covers_descendants {
        f.write_str(": descendants not claimed")?;
    }
    Ok(())
}

/// What the number of members alone does not say.
fn write_asides(report: &ReportParts, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let found = |member: &&MemberReport| member.origin == Origin::Found;
    let left_over = report.members.iter().filter(found).count();
    match (left_over, report.gone_before) {
        (0, 0) => Ok(()),
        (0, gone) => write!(f, " ({gone} gone before)"),
        (left, 0) => write!(f, " ({left} left over)"),
        (left, gone) => write!(f, " ({left} left over, {gone} gone before)"),
    }
}

fn write_members(members: &[MemberReport], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let rows: Vec<_> = members.iter().map(row).collect();
    let mut widths = HEADS.map(|(head, _)| head.len());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    write_row(&HEADS.map(|(head, _)| head), &widths, f)?;
    for row in &rows {
        write_row(row, &widths, f)?;
    }
    Ok(())
}

fn row(member: &MemberReport) -> [String; COLUMNS] {
    let how = match member.how {
        // The cause stands below, with the other survivors.
        How::Survived(_) => String::from("SURVIVED"),
        How::AlreadyGone | How::At(_) => member.how.to_string(),
    };
    [
        member.process.to_string(),
        member.pid.to_string(),
        command(member.label.as_deref(), &member.command_line),
        how,
        member
            .exit
            .as_ref()
            .map_or_else(|| String::from("-"), ToString::to_string),
        Took(member.took).to_string(),
    ]
}

fn write_row<T: AsRef<str>>(
    cells: &[T; COLUMNS],
    widths: &[usize; COLUMNS],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("\n")?;
    for ((cell, width), (_, is_number)) in cells.iter().zip(widths).zip(HEADS) {
        let cell = cell.as_ref();
        if is_number {
            write!(f, "  {cell:>width$}")?;
        } else {
            write!(f, "  {cell:<width$}")?;
        }
    }
    Ok(())
}

fn write_processes(title: &str, processes: &[Survivor], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if processes.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {title}:")?;
    for process in processes {
        write!(f, "\n    {process}")?;
    }
    Ok(())
}

/// An argument as it could be typed, near enough for a person to see where it begins and ends.
fn quoted(arg: &OsStr) -> String {
    let text = escaped(&arg.to_string_lossy());
    if !text.is_empty() && !text.contains(char::is_whitespace) {
        text
    } else if text.contains('\'') {
        format!("\"{text}\"")
    } else {
        format!("'{text}'")
    }
}

/// The text without anything that a terminal would act on: control characters, and those that only
/// change others.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => safe.push(character),
            other => safe.extend(other.escape_debug()),
        }
    }
    safe
}

/// A duration to three digits or so.
pub(super) struct Took(pub(super) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        if time.is_zero() {
            f.write_str("0s")
        } else if time < Duration::from_millis(1) {
            write!(f, "{:.0}us", time.as_secs_f64() * 1e6)
        } else if time < Duration::from_secs(1) {
            write!(f, "{:.1}ms", time.as_secs_f64() * 1e3)
        } else {
            write!(f, "{:.2}s", time.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::exit::{Exit, Status};
    use crate::report::{Means, SessionReport, SurvivalCause};
    use crate::session::{ProcessId, SessionId};
    use crate::signal::Signal;
    use crate::stop::Rung;

    fn exit(status: Status, asked: Option<(Signal, Reason)>) -> Exit {
        #[expect(
            clippy::disallowed_methods,
            reason = "an exit has a time, which no table shows"
        )]
        Exit::from_parts(status, asked, Instant::now())
    }

    fn killed() -> Exit {
        let signal = Signal::KILL;
        let core_dumped = false;
        exit(
            Status::Signal {
                signal,
                core_dumped,
            },
            Some((signal, Reason::Host)),
        )
    }

    fn member(id: u64, args: &[&str], how: How, exit: Option<Exit>) -> MemberReport {
        let pid = 4710 + u32::try_from(id).unwrap();
        let mut member = MemberReport::from_parts(ProcessId(id), pid, Origin::Spawned, how, exit);
        member.command_line = args.iter().map(OsString::from).collect();
        member
    }

    fn parts(strength: Strength, members: Vec<MemberReport>) -> ReportParts {
        ReportParts {
            session: SessionId(7),
            label: None,
            reason: Reason::Host,
            strength,
            members,
            claims: Vec::new(),
            gone_before: 0,
            took: Duration::from_millis(5010),
            covers_descendants: false,
            usage: None,
        }
    }

    fn printed(parts: ReportParts) -> String {
        SessionReport::new(parts).to_string()
    }

    #[test]
    fn a_clean_report_is_a_headline_and_a_row_for_each_member() {
        let mut members = vec![
            member(
                1,
                &["server", "--stdio"],
                How::At(Rung::Signal(Signal::TERM)),
                Some(exit(Status::Code(0), None)),
            ),
            member(2, &["sleep", "1000"], How::At(Rung::Kill), Some(killed())),
            member(13, &[], How::AlreadyGone, Some(exit(Status::Unknown, None))),
        ];
        members[0].took = Duration::from_micros(12_345);
        members[1].took = Duration::from_millis(5006);
        members[2].label = Some("the\nlast".into());
        let mut parts = parts(Strength::Observed(Means::Leader), members);
        parts.label = Some("build".into());
        assert_eq!(
            printed(parts),
            "\
session 7 \"build\": clean, 3 members, 5.01s, observed (leader): descendants not claimed
  PROCESS   PID  COMMAND         HOW           EXIT                                        TOOK
        1  4711  server --stdio  SIGTERM       exited with code 0                        12.3ms
        2  4712  sleep 1000      SIGKILL       killed by SIGKILL (asked: SIGKILL, host)   5.01s
       13  4723  the\\nlast       already gone  status unknown                                0s"
        );
    }

    #[test]
    fn what_is_still_alive_is_named_with_its_cause() {
        let cause = SurvivalCause::Uninterruptible;
        let survivor =
            |id, pid, cause| Survivor::from_parts(ProcessId(id), pid, vec!["dd".into()], cause);
        let survivors = vec![survivor(1, 4711, cause)];
        let members = vec![member(1, &["dd"], How::Survived(cause), None)];
        let mut parts = parts(Strength::Unconfirmed { survivors }, members);
        parts.claims = vec![survivor(9, 99, SurvivalCause::Unknown)];
        parts.reason = Reason::TimeLimit;
        parts.gone_before = 2;
        assert_eq!(
            printed(parts),
            "\
session 7 (time limit): NOT CLEAN, 1 still alive, 1 member (2 gone before), 5.01s, unconfirmed
  PROCESS   PID  COMMAND  HOW       EXIT  TOOK
        1  4711  dd       SURVIVED  -       0s
  still alive:
    process 1, pid 4711, dd (in uninterruptible sleep)
  claims, not ended:
    process 9, pid 99, dd (cause unknown)"
        );
    }

    #[test]
    fn a_session_without_members_is_one_line() {
        let mut parts = parts(Strength::Observed(Means::Group), Vec::new());
        parts.covers_descendants = true;
        parts.took = Duration::ZERO;
        assert_eq!(
            printed(parts),
            "session 7: clean, no members, 0s, observed (group)"
        );
    }

    #[test]
    fn leftovers_are_counted_in_the_headline() {
        let mut found = member(1, &["a"], How::At(Rung::Kill), Some(killed()));
        found.origin = Origin::Found;
        let registered = member(2, &["b"], How::At(Rung::Kill), Some(killed()));
        let mut parts = parts(Strength::Observed(Means::Group), vec![found, registered]);
        parts.gone_before = 3;
        let text = printed(parts);
        assert!(
            text.starts_with("session 7: clean, 2 members (1 left over, 3 gone before), "),
            "{text}"
        );
    }

    #[test]
    fn a_long_list_stays_complete_and_aligned() {
        let members: Vec<_> = (1..=100)
            .map(|id| member(id, &["sleep", "1000"], How::At(Rung::Kill), Some(killed())))
            .collect();
        let text = printed(parts(Strength::Observed(Means::Leader), members));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 102);
        for line in &lines[1..] {
            assert_eq!(line.len(), lines[1].len());
        }
    }

    #[test]
    fn a_command_line_cannot_write_to_the_terminal() {
        let line = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            command(None, &args)
        };
        assert_eq!(
            line(&["a\x1b[2J", "b\nc", "\u{202e}d"]),
            "a\\u{1b}[2J b\\nc \\u{202e}d"
        );
        assert_eq!(line(&["sh", "-c", "echo 1", ""]), "sh -c 'echo 1' ''");
        assert_eq!(line(&["say", "it's me"]), "say \"it's me\"");
        assert_eq!(line(&["C:\\x", "größe"]), "C:\\x größe");
        assert_eq!(line(&[]), "(unknown)");
    }

    #[test]
    fn a_long_command_line_is_cut_to_the_width_between_two_characters() {
        let exact = "ä".repeat(COMMAND_WIDTH);
        assert_eq!(command(None, &[OsString::from(&exact)]), exact);

        let longer = command(None, &[OsString::from(exact + "b")]);
        assert_eq!(longer.chars().count(), COMMAND_WIDTH);
        assert!(longer.ends_with("ä…"), "{longer}");
    }

    #[test]
    fn a_duration_has_the_unit_that_fits() {
        let took = |time| Took(time).to_string();
        assert_eq!(took(Duration::ZERO), "0s");
        assert_eq!(took(Duration::from_nanos(450_200)), "450us");
        assert_eq!(took(Duration::from_micros(12_340)), "12.3ms");
        assert_eq!(took(Duration::from_millis(61_500)), "61.50s");
    }
}
