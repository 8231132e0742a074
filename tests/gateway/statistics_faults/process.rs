//! What only another process can be refused: space, and the right to write.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use diesel::connection::SimpleConnection;
use tokio::process::Command;
use uni_api::stats::Store;

use crate::support::{CHAT, Client, FakeUpstream, KEY, Program, gateway::eventually, hello};

use super::{configuration, count, count_if_there, open};

async fn ask(client: &Client, times: usize) {
    let body = hello();
    for answer in futures::future::join_all((0..times).map(|_| client.post_json(CHAT, KEY, &body))).await {
        assert_eq!(answer.status, 200);
    }
}

/// Files of the gateway may not grow beyond 400 KiB, as if the disk were full, until that is lifted.
#[actix_web::test]
async fn without_room_rows_are_dropped_and_with_room_they_are_written_again() {
    if Command::new("prlimit").arg("--version").output().await.is_err() {
        return println!("skipped: there is no prlimit here");
    }
    let (folder, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
    fs::write(folder.path().join("api.yaml"), configuration(&upstream)).unwrap();
    let mut shell = Command::new("sh");
    // Without the trap the signal that comes with the refusal would end the process.
    let limited = "trap '' XFSZ; exec prlimit --fsize=409600:unlimited \"$0\"";
    shell.args(["-c", limited, env!("CARGO_BIN_EXE_uni-api")]);
    let mut program =
        Program::start_as(shell, folder.path(), &[("PATH", "/usr/bin:/bin"), ("RUST_LOG", "info,uni_api::relay=off")]);
    let client = program.client().await;
    let path = folder.path().join("data/stats.db");
    // Each batch takes more pages of the log beside the file.
    let complaint = program.says("statistics are dropped until there is room");
    let load = async {
        loop {
            ask(&client, 20).await;
        }
    };
    tokio::select! {
        _ = complaint => {}
        () = load => {}
    }
    let before = count(&path);
    ask(&client, 20).await;
    let lift = ["--fsize=unlimited:unlimited", "--pid", &program.pid()];
    assert!(Command::new("prlimit").args(lift).status().await.unwrap().success());
    eventually("rows again", async || {
        ask(&client, 1).await;
        count(&path) > before
    })
    .await;
    let news = program.says("statistics are written again").await;
    assert!(news.contains("rows dropped since the start: "), "{news}");
    assert_eq!(program.terminate().await.code(), Some(0));
    open(&path).batch_execute("PRAGMA integrity_check").unwrap();
}

/// A program that is not root, whoever runs the tests: root may write to everything.
fn unprivileged(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uni-api"));
    if fs::metadata(folder).unwrap().uid() == 0 {
        command.uid(65_534);
    }
    command
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[actix_web::test]
async fn rows_wait_for_the_right_to_write() {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
    set_mode(folder.path(), 0o755);
    if unprivileged(folder.path()).arg("--version").output().await.is_err() {
        return println!("skipped: the program cannot be run by somebody else here");
    }
    for is_there in [false, true] {
        fs::write(folder.path().join("api.yaml"), configuration(&upstream)).unwrap();
        let data = folder.path().join("data");
        let path = data.join("stats.db");
        fs::create_dir(&data).unwrap();
        if is_there {
            drop(Store::open(&path).unwrap());
            set_mode(&path, 0o444);
        }
        set_mode(&data, 0o555);
        let mut program = Program::start_as(unprivileged(folder.path()), folder.path(), &[]);
        let client = program.client().await;
        ask(&client, 30).await;
        program.says("cannot be written to, look at its permissions").await;
        if is_there {
            set_mode(&path, 0o666);
        }
        set_mode(&data, 0o777);
        eventually("the rows", async || count_if_there(&path) == 30).await;
        assert_eq!(program.terminate().await.code(), Some(0));
        fs::remove_dir_all(&data).unwrap();
    }
}
