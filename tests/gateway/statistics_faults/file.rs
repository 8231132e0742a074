//! The file is locked, unusable, damaged, refuses rows, or is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use uni_api::stats::RequestRow;

use crate::support::{FakeUpstream, Setup, channel, gateway::eventually, logs};

use super::{ask, count, count_if_there, open, with_database};

/// What the log says of a file.
fn told_of(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    logs::lines().into_iter().filter(|line| line.contains(path)).collect()
}

/// The damaged files beside this one, without what belongs to them.
fn set_aside(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let is_whole = |name: &str| name.contains(".corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm");
    entries.filter(|entry| is_whole(entry.to_str().unwrap())).collect()
}

#[actix_web::test]
async fn while_the_file_is_locked_requests_are_answered_and_rows_wait() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    ask(&gateway, 1).await;
    let path = gateway.database().await;
    let mut other = open(&path);
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    // The lock outlasts the writer's patience with one attempt: it has said so.
    ask(&gateway, 1).await;
    eventually("a complaint", async || !told_of(&path).is_empty()).await;
    for _ in 0..5 {
        ask(&gateway, 40).await;
    }
    gateway.all_settled().await;
    eventually("all rows", async || gateway.stats.queued() == 201).await;
    assert_eq!((count(&path), gateway.stats.dropped()), (1, 0));
    other.batch_execute("ROLLBACK").unwrap();
    gateway.stats.flush().await;
    assert_eq!((count(&path), gateway.stats.queued()), (202, 0));
    let told = told_of(&path);
    assert!(told.len() == 1 && told[0].contains("another program has locked"), "{told:?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn everything_is_written_before_the_end_also_when_the_file_is_locked_first() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    ask(&gateway, 1).await;
    let path = gateway.database().await;
    let mut other = open(&path);
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    ask(&gateway, 20).await;
    gateway.all_settled().await;
    let stats = gateway.stats.clone();
    let until_told = async {
        eventually("a complaint", async || !told_of(&path).is_empty()).await;
        other.batch_execute("ROLLBACK").unwrap();
    };
    let ((), ()) = tokio::join!(stats.flush(), until_told);
    assert_eq!(count(&path), 21);
    gateway.stop().await;
}

#[actix_web::test]
async fn rows_are_not_forgotten_when_the_file_is_locked_before_it_was_ever_opened() {
    let upstream = FakeUpstream::start().await;
    let mut other = None;
    let lock = |path: &Path| {
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        connection.batch_execute("BEGIN EXCLUSIVE").unwrap();
        other = Some(connection);
    };
    let gateway = Setup::new([channel("up", &upstream)]).with_database_made_by(lock).start().await;
    ask(&gateway, 20).await;
    gateway.all_settled().await;
    let path = gateway.database_path();
    let stats = gateway.stats.clone();
    let until_told = async {
        eventually("a complaint", async || !told_of(&path).is_empty()).await;
        // The lock outlasts the writer's patience with the next attempt, too.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        other.unwrap().batch_execute("ROLLBACK").unwrap();
    };
    let queued_after = async {
        stats.flush().await;
        stats.queued()
    };
    assert_eq!(tokio::join!(queued_after, until_told), (0, ()));
    assert_eq!(count(&path), 20);
    gateway.stop().await;
}

#[actix_web::test]
async fn rows_behind_those_that_are_refused_are_written_before_the_end() {
    const ROWS: usize = 10_000;
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    ask(&gateway, 1).await;
    let path = gateway.database().await;
    let refusal = "CREATE TRIGGER refuse BEFORE INSERT ON request_stats WHEN NEW.text = 'bad' \
                   BEGIN SELECT RAISE(ABORT, 'no such text'); END";
    open(&path).batch_execute(refusal).unwrap();
    gateway.stats.push(RequestRow { text: Some("bad".into()), ..row() });
    (0..ROWS).for_each(|_| gateway.stats.push(row()));
    gateway.stats.flush().await;
    let dropped = usize::try_from(gateway.stats.dropped()).unwrap();
    assert!((1..=2040).contains(&dropped), "{dropped}");
    assert_eq!(usize::try_from(count(&path)).unwrap(), 1 + ROWS + 1 - dropped);
    gateway.stop_with_losses().await;
}

fn row() -> RequestRow {
    RequestRow {
        request_id: fastrand::u128(..).into(),
        endpoint: "POST /v1/chat/completions",
        client_ip: None,
        process_time: Default::default(),
        first_response_time: None,
        provider: None,
        model: None,
        api_key: None,
        success: Some(true),
        status: Some(200),
        is_streamed: false,
        is_flagged: false,
        text: None,
        usage: None,
        timestamp: SystemTime::now(),
        attempts: Vec::new(),
    }
}

/// Changes whenever another connection commits.
fn version(connection: &mut SqliteConnection) -> i64 {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = BigInt)]
        data_version: i64,
    }
    diesel::sql_query("PRAGMA data_version").get_result::<Version>(connection).unwrap().data_version
}

#[actix_web::test]
async fn rows_that_come_while_others_are_written_wait_for_the_next_time() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    ask(&gateway, 1).await;
    let mut other = open(&gateway.database().await);
    let mut versions = BTreeSet::from([version(&mut other)]);
    let begun = Instant::now();
    let mut pushed = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        gateway.stats.push(row());
        pushed += 1;
        versions.insert(version(&mut other));
        // Faster than rows can be written one by one; no pause of the system's is as short.
        while begun.elapsed() < Duration::from_micros(70) * pushed {
            std::hint::spin_loop();
        }
    }
    let (commits, batches) = (versions.len() - 1, usize::try_from(pushed).unwrap() / 2040);
    assert!((1..=batches + 6).contains(&commits), "{commits} for {batches} batches, with one more due every 250 ms");
    gateway.stop().await;
}

#[actix_web::test]
async fn rows_wait_for_a_file_that_cannot_be_opened_and_only_those_without_room_are_dropped() {
    const ROWS: usize = 40_000;
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).with_broken_database().start().await;
    (0..ROWS).for_each(|_| gateway.stats.push(row()));
    let dropped = || usize::try_from(gateway.stats.dropped()).unwrap();
    let at_once = dropped();
    assert!((ROWS - 32_768 - 2040..=ROWS - 32_768).contains(&at_once), "{at_once}");
    assert_eq!(gateway.stats.queued(), ROWS - at_once);
    ask(&gateway, 1).await;
    gateway.all_settled().await;
    gateway.stats.flush().await;
    let lost = dropped();
    let path = gateway.database_path();
    let told = told_of(&path);
    assert!(told.len() == 1 && told[0].contains("cannot be written to"), "{told:?}");
    fs::remove_dir(&path).unwrap();
    let written = i64::try_from(ROWS + 1 - lost).unwrap();
    eventually("the rows", async || gateway.stats.queued() == 0).await;
    assert_eq!(count(&path), written);
    gateway.stop_with_losses().await;
}

#[actix_web::test]
async fn prompts_that_wait_do_not_take_all_memory() {
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).with_broken_database().start().await;
    let text: std::sync::Arc<str> = "x".repeat(1 << 20).into();
    (0..200).for_each(|_| gateway.stats.push(RequestRow { text: Some(text.clone()), ..row() }));
    assert_eq!((gateway.stats.queued(), gateway.stats.dropped()), (128, 72));
    gateway.stop_with_losses().await;
}

#[actix_web::test]
async fn a_file_that_is_no_database_is_set_aside() {
    let upstream = FakeUpstream::start().await;
    let garbage = b"no database ".repeat(4000);
    let setup = Setup::new([channel("up", &upstream)]);
    let gateway = setup.with_database_made_by(|path| fs::write(path, &garbage).unwrap()).start().await;
    ask(&gateway, 3).await;
    let path = gateway.database().await;
    assert_eq!(count(&path), 3);
    let [aside] = set_aside(&path).try_into().unwrap();
    assert!(fs::read(&aside).unwrap() == garbage);
    let told = told_of(&path);
    assert!(told.len() == 1 && told[0].contains(aside.to_str().unwrap()), "{told:?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_file_that_is_damaged_while_it_is_used_is_set_aside_and_no_row_is_lost() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    ask(&gateway, 3).await;
    let path = gateway.database().await;
    // Another program writes, so that the gateway has to read the file again.
    let other = "UPDATE request_stats SET trace_id = 'x'; PRAGMA wal_checkpoint(TRUNCATE)";
    open(&path).batch_execute(other).unwrap();
    let size = fs::metadata(&path).unwrap().len();
    let mut bytes = fs::read(&path).unwrap();
    bytes[100..].fill(0xff);
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    ask(&gateway, 5).await;
    let path = gateway.database().await;
    assert_eq!(count(&path), 5);
    let [aside] = set_aside(&path).try_into().unwrap();
    assert_eq!(fs::metadata(aside).unwrap().len(), size);
    gateway.stop().await;
}

#[actix_web::test]
async fn rows_that_the_file_refuses_are_dropped_and_the_next_are_written() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    ask(&gateway, 1).await;
    let path = gateway.database().await;
    let refusal = "CREATE TRIGGER refuse BEFORE INSERT ON request_stats BEGIN SELECT RAISE(ABORT, 'no more'); END";
    open(&path).batch_execute(refusal).unwrap();
    ask(&gateway, 2).await;
    gateway.database().await;
    assert_eq!((gateway.stats.dropped(), gateway.stats.queued(), count(&path)), (2, 0, 1));
    assert!(told_of(&path)[0].contains("no more"));
    open(&path).batch_execute("DROP TRIGGER refuse").unwrap();
    ask(&gateway, 4).await;
    eventually("the rows", async || gateway.stats.queued() == 0 && gateway.stats.dropped() == 2).await;
    gateway.database().await;
    eventually("the rows", async || count(&path) == 5).await;
    gateway.stop_with_losses().await;
}

#[actix_web::test]
async fn a_file_that_was_deleted_is_made_anew() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_database(&upstream).await;
    ask(&gateway, 1).await;
    let path = gateway.database().await;
    for suffix in ["", "-wal", "-shm"] {
        // SQLite may have none of the two at the moment.
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    ask(&gateway, 2).await;
    eventually("the rows", async || count_if_there(&path) == 2).await;
    gateway.stop().await;
}
