//! The child of the benches: `quit`, `stamp`, `ready` or `idle`. None of them outlives its standard input.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

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
