use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::reader::read;
use super::super::rows::RequestRow;
use super::super::rows::tests::row;
use super::*;

const DAY: u64 = 86_400;

fn fresh() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("stats.db")).unwrap();
    (folder, store)
}

fn number(store: &mut Store, sql: &str) -> i64 {
    diesel::sql_query(sql).get_result::<Number>(store.connection()).unwrap().number
}

fn count(store: &mut Store, table: &str) -> i64 {
    number(store, &format!("SELECT count(*) AS number FROM {table}"))
}

fn time(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn request(second: u64, model: &str, is_good: bool) -> RequestRow {
    let mut row = RequestRow { timestamp: time(second), model: Some(model.into()), success: Some(is_good), ..row() };
    row.attempts[0].success = Some(is_good);
    row.attempts[0].model = model.into();
    row
}

/// How often each model was asked for in the eleven days from 1970 on.
fn models(folder: &TempDir) -> Vec<(String, u64)> {
    let report = read(&folder.path().join("stats.db"), 12 * 24, time(11 * DAY)).unwrap();
    report.model_request_counts.into_iter().map(|of| (of.model.unwrap(), of.count)).collect()
}

#[test]
fn rows_are_added_up_in_portions_once_there_are_enough() {
    const LAST: &str = "SELECT sum(last_id) AS number FROM added_up";
    let (folder, mut store) = fresh();
    store.write(&vec![row(); 25_000]).unwrap();
    assert_eq!(store.add_up(25_001).unwrap(), Progress::Done);
    assert_eq!(count(&mut store, "stats_sums"), 0);
    assert_eq!(store.add_up(PORTION).unwrap(), Progress::More);
    assert_eq!(store.add_up(PORTION).unwrap(), Progress::Done);
    assert_eq!(number(&mut store, LAST), 2 * 20_000);
    assert_eq!(store.add_up(1).unwrap(), Progress::Done);
    assert_eq!(number(&mut store, LAST), 2 * 25_000);
    assert_eq!(count(&mut store, "stats_sums"), 2, "an hour and its day");
    assert_eq!(models(&folder), [("gpt-4o".to_owned(), 25_000)]);
}

fn delete_all_before(store: &mut Store, second: u64) -> usize {
    let mut is_more = |_: &usize| store.delete_before(time(second)).unwrap() == Progress::More;
    (1..).find(|step| !is_more(step)).unwrap()
}

#[test]
fn what_is_too_old_is_deleted_in_steps_and_the_rest_stays() {
    let (folder, mut store) = fresh();
    let old: Vec<_> = (0..1200).map(|second| request(second, "old", true)).collect();
    store.write(&old).unwrap();
    store.add_up(1).unwrap();
    store.write(&[request(10 * DAY, "new", true), request(DAY, "late", true)]).unwrap();
    assert_eq!(delete_all_before(&mut store, 10 * DAY), 3);
    for table in ["request_stats", "channel_stats"] {
        assert_eq!(count(&mut store, table), 1, "{table}");
    }
    assert_eq!(count(&mut store, "stats_sums"), 0);
    assert_eq!(models(&folder), [("new".to_owned(), 1)]);
}

#[test]
fn rows_that_take_the_ids_of_deleted_ones_are_counted() {
    let (folder, mut store) = fresh();
    store.write(&vec![request(0, "old", true); 30]).unwrap();
    store.add_up(1).unwrap();
    delete_all_before(&mut store, DAY);
    store.write(&vec![request(2 * DAY, "new", true); 20]).unwrap();
    for _ in 0..2 {
        assert_eq!(models(&folder), [("new".to_owned(), 20)]);
        store.add_up(1).unwrap();
    }
}

#[test]
fn space_is_given_back_after_deletion() {
    let (folder, mut store) = fresh();
    let text = "x".repeat(2000);
    let rows: Vec<_> = (0..5000).map(|_| RequestRow { text: Some(text.as_str().into()), ..row() }).collect();
    store.write(&rows).unwrap();
    let size = |store: &mut Store| {
        store.connection().batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        std::fs::metadata(folder.path().join("stats.db")).unwrap().len()
    };
    let full = size(&mut store);
    delete_all_before(&mut store, 10 * DAY);
    assert_eq!(size(&mut store), full);
    while store.give_back().unwrap() == Progress::More {}
    let after = size(&mut store);
    assert!(after * 5 < full, "{after} of {full} bytes are left");
}

/// How long `/stats` takes on five million requests and as many attempts. Takes minutes:
/// `cargo test --release --lib a_month_is_told_at_once -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes and 3 GB"]
fn a_month_is_told_at_once() {
    const ROWS: u64 = 5_000_000;
    let (folder, mut store) = fresh();
    let path = folder.path().join("stats.db");
    let mut rng = fastrand::Rng::with_seed(1);
    let models: Vec<Arc<str>> = (0..30).map(|number| format!("a-model-of-number-{number}").into()).collect();
    let mut write = Duration::ZERO;
    let mut batch = Vec::new();
    for number in 0..ROWS {
        let mut row = request(number * 30 * DAY / ROWS, rng.choice(&models).unwrap(), rng.u8(..) > 9);
        row.request_id = rng.u128(..).into();
        row.client_ip = Some([10, 0, rng.u8(..8), rng.u8(..)].into());
        row.provider = Some(format!("provider-{}", rng.u8(..10)).into());
        row.process_time = Duration::from_millis(rng.u64(500..60_000));
        row.first_response_time = Some(Duration::from_millis(rng.u64(100..3000)));
        row.attempts[0].provider = row.provider.clone().unwrap();
        batch.push(row);
        if batch.len() == 500 {
            let started = Instant::now();
            store.write(&batch).unwrap();
            write += started.elapsed();
            batch.clear();
        }
    }
    println!("written: {ROWS} requests with an attempt each in {write:?}");
    let asked = |hours: u16, what: &str| {
        let started = Instant::now();
        let report = read(&path, hours, time(30 * DAY - 1)).unwrap();
        let time = started.elapsed();
        println!("{what}: {hours} hours with {} requests in {time:?}", report.requests.total);
        time
    };
    asked(24, "without sums");
    asked(720, "without sums");
    let size = std::fs::metadata(&path).unwrap().len();
    let mut steps = Vec::new();
    loop {
        let step = Instant::now();
        let progress = store.add_up(1).unwrap();
        steps.push(step.elapsed());
        if progress == Progress::Done {
            break;
        }
    }
    steps.sort_unstable();
    let (total, middle, last) = (steps.iter().sum::<Duration>(), steps[steps.len() / 2], steps.last().unwrap());
    println!("added up in {total:?}, {} steps of {middle:?}, the slowest {last:?}", steps.len());
    store.connection().batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    println!("{size} bytes before, {} with the sums", std::fs::metadata(&path).unwrap().len());
    for hours in [24, 168, 720, 720] {
        assert!(asked(hours, "with sums") < Duration::from_secs(1));
    }
}
