//! A way in a process of its own, and the bench's end of it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::Outcome;
use crate::kids::CHILD;
use crate::stats::Samples;
use crate::ways;

const WORKER: &str = "--worker";

/// Which way, in which surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub way: &'static str,
    /// How many living children it has beside those that are measured, or how many are measured.
    pub children: usize,
    /// Touched memory of the host.
    pub mebibytes: usize,
}

impl Spec {
    pub const fn of(way: &'static str) -> Self {
        Self {
            way,
            children: 0,
            mebibytes: 0,
        }
    }

    pub const fn among(way: &'static str, children: usize) -> Self {
        Self {
            way,
            children,
            mebibytes: 0,
        }
    }
}

/// If this process is a worker: does its work, and says that it did.
pub fn run_if_worker() -> Outcome<bool> {
    let args: Vec<String> = std::env::args().collect();
    let [_, flag, way, children, mebibytes] = args.as_slice() else {
        return Ok(false);
    };
    if flag != WORKER {
        return Ok(false);
    }
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;

    // Touched, so that a fork would have its page tables to copy.
    let ballast = vec![1_u8; mebibytes.parse::<usize>()? << 20];
    let mut sample = ways::find(way, children.parse()?)?;
    println!("ready");
    for line in std::io::stdin().lines() {
        line?;
        let values: Vec<String> = sample()?.iter().map(u64::to_string).collect();
        println!("{}", values.join(" "));
    }
    std::hint::black_box(&ballast);
    Ok(true)
}

/// The bench's end of a worker.
#[derive(Debug)]
pub struct Worker {
    process: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one and returns when it is set up.
    pub fn start(spec: &Spec, child: &str) -> Outcome<Self> {
        // SIGTERM is ignored by whoever inherits that: such a way's children are stubborn from their first
        // instruction, without a shell in each of them.
        let script = if spec.way.starts_with("stubborn/") {
            "trap '' TERM; exec \"$0\" \"$@\""
        } else {
            "exec \"$0\" \"$@\""
        };
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe()?)
            .args([WORKER, spec.way])
            .arg(spec.children.to_string())
            .arg(spec.mebibytes.to_string())
            .env(CHILD, child)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = process.stdin.take().ok_or("a worker without stdin")?;
        let answer = process.stdout.take().ok_or("a worker without stdout")?;
        let mut worker = Self {
            process,
            ask,
            answer: BufReader::new(answer),
        };
        let hello = worker.line()?;
        if hello != "ready" {
            return Err(format!("{}: the worker failed to set up", spec.way).into());
        }
        Ok(worker)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks for one sample.
    pub fn sample(&mut self) -> Outcome<Vec<u64>> {
        self.ask.write_all(b"\n")?;
        let line = self.line()?;
        let values = line.split_whitespace().map(str::parse);
        Ok(values.collect::<Result<Vec<u64>, _>>()?)
    }

    /// Its standard input closes, it leaves.
    pub fn end(self) -> Outcome<()> {
        let Self {
            mut process, ask, ..
        } = self;
        drop(ask);
        let status = process.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(format!("a worker ended with {status}").into())
    }

    fn line(&mut self) -> Outcome<String> {
        // It never has more than one line to say, so nothing is buffered while it is silent.
        let mut fds = [PollFd::new(self.answer.get_ref(), PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        if poll(&mut fds, Some(&patience))? == 0 {
            return Err("a worker was silent for a minute".into());
        }
        let mut line = String::new();
        self.answer.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

/// What the rounds brought: for each spec the first number of each sample, the sum of the second ones, and the third
/// ones where there are any.
#[derive(Debug)]
pub struct Measured {
    pub samples: Vec<Samples>,
    pub extra: Vec<u64>,
    pub third: Vec<Samples>,
}

/// Asks every way once a round, forwards and backwards by turns, so that no way always follows the same one.
pub fn measure(specs: &[Spec], rounds: usize, child: &str) -> Outcome<Measured> {
    let mut workers = specs
        .iter()
        .map(|spec| Worker::start(spec, child))
        .collect::<Outcome<Vec<_>>>()?;
    let mut values = vec![Vec::with_capacity(rounds); specs.len()];
    let mut extra = vec![0; specs.len()];
    let mut third = vec![Vec::new(); specs.len()];
    let warm_up = rounds.div_ceil(20).min(10);
    for round in 0..warm_up + rounds {
        let forwards = 0..specs.len();
        let order: Vec<usize> = if round % 2 == 0 {
            forwards.collect()
        } else {
            forwards.rev().collect()
        };
        for index in order {
            let sample = workers[index]
                .sample()
                .map_err(|error| format!("{}: {error}", specs[index].way))?;
            if round >= warm_up {
                values[index].push(*sample.first().ok_or("an empty sample")?);
                extra[index] += sample.get(1).copied().unwrap_or(0);
                third[index].extend(sample.get(2));
            }
        }
    }
    for worker in workers {
        worker.end()?;
    }
    Ok(Measured {
        samples: values.into_iter().map(Samples::new).collect(),
        extra,
        third: third.into_iter().map(Samples::new).collect(),
    })
}
