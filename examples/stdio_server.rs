//! A host of servers that speak line by line over stdin and stdout, one for each conversation: started when the
//! conversation begins, talked to, ended by closing its stdin, and noticed when it crashes.
//!
//! ```sh
//! cargo run --example stdio_server
//! ```
#![expect(clippy::print_stdout, reason = "an example that is there to be read")]

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdout, Command, Stdio};

use procession::{
    Exit, Process, Registry, Session, SessionOptions, SessionReport, SpawnOptions, Stdin,
    StopPolicy,
};

/// What each conversation talks to: it answers every line, leaves at the end of its input, and has a bug.
const SERVER: &str = r#"
while read -r word rest; do
    case $word in
        crash) kill -SEGV $$ ;;
        *) echo "$word, $rest? I am process $$." ;;
    esac
done
echo "served" >&2
"#;

/// One conversation: a session, and the server that is in it.
struct Conversation {
    session: Session,
    server: Process,
    stdin: Stdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What came of a question.
enum Answer {
    Said(String),
    /// The server is gone.
    Gone(Exit),
}

impl Conversation {
    fn begin(registry: &Registry, name: &str) -> Result<Self, Box<dyn Error>> {
        // Its own ladder: such a server leaves when its input ends, and SIGTERM is for one that does not.
        let options = SessionOptions::new()
            .label(name)
            .stop_policy(StopPolicy::stdio_server());
        let session = registry.open_session(options)?;
        let mut command = Command::new("sh");
        command.args(["-c", SERVER]);
        // What a server says on stderr goes where the host's own goes: nobody has to drain it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let server = session.spawn_with(&mut command, &SpawnOptions::new().label("server"))?;
        let stdin = server.stdin().ok_or("stdin is a pipe")?;
        // This host reads the pipe itself, line by line.
        let stdout = server.take_stdout().ok_or("stdout is a pipe")?;
        Ok(Self {
            session,
            server,
            stdin,
            answers: BufReader::new(stdout).lines(),
        })
    }

    fn ask(&mut self, question: &str) -> Result<Answer, Box<dyn Error>> {
        // To write to a server that is gone is an error; to read its answer is the end of the pipe. What became of it
        // is told by the process alone.
        let asked = writeln!(self.stdin, "{question}");
        let answer = self.answers.next().transpose();
        match (asked, answer) {
            (Ok(()), Ok(Some(answer))) => Ok(Answer::Said(answer)),
            _ => Ok(Answer::Gone(self.server.wait()?)),
        }
    }

    /// Closes the server's input, and returns when it is gone.
    fn end(&self) -> procession::Result<SessionReport> {
        self.session.end()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new()?;
    let mut conversations = [
        Conversation::begin(&registry, "alice")?,
        Conversation::begin(&registry, "bob")?,
    ];

    for (who, question) in [
        (0, "hello from alice"),
        (1, "hello from bob"),
        (1, "crash please"),
        (0, "goodbye then"),
        (1, "goodbye too"),
    ] {
        let conversation = &mut conversations[who];
        let name = conversation.session.label().unwrap_or_default().to_owned();
        println!("{name:>6} > {question}");
        match conversation.ask(question)? {
            Answer::Said(answer) => println!("{name:>6} < {answer}"),
            // Nobody had asked it to: that is what tells a crash from an end.
            Answer::Gone(exit) if exit.asked().is_none() => {
                println!("{name:>6} ! crashed: {exit}");
                // What the server may have left behind goes with its session.
                println!("{}", conversation.end()?.into_clean()?);
                *conversation = Conversation::begin(&registry, &name)?;
                println!("{name:>6} ! has a new server");
            }
            Answer::Gone(exit) => println!("{name:>6} ! was ended: {exit}"),
        }
    }

    for conversation in &conversations {
        // A host with a thousand conversations would begin all ends, or call `shutdown`.
        let report = conversation.end()?.into_clean()?;
        println!("{report}");
        let exit = conversation.server.wait()?;
        assert!(exit.success(), "it left by itself when its input ended");
    }
    Ok(())
}
