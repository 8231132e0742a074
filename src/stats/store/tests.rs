use diesel::sql_types::{BigInt, Integer, Text};
use tempfile::TempDir;

use super::super::rows::tests::row;
use super::super::trouble::Trouble;
use super::*;

fn fresh() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("stats.db")).unwrap();
    (folder, store)
}

fn line(store: &mut Store, sql: &str) -> String {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    diesel::sql_query(sql).get_result::<Line>(&mut store.connection).unwrap().line
}

fn count(store: &mut Store, table: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let sql = format!("SELECT count(*) AS rows FROM {table}");
    diesel::sql_query(sql).get_result::<Count>(&mut store.connection).unwrap().rows
}

#[test]
fn rows_are_written_and_found_again_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/stats.db");
    Store::open(&path).unwrap().write(&[row(), row()]).unwrap();
    let mut store = Store::open(&path).unwrap();
    assert_eq!((count(&mut store, "request_stats"), count(&mut store, "channel_stats")), (2, 2));
    assert_eq!(
        line(
            &mut store,
            "SELECT concat_ws('|', success, status, attempts, is_streamed, prompt_tokens, completion_tokens,
             total_tokens, cached_tokens, cache_creation_tokens, reasoning_tokens, timestamp) AS line FROM request_stats"
        ),
        "1|200|1|0|3|4|7|2|1|3|1970-01-02 00:00:00"
    );
}

#[test]
fn what_a_provider_does_not_say_is_null() {
    let (_folder, mut store) = fresh();
    store.write(&[RequestRow { usage: None, success: None, status: None, ..row() }]).unwrap();
    let columns = "prompt_tokens, completion_tokens, total_tokens, cached_tokens, cache_creation_tokens,
        reasoning_tokens, success, status";
    assert_eq!(line(&mut store, &format!("SELECT concat_ws('|', {columns}) AS line FROM request_stats")), "");
}

#[test]
fn a_new_file_can_shrink() {
    #[derive(QueryableByName)]
    struct Vacuum {
        #[diesel(sql_type = Integer)]
        auto_vacuum: i32,
    }
    let (_folder, mut store) = fresh();
    let vacuum: Vacuum = diesel::sql_query("PRAGMA auto_vacuum").get_result(&mut store.connection).unwrap();
    assert_eq!(vacuum.auto_vacuum, 2);
}

#[test]
fn a_full_file_takes_no_row_and_goes_on_when_there_is_room() {
    let (_folder, mut store) = fresh();
    let rows = vec![row(); 2000];
    store.connection.batch_execute("PRAGMA max_page_count = 1").unwrap();
    let error = std::iter::repeat_with(|| store.write(&rows)).take(50).find_map(Result::err).unwrap();
    assert_eq!((error.trouble(), error.to_string().as_str()), (Trouble::NoRoom, "database or disk is full"));
    let before = count(&mut store, "request_stats");
    assert_eq!(before % 2000, 0, "no part of a batch is left");
    store.connection.batch_execute("PRAGMA max_page_count = 1000000").unwrap();
    store.write(&rows).unwrap();
    assert_eq!(count(&mut store, "request_stats"), before + 2000);
}

#[test]
fn every_trouble_is_known_by_its_kind() {
    let (folder, mut store) = fresh();
    let path = folder.path().join("stats.db");
    store.connection.batch_execute("PRAGMA busy_timeout = 0").unwrap();
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    assert_eq!(store.write(&[row()]).unwrap_err().trouble(), Trouble::Locked);
    other.batch_execute("ROLLBACK").unwrap();
    store.write(&[row()]).unwrap();

    store.connection.batch_execute("PRAGMA query_only = 1").unwrap();
    assert_eq!(store.write(&[row()]).unwrap_err().trouble(), Trouble::Unusable);
    store.connection.batch_execute("PRAGMA query_only = 0").unwrap();

    let refusal = "CREATE TRIGGER no BEFORE INSERT ON channel_stats BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.connection.batch_execute(refusal).unwrap();
    let error = store.write(&[row()]).unwrap_err();
    assert_eq!((error.trouble(), error.to_string().as_str()), (Trouble::Refused, "no"));
    assert_eq!(count(&mut store, "request_stats"), 1, "nothing is written by half");

    let trouble = |path: &Path| Store::open(path).err().map(|error| error.trouble());
    let damaged = folder.path().join("damaged.db");
    std::fs::write(&damaged, vec![b'x'; 32_768]).unwrap();
    assert_eq!(trouble(&damaged), Some(Trouble::Damaged));
    store.connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut scribbled = std::fs::read(&path).unwrap();
    scribbled[100..].fill(0xff);
    std::fs::write(&damaged, scribbled).unwrap();
    assert_eq!(trouble(&damaged), Some(Trouble::Damaged));
    assert_eq!(trouble(folder.path()), Some(Trouble::Unusable));
    assert_eq!(trouble(&path.join("below/a/file.db")), Some(Trouble::Unusable));
}

/// What `diesel print-schema` would write about a new file: the tables and their columns in order.
fn printed_schema(store: &mut Store) -> String {
    #[derive(QueryableByName)]
    struct Column {
        #[diesel(sql_type = Text, column_name = "table_name")]
        table: String,
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text, column_name = "type")]
        sql_type: String,
        #[diesel(sql_type = Integer)]
        not_null: i32,
        #[diesel(sql_type = Integer)]
        pk: i32,
    }
    let sql = "SELECT t.name AS table_name, c.name, c.type, c.\"notnull\" AS not_null, c.pk
        FROM sqlite_master t, pragma_table_info(t.name) c
        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name NOT LIKE '\\_\\_diesel%' ESCAPE '\\'
        ORDER BY t.name, c.cid";
    let columns: Vec<Column> = diesel::sql_query(sql).load(&mut store.connection).unwrap();
    let mut tables: Vec<&str> = columns.iter().map(|column| column.table.as_str()).collect();
    tables.dedup();
    let mut text = "// @generated automatically by Diesel CLI.\n\n".to_owned();
    for table in &tables {
        let columns = || columns.iter().filter(|column| column.table == *table);
        let mut key: Vec<&Column> = columns().filter(|column| column.pk > 0).collect();
        key.sort_by_key(|column| column.pk);
        let key: Vec<&str> = key.into_iter().map(|column| column.name.as_str()).collect();
        text.push_str(&format!("diesel::table! {{\n    {table} ({}) {{\n", key.join(", ")));
        for Column { name, sql_type, not_null, .. } in columns() {
            let diesel_type = match sql_type.as_str() {
                "INTEGER" => "Integer",
                "BIGINT" => "BigInt",
                "VARCHAR" | "TEXT" => "Text",
                "FLOAT" => "Float",
                "BOOLEAN" => "Bool",
                "DATETIME" => "Timestamp",
                other => panic!("{table}.{name} has the type {other}"),
            };
            let diesel_type = if *not_null == 1 { diesel_type.to_owned() } else { format!("Nullable<{diesel_type}>") };
            text.push_str(&format!("        {name} -> {diesel_type},\n"));
        }
        text.push_str("    }\n}\n\n");
    }
    text.push_str("diesel::allow_tables_to_appear_in_same_query!(\n");
    tables.iter().for_each(|table| text.push_str(&format!("    {table},\n")));
    text.push_str(");\n");
    text
}

#[test]
fn schema_rs_is_what_diesel_would_print() {
    let (_folder, mut store) = fresh();
    assert_eq!(printed_schema(&mut store), include_str!("../schema.rs"));
}
