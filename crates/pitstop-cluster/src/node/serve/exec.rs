//! One exec: what comes in on stdin, what a simulated container makes of it, and how it ended.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::inside::{Place, Refusal, Said, Visitor, is_shell};

/// Messages that wait for a slow side before the fast one is held up.
pub(super) const QUEUE: usize = 16;
/// How long the client may take to hang up once everything was said.
pub(super) const HANG_UP_WITHIN: Duration = Duration::from_secs(5);
/// The longest line that a shell reads. Units: bytes.
const MAX_LINE: usize = 64 << 10;
const PROMPT: &[u8] = b"# ";

/// What the client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) command: Vec<String>,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl Wanted {
    /// As API servers write it (`input`, `output`, `error`), or their clients (`stdin`, `stdout`, `stderr`).
    pub(super) fn parse<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut wanted = Self::default();
        for (name, value) in parameters {
            let flag = matches!(value, "1" | "true");
            match name {
                "command" => wanted.command.push(value.to_owned()),
                "input" | "stdin" => wanted.stdin = flag,
                "output" | "stdout" => wanted.stdout = flag,
                "error" | "stderr" => wanted.stderr = flag,
                "tty" => wanted.tty = flag,
                _ => {}
            }
        }
        wanted
    }
}

/// Bytes for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// An exec that was admitted.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) wanted: Wanted,
    pub(super) place: Place,
    pub(super) visitor: Visitor,
}

/// Which program it is.
enum Program {
    /// It needs no input.
    Plain,
    /// `cat`: what comes in goes out.
    Copy,
    /// A shell that reads its commands from stdin.
    Shell,
}

impl Session {
    /// Runs it to its end, and returns the Status that tells how it ended.
    pub(super) async fn run(self, mut input: mpsc::Receiver<Bytes>, output: mpsc::Sender<Output>) -> Value {
        if !self.wanted.stdin {
            input.close();
        }
        let words: Vec<&str> = self.wanted.command.iter().map(String::as_str).collect();
        let program = match words.as_slice() {
            ["cat"] | ["cat", "-"] => Program::Copy,
            [shell] | [shell, "-i" | "-l" | "-s"] if is_shell(shell) => Program::Shell,
            _ => Program::Plain,
        };
        let ended = match program {
            Program::Plain => self.plain(&output).await,
            Program::Copy => self.copy(input, &output).await,
            Program::Shell => self.shell(input, &output).await,
        };
        match ended {
            Ok(0) => json!({"metadata": {}, "status": "Success"}),
            Ok(code) => failure(code),
            Err(refusal) => json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "message": refusal.to_string(),
            }),
        }
    }

    async fn plain(&self, output: &mpsc::Sender<Output>) -> Result<u8, Refusal> {
        let said = self.visitor.run(&self.place, self.wanted.command.clone()).await?;
        let code = said.code;
        self.tell(said, output).await;
        Ok(code)
    }

    async fn copy(
        &self,
        mut input: mpsc::Receiver<Bytes>,
        output: &mpsc::Sender<Output>,
    ) -> Result<u8, Refusal> {
        while let Some(data) = input.recv().await {
            let _ = output.send(Output::Stdout(data)).await;
        }
        // It may have been stopped meanwhile.
        self.visitor.run(&self.place, vec!["true".to_owned()]).await?;
        Ok(0)
    }

    /// Runs line by line. With a terminal it shows what is typed, as a terminal's driver does.
    async fn shell(
        &self,
        mut input: mpsc::Receiver<Bytes>,
        output: &mpsc::Sender<Output>,
    ) -> Result<u8, Refusal> {
        const INTERRUPT: u8 = 3;
        const END: u8 = 4;
        const RUB_OUT: [u8; 2] = [8, 127];
        let tty = self.wanted.tty;
        let show = async |bytes: &[u8]| {
            if tty && !bytes.is_empty() {
                let _ = output.send(Output::Stdout(Bytes::copy_from_slice(bytes))).await;
            }
        };
        let (mut line, mut code) = (Vec::new(), 0);
        show(PROMPT).await;
        while let Some(data) = input.recv().await {
            for byte in data {
                match byte {
                    b'\n' | b'\r' => {
                        show(b"\r\n").await;
                        let script = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
                        let command = vec!["sh".to_owned(), "-c".to_owned(), script];
                        let said = self.visitor.run(&self.place, command).await?;
                        code = said.code;
                        let has_exited = said.has_exited;
                        self.tell(said, output).await;
                        if has_exited {
                            return Ok(code);
                        }
                        show(PROMPT).await;
                    }
                    INTERRUPT if tty => {
                        line.clear();
                        show(b"^C\r\n").await;
                        show(PROMPT).await;
                    }
                    END if tty && line.is_empty() => return Ok(code),
                    rub_out if tty && RUB_OUT.contains(&rub_out) => {
                        let gone: &[u8] = if line.pop().is_some() { b"\x08 \x08" } else { b"" };
                        show(gone).await;
                    }
                    byte if line.len() < MAX_LINE => {
                        line.push(byte);
                        show(&[byte]).await;
                    }
                    _ => {}
                }
            }
        }
        if !line.is_empty() {
            let script = String::from_utf8_lossy(&line).into_owned();
            let command = vec!["sh".to_owned(), "-c".to_owned(), script];
            let said = self.visitor.run(&self.place, command).await?;
            code = said.code;
            self.tell(said, output).await;
        }
        Ok(code)
    }

    async fn tell(&self, said: Said, output: &mpsc::Sender<Output>) {
        // A terminal moves to the first column only when told to.
        let form = |text: String| {
            let text = if self.wanted.tty {
                text.replace('\n', "\r\n")
            } else {
                text
            };
            Bytes::from(text)
        };
        let all = [
            Output::Stdout(form(said.stdout)),
            Output::Stderr(form(said.stderr)),
        ];
        for part in all {
            let (Output::Stdout(data) | Output::Stderr(data)) = &part;
            if !data.is_empty() {
                let _ = output.send(part).await;
            }
        }
    }
}

fn failure(code: u8) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}
