use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

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

/// What happened since a time, from the hours that are over and the rows beside them; see [`super::super`].
fn since(store: &mut Store, since: &str, [names, sum, count]: [&str; 3], [hours, rows]: [&str; 2]) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let (span, width, next) = match hours {
        "client_ip_days" => ("day", 10, "date('SINCE', '+1 day')"),
        _ => ("hour", 13, "datetime(substr('SINCE', 1, 13) || ':00', '+1 hour')"),
    };
    let next = next.replace("SINCE", since);
    let sql = format!(
        "WITH noted AS (SELECT last_id FROM added_up WHERE source = '{rows}')
         SELECT concat_ws(' ', {names}, sum(n)) AS line FROM (
            SELECT {names}, {sum} AS n FROM {hours} WHERE {span} > substr('{since}', 1, {width}) GROUP BY {names}
            UNION ALL
            SELECT {names}, {count} FROM {rows} WHERE id <= (SELECT last_id FROM noted)
                AND timestamp >= '{since}' AND timestamp < {next}
            GROUP BY {names}
            UNION ALL
            SELECT {names}, {count} FROM {rows} WHERE id > (SELECT last_id FROM noted) AND +timestamp >= '{since}'
            GROUP BY {names}
         ) GROUP BY {names} HAVING sum(n) > 0 ORDER BY {names}"
    );
    let lines: Vec<Line> = diesel::sql_query(sql).load(store.connection()).unwrap();
    lines.into_iter().map(|row| row.line).collect()
}

const REQUESTS: [&str; 2] = ["request_hours", "request_stats"];
const MODELS: [&str; 3] = ["model", "sum(requests)", "count(*)"];

fn models_since(store: &mut Store, start: &str) -> Vec<String> {
    since(store, start, MODELS, REQUESTS)
}

fn ips_since(store: &mut Store, start: &str) -> Vec<String> {
    since(store, start, ["client_ip", "sum(requests)", "count(*)"], ["client_ip_days", "request_stats"])
}

fn good_since(store: &mut Store, start: &str) -> Vec<String> {
    let parts = ["provider, model", "sum(succeeded)", "count(nullif(success, 0))"];
    since(store, start, parts, ["channel_hours", "channel_stats"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However rows come in and whenever they are added up, the sums say what the rows say.
    #[test]
    fn sums_are_those_of_the_rows(
        batches in prop::collection::vec(prop::collection::vec((0..50 * 3600_u64, 0..3_usize, any::<bool>()), 1..8), 1..6),
        start in 0..50 * 3600_u64,
        added_up in any::<u8>(),
    ) {
        let (_folder, mut store) = fresh();
        for (number, batch) in batches.iter().enumerate() {
            let rows = batch.iter().map(|(second, model, is_good)| request(*second, ["a", "b", "c"][*model], *is_good));
            store.write(&rows.collect::<Vec<_>>()).unwrap();
            if added_up >> number & 1 == 1 {
                prop_assert_eq!(store.add_up(1).unwrap(), Progress::Done);
            }
        }
        let expected = |good_only: bool| {
            let count = |model: usize| {
                let is_meant = |row: &&(u64, usize, bool)| row.0 >= start && row.1 == model && (row.2 || !good_only);
                batches.iter().flatten().filter(is_meant).count()
            };
            ["a", "b", "c"].iter().enumerate().map(|(at, name)| (*name, count(at))).filter(|(_, count)| *count > 0).collect::<Vec<_>>()
        };
        let start = utc_second(time(start));
        let all: Vec<String> = expected(false).into_iter().map(|(name, count)| format!("{name} {count}")).collect();
        prop_assert_eq!(models_since(&mut store, &start), all);
        let good: Vec<String> = expected(true).into_iter().map(|(name, count)| format!("openai {name} {count}")).collect();
        prop_assert_eq!(good_since(&mut store, &start), good);
        let requests = batches.iter().flatten().filter(|row| utc_second(time(row.0)) >= start).count();
        let all = (requests > 0).then(|| format!("127.0.0.1 {requests}"));
        prop_assert_eq!(ips_since(&mut store, &start), Vec::from_iter(all));
    }
}

#[test]
fn rows_are_added_up_in_portions_once_there_are_enough() {
    let (_folder, mut store) = fresh();
    store.write(&vec![row(); 25_000]).unwrap();
    assert_eq!(store.add_up(25_001).unwrap(), Progress::Done);
    assert_eq!(count(&mut store, "request_hours"), 0);
    assert_eq!(store.add_up(PORTION).unwrap(), Progress::More);
    assert_eq!(store.add_up(PORTION).unwrap(), Progress::Done);
    assert_eq!(number(&mut store, "SELECT sum(requests) AS number FROM request_hours"), 20_000);
    assert_eq!(store.add_up(1).unwrap(), Progress::Done);
    for sum in ["requests) AS number FROM request_hours", "requests) AS number FROM client_ip_days"] {
        assert_eq!(number(&mut store, &format!("SELECT sum({sum}")), 25_000);
    }
    assert_eq!(number(&mut store, "SELECT sum(succeeded) AS number FROM channel_hours"), 25_000);
    assert_eq!(number(&mut store, "SELECT sum(cached_tokens) AS number FROM request_hours"), 50_000);
    assert_eq!(models_since(&mut store, "1970-01-02 00:00:00"), ["gpt-4o 25000"]);
}

fn delete_all_before(store: &mut Store, second: u64) -> usize {
    let mut is_more = |_: &usize| store.delete_before(time(second)).unwrap() == Progress::More;
    (1..).find(|step| !is_more(step)).unwrap()
}

#[test]
fn what_is_too_old_is_deleted_in_steps_and_the_rest_stays() {
    let (_folder, mut store) = fresh();
    let old: Vec<_> = (0..1200).map(|second| request(second, "old", true)).collect();
    store.write(&old).unwrap();
    store.add_up(1).unwrap();
    store.write(&[request(10 * DAY, "new", true), request(DAY, "late", true)]).unwrap();
    assert_eq!(delete_all_before(&mut store, 10 * DAY), 3);
    for table in ["request_stats", "channel_stats"] {
        assert_eq!(count(&mut store, table), 1, "{table}");
    }
    for table in ["request_hours", "client_ip_days", "channel_hours"] {
        assert_eq!(count(&mut store, table), 0, "{table}");
    }
    assert_eq!(models_since(&mut store, "1970-01-01 00:00:00"), ["new 1"]);
}

#[test]
fn rows_that_take_the_ids_of_deleted_ones_are_counted() {
    let (_folder, mut store) = fresh();
    store.write(&vec![request(0, "old", true); 30]).unwrap();
    store.add_up(1).unwrap();
    delete_all_before(&mut store, DAY);
    store.write(&vec![request(2 * DAY, "new", true); 20]).unwrap();
    for _ in 0..2 {
        assert_eq!(models_since(&mut store, "1970-01-01 00:00:00"), ["new 20"]);
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

/// How long the lists of `/stats?hours=720` take on five million requests and as many attempts. Takes minutes:
/// `cargo test --release --lib a_month_is_added_up -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes and 3 GB"]
fn a_month_is_added_up_at_once() {
    const ROWS: u64 = 5_000_000;
    let (_folder, mut store) = fresh();
    let mut rng = fastrand::Rng::with_seed(1);
    let models: Vec<String> = (0..30).map(|number| format!("a-model-of-number-{number}")).collect();
    let mut write = Duration::ZERO;
    let mut batch = Vec::new();
    for number in 0..ROWS {
        let mut row = request(number * 30 * DAY / ROWS, rng.choice(&models).unwrap(), rng.u8(..) > 9);
        row.request_id = format!("{:032x}", rng.u128(..)).into();
        row.client_ip = Some(format!("10.0.{}.{}", rng.u8(..8), rng.u8(..)).into());
        row.provider = Some(format!("provider-{}", rng.u8(..10)).into());
        row.attempts[0].provider = row.provider.clone().unwrap();
        batch.push(row);
        if batch.len() == 500 {
            let started = Instant::now();
            store.write(&batch).unwrap();
            write += started.elapsed();
            batch.clear();
        }
    }
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    loop {
        let step = Instant::now();
        let progress = store.add_up(1).unwrap();
        slowest = slowest.max(step.elapsed());
        if progress == Progress::Done {
            break;
        }
    }
    println!("written: {ROWS} requests with an attempt each in {write:?}");
    println!("added up in {:?}, the slowest step {slowest:?}", started.elapsed());
    let started = Instant::now();
    let start = "1970-01-01 00:30:00";
    let channels = ["channel_hours", "channel_stats"];
    for (parts, tables) in [
        (["provider, model", "sum(attempts)", "count(*)"], channels),
        (["provider, model", "sum(succeeded)", "count(nullif(success, 0))"], channels),
        (MODELS, REQUESTS),
        (["endpoint", "sum(requests)", "count(*)"], REQUESTS),
        (["client_ip", "sum(requests)", "count(*)"], ["client_ip_days", "request_stats"]),
    ] {
        let list = Instant::now();
        let lines = since(&mut store, start, parts, tables).len();
        println!("{}: {lines} lines in {:?}", parts[0], list.elapsed());
    }
    println!("all lists: {:?}", started.elapsed());
}
