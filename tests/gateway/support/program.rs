//! The gateway as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Client, within_patience};

/// A process of the gateway in a folder of its own.
pub struct Program {
    child: Child,
    log: UnboundedReceiver<String>,
    /// Lines of the log that nobody has asked for yet.
    unheard: Vec<String>,
}

impl Program {
    /// The one that was built with the tests, or the one that `UNI_API_PROGRAM` names.
    pub fn start(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let built = env!("CARGO_BIN_EXE_uni-api").into();
        let program = std::env::var_os("UNI_API_PROGRAM").unwrap_or(built);
        Self::start_as(Command::new(program), folder, environment)
    }

    /// By a command that ends up as the gateway.
    pub fn start_as(mut command: Command, folder: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = command
            .current_dir(folder)
            .env_clear()
            .envs([("HOST", "127.0.0.1"), ("PORT", "0")])
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = lines_of(child.stderr.take().unwrap());
        Self { child, log, unheard: Vec::new() }
    }

    /// The next line of the log that contains `text` and was not given before. Its threads speak in no certain order.
    pub async fn says(&mut self, text: &str) -> String {
        if let Some(said) = self.unheard.iter().position(|line| line.contains(text)) {
            return self.unheard.remove(said);
        }
        let line = async {
            loop {
                let line = self.log.recv().await.unwrap_or_else(|| panic!("never said {text:?}"));
                if line.contains(text) {
                    return line;
                }
                self.unheard.push(line);
            }
        };
        within_patience(text, line).await
    }

    /// How many lines that contain `text` were read on the way to others and not given.
    pub fn unheard(&self, text: &str) -> usize {
        self.unheard.iter().filter(|line| line.contains(text)).count()
    }

    pub async fn client(&mut self) -> Client {
        Client::new(self.address().await)
    }

    /// Where it listens, as it says once.
    pub async fn address(&mut self) -> SocketAddr {
        let line = self.says("listens on http://").await;
        let address = line.split("http://").nth(1).unwrap().split(',').next().unwrap();
        address.parse().unwrap()
    }

    /// Every line of the log that nobody has asked for, up to its end.
    pub async fn rest_of_log(&mut self) -> Vec<String> {
        while let Some(line) = within_patience("the end of the log", self.log.recv()).await {
            self.unheard.push(line);
        }
        std::mem::take(&mut self.unheard)
    }

    pub async fn ends(&mut self) -> ExitStatus {
        within_patience("the end of the process", self.child.wait()).await.unwrap()
    }

    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM").await;
        self.ends().await
    }

    /// Sends it the signal of this name.
    pub async fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.pid()]).status().await.unwrap().success());
    }

    /// The memory that it has resident, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the /proc of Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Ends it at once, with no time for anything.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub fn pid(&self) -> String {
        self.child.id().expect("a process that runs").to_string()
    }
}

/// Lines as they come, whether somebody asks for them or not: a program whose log nobody reads stands still when the
/// pipe is full.
fn lines_of(log: ChildStderr) -> UnboundedReceiver<String> {
    let (sender, lines) = unbounded_channel();
    tokio::spawn(async move {
        let mut log = BufReader::new(log).lines();
        while let Ok(Some(line)) = log.next_line().await {
            // A test that is over wants no more.
            let _ = sender.send(line);
        }
    });
    lines
}
