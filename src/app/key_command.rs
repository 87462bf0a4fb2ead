//! A program that prints a key: bounded in time and size, and what it prints is in no message.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

/// What a program may print: more than any ring of keys has.
const MOST: usize = 8 * 1024;
/// What is repeated of its complaints.
const COMPLAINT: usize = 500;
/// How often a program is looked at that has closed its output and goes on.
const LOOK: Duration = Duration::from_millis(5);

/// Why there is no key of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("the program `{program}` cannot be started: {source}; name one that can, with its whole path")]
    Start { program: String, source: io::Error },
    #[error("the program `{program}` did not end within {limit}; see what it waits for, or raise keys.command_timeout")]
    Late { program: String, limit: String },
    #[error("the program `{program}` printed more than {MOST} bytes, which is no key")]
    TooLong { program: String },
    #[error("the program `{program}` ended with {status}{complaint}")]
    Failed { program: String, status: ExitStatus, complaint: String },
    #[error("the program `{program}` cannot be read: {source}")]
    Unreadable { program: String, source: io::Error },
}

/// What `command` prints on its standard output, once it ended well. `secret` are variables that it does not
/// inherit.
pub(super) fn output(command: &[String], secret: &[&str], limit: Duration) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let (program, arguments) = command.split_first().map_or(("", &[][..]), |(program, rest)| (program.as_str(), rest));
    let program = program.to_owned();
    let until = Instant::now() + limit;
    let mut call = Command::new(&program);
    call.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that whatever it starts ends with it.
    call.process_group(0);
    for variable in secret {
        call.env_remove(variable);
    }
    let mut child = call.spawn().map_err(|source| CommandError::Start { program: program.clone(), source })?;
    let printed = gather(child.stdout.take(), MOST + 1);
    let complained = gather(child.stderr.take(), COMPLAINT);
    let outcome = wait(&mut child, &printed, until);
    end(&mut child);
    let unreadable = |source| CommandError::Unreadable { program: program.clone(), source };
    let Some((text, status)) = outcome.map_err(unreadable)? else {
        let limit = humantime::format_duration(limit).to_string();
        return Err(CommandError::Late { program, limit });
    };
    if text.len() > MOST {
        return Err(CommandError::TooLong { program });
    }
    match status {
        Some(status) if status.success() => Ok(text),
        Some(status) => Err(CommandError::Failed { program, status, complaint: complaint(&complained) }),
        None => Err(CommandError::TooLong { program }),
    }
}

type Gathered = mpsc::Receiver<io::Result<Zeroizing<Vec<u8>>>>;

/// Reads up to `most` bytes on a thread of its own, which ends with the pipe.
fn gather(pipe: Option<impl Read + Send + 'static>, most: usize) -> Gathered {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        // With its final capacity from the start, so that no copy stays behind.
        let mut text = Zeroizing::new(Vec::with_capacity(most));
        let read = pipe.take(most as u64).read_to_end(&mut text);
        // Whoever asked may have given up.
        let _ = sender.send(read.map(|_| text));
    });
    receiver
}

/// What was printed, and how the program ended; without the latter where it printed too much. `None`: it
/// took too long.
#[allow(clippy::type_complexity, reason = "two absences that differ")]
fn wait(child: &mut Child, printed: &Gathered, until: Instant) -> io::Result<Option<(Zeroizing<Vec<u8>>, Option<ExitStatus>)>> {
    let text = match printed.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(text) => text?,
        Err(RecvTimeoutError::Timeout) => return Ok(None),
        Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
    };
    if text.len() > MOST {
        return Ok(Some((text, None)));
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some((text, Some(status))));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Whatever still runs of it is killed, and it is reaped.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Gone is gone.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// What it said on standard error, without what could steer a terminal.
fn complaint(complained: &Gathered) -> String {
    let Ok(Ok(text)) = complained.recv_timeout(LOOK * 20) else { return String::new() };
    let text = String::from_utf8_lossy(&text);
    let text = text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let text: String = text.collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        output(&command, &["PATH"], Duration::from_secs(20))
    }

    #[test]
    fn what_it_prints_is_the_key_and_what_it_complains_of_is_nothing() {
        assert_eq!(shell("echo warning >&2; echo key").expect("ends well").as_slice(), b"key\n");
        assert_eq!(shell("env | grep -c ^PATH= ; true").expect("ends well").as_slice(), b"0\n", "what is named is not inherited");
    }

    #[test]
    fn a_failure_says_what_the_program_says_and_never_what_it_printed() {
        let said = shell("echo hunter2; printf 'no \\033[2J token' >&2; exit 7").expect_err("it failed").to_string();
        assert!(said.contains("exit status: 7: no  [2J token") && !said.contains("hunter2"), "{said}");
        let said = shell("kill -9 $$").expect_err("killed").to_string();
        assert!(said.contains("signal: 9"), "{said}");
        let said = output(&["/nowhere/prog".to_owned()], &[], LOOK).expect_err("there is none").to_string();
        assert!(said.contains("`/nowhere/prog` cannot be started"), "{said}");
    }

    #[test]
    fn size_and_time_are_bounded_for_it_and_for_whatever_it_starts() {
        let said = shell("yes hunter2").expect_err("endless").to_string();
        assert!(said.contains("printed more than 8192 bytes") && !said.contains("hunter2"), "{said}");
        // Its child holds the pipe as well.
        let command = ["/bin/sh", "-c", "sleep 60 & sleep 60"].map(str::to_owned);
        let said = output(&command, &[], Duration::from_millis(50)).expect_err("late").to_string();
        assert!(said.contains("did not end within 50ms"), "{said}");
    }
}
