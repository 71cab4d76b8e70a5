//! The child of the benches: `quit`, `stamp`, `ready`, `idle` or `tree`, and what is in that. None of them outlives its standard input.

use std::io::{Read, Write};
use std::process::{Command, ExitCode};
use std::time::Duration;

use benches::kids::DESCENDANTS;

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    match act(&mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn act(mode: &str) -> std::io::Result<()> {
    match mode {
        "quit" => Ok(()),
        "stamp" => stamp(),
        "ready" => {
            std::io::stdout().write_all(b".\n")?;
            idle()
        }
        "idle" => idle(),
        "tree" => tree(false),
        "tree-half" => tree(true),
        "leaf" => leaf(),
        "leaf-session" => {
            rustix::process::setsid()?;
            leaf()
        }
        _ => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}

/// Waits for one byte, gives the asker time to fall asleep in its wait, says what time it is, and leaves at once.
fn stamp() -> std::io::Result<()> {
    std::io::stdin().read_exact(&mut [0])?;
    std::thread::sleep(Duration::from_millis(2));
    rustix::io::write(std::io::stdout(), &benches::clock().to_ne_bytes())?;
    Ok(())
}

fn idle() -> std::io::Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// Starts its descendants, of whom `half` lead sessions of their own, and says who it is like each of them.
fn tree(half: bool) -> std::io::Result<()> {
    let own = std::env::current_exe()?;
    let mut children = Vec::new();
    for n in 0..DESCENDANTS {
        let mode = if half && n % 2 == 0 {
            "leaf-session"
        } else {
            "leaf"
        };
        children.push(Command::new(&own).arg(mode).spawn()?);
    }
    leaf()?;
    for mut child in children {
        child.wait()?;
    }
    Ok(())
}

/// Says who it is, in one write, and idles.
fn leaf() -> std::io::Result<()> {
    let line = format!("{}\n", std::process::id());
    std::io::stdout().write_all(line.as_bytes())?;
    idle()
}
