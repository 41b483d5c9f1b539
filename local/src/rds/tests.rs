//! The service as a whole, on both engines. PostgreSQL comes from `tests/postgres.sh`.

use std::{path::Path, process::Command, sync::Arc};

use serde_json::{Value, json};

use super::{RdsBackend, RdsData, handle, transactions::IDLE_LIMIT};

struct Service {
    rds: Arc<RdsData>,
    folder: tempfile::TempDir,
}

impl Service {
    /// With an empty table, on SQLite.
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backend = RdsBackend::Sqlite { path: folder.path().join("rds.db") };
        let service = Self { rds: RdsData::open(&backend).await.unwrap(), folder };
        service.ok("/Execute", json!({"sql": TABLE})).await;
        service
    }

    /// On a PostgreSQL of its own.
    async fn postgres() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = postgres("start", folder.path());
        let rds = RdsData::open(&RdsBackend::Postgres { url }).await.unwrap();
        Self { rds, folder }
    }

    /// Status, error type, body.
    async fn call(&self, path: &str, mut body: Value) -> (u16, String, Value) {
        body["resourceArn"] = "r".into();
        body["secretArn"] = "s".into();
        let response = handle(&self.rds, path, body.to_string().into()).await;
        let kind = response.headers().get("x-amzn-errortype").map(|v| v.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, kind.unwrap_or_default(), serde_json::from_slice(&body).unwrap())
    }

    async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, kind, body) = self.call(path, body).await;
        assert_eq!(status, 200, "{kind}: {body}");
        body
    }

    async fn refused(&self, path: &str, body: Value) -> (String, String) {
        let (status, kind, body) = self.call(path, body).await;
        assert_ne!(status, 200, "{body}");
        (kind, body["message"].as_str().unwrap().to_owned())
    }

    async fn begin(&self) -> Value {
        self.ok("/BeginTransaction", json!({})).await["transactionId"].clone()
    }

    async fn insert(&self, id: i64, transaction: &Value) -> Value {
        let sql = format!("INSERT INTO t VALUES ({id}, 0, TRUE)");
        self.ok("/Execute", json!({"sql": sql, "transactionId": transaction})).await
    }

    async fn count(&self, transaction: &Value) -> i64 {
        let body = json!({"sql": "SELECT count(*) FROM t", "transactionId": transaction});
        self.ok("/Execute", body).await["records"][0][0]["longValue"].as_i64().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        postgres("stop", self.folder.path()); // does nothing where none was started
    }
}

const TABLE: &str = "CREATE TABLE t(id BIGINT PRIMARY KEY, n BIGINT NOT NULL, ok BOOLEAN)";

fn postgres(action: &str, folder: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/postgres.sh");
    let output = Command::new(script).arg(action).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The clock stands still and jumps when all wait: the second writer's wait for the lock is what moves it.
#[tokio::test(start_paused = true)]
async fn an_idle_transaction_is_rolled_back_and_frees_the_lock() {
    let service = Service::open().await;
    let idle = service.begin().await;
    service.insert(1, &idle).await;
    let began = tokio::time::Instant::now();
    service.insert(2, &Value::Null).await;
    assert!(began.elapsed() >= IDLE_LIMIT, "the writer came before its turn");
    assert_eq!(service.count(&Value::Null).await, 1, "the idle transaction's row stayed");
    for path in ["/CommitTransaction", "/RollbackTransaction"] {
        let (kind, message) = service.refused(path, json!({"transactionId": idle})).await;
        assert_eq!(kind, "BadRequestException");
        assert_eq!(message, format!("Transaction {} is not found", idle.as_str().unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn at_a_shutdown_nobody_waits_for_a_transaction_that_cannot_go_on() {
    let service = Service::open().await;
    let open = service.begin().await;
    service.insert(1, &open).await;
    let began = tokio::time::Instant::now();
    let (_, waited) = tokio::join!(service.rds.close(), service.insert(2, &Value::Null));
    assert_eq!(waited["numberOfRecordsUpdated"], 1);
    assert!(began.elapsed() < IDLE_LIMIT, "{:?}", began.elapsed());
    assert_eq!(service.count(&Value::Null).await, 1, "what was not committed is gone");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_spoken_to_stays() {
    let service = Service::open().await;
    let busy = service.begin().await;
    for id in 0..4 {
        tokio::time::advance(IDLE_LIMIT * 3 / 4).await;
        service.insert(id, &busy).await;
    }
    service.ok("/CommitTransaction", json!({"transactionId": busy})).await;
    assert_eq!(service.count(&Value::Null).await, 4);
}

#[tokio::test]
async fn a_transaction_that_has_read_may_write_upon_the_newest_state() {
    a_transaction_that_has_read_may_write_upon_the_newest_state_on(&Service::open().await).await;
}

async fn a_transaction_that_has_read_may_write_upon_the_newest_state_on(service: &Service) {
    let first = service.begin().await;
    let second = service.begin().await;
    assert_eq!(service.count(&first).await, 0);
    assert_eq!(service.count(&second).await, 0);
    service.insert(1, &Value::Null).await; // nobody holds a lock yet
    assert_eq!(service.count(&first).await, 1, "READ COMMITTED sees what was committed meanwhile");
    service.insert(2, &first).await;
    assert_eq!(service.count(&first).await, 2, "a transaction sees its own writes");
    assert_eq!(service.count(&second).await, 1, "and nobody else does");
    service.ok("/CommitTransaction", json!({"transactionId": first})).await;
    service.insert(3, &second).await;
    service.ok("/RollbackTransaction", json!({"transactionId": second})).await;
    assert_eq!(service.count(&Value::Null).await, 2);
}

#[tokio::test]
async fn after_an_error_a_transaction_can_only_be_rolled_back() {
    after_an_error_a_transaction_can_only_be_rolled_back_on(&Service::open().await).await;
}

async fn after_an_error_a_transaction_can_only_be_rolled_back_on(service: &Service) {
    let failed = service.begin().await;
    service.insert(1, &failed).await;
    let again = json!({"sql": "INSERT INTO t VALUES (1, 0, TRUE)", "transactionId": failed});
    assert!(service.refused("/Execute", again).await.1.ends_with("SQLState: 23505"));
    let read = json!({"sql": "SELECT 1", "transactionId": failed});
    assert!(service.refused("/Execute", read).await.1.ends_with("SQLState: 25P02"));
    service.insert(1, &Value::Null).await; // its lock is free already
    let (_, message) = service.refused("/CommitTransaction", json!({"transactionId": failed})).await;
    assert!(message.ends_with("SQLState: 25P02"));
    assert_eq!(service.count(&Value::Null).await, 1);
}

#[tokio::test]
async fn writes_that_share_a_commit_fail_alone() {
    let service = Arc::new(Service::open().await);
    // While this transaction writes, the others gather behind it.
    let holder = service.begin().await;
    service.insert(1000, &holder).await;
    let writers: Vec<_> = (0..40)
        .map(|id| {
            let service = service.clone();
            tokio::spawn(async move {
                let sql = format!("INSERT INTO t VALUES ({}, 7, FALSE) RETURNING id", id / 2);
                service.call("/Execute", json!({"sql": sql})).await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    service.ok("/CommitTransaction", json!({"transactionId": holder})).await;
    let mut refused = 0;
    for writer in writers {
        let (status, _, body) = writer.await.unwrap();
        refused += u32::from(status != 200);
        assert!(status == 200 || body["message"].as_str().unwrap().ends_with("SQLState: 23505"), "{body}");
    }
    assert_eq!(refused, 20);
    assert_eq!(service.count(&Value::Null).await, 21);
}

#[tokio::test]
async fn a_batch_is_kept_whole_or_not_at_all() {
    a_batch_is_kept_whole_or_not_at_all_on(&Service::open().await).await;
}

async fn a_batch_is_kept_whole_or_not_at_all_on(service: &Service) {
    let set = |id: i64| json!([{"name": "id", "value": {"longValue": id}}]);
    let batch = |ids: &[i64]| {
        let sets: Vec<_> = ids.iter().map(|id| set(*id)).collect();
        json!({"sql": "INSERT INTO t VALUES (:id, 1, NULL)", "parameterSets": sets})
    };
    let answer = service.ok("/BatchExecute", batch(&[1, 2, 3])).await;
    assert_eq!(answer["updateResults"].as_array().unwrap().len(), 3);
    service.refused("/BatchExecute", batch(&[4, 5, 1])).await;
    assert_eq!(service.count(&Value::Null).await, 3);
}

#[tokio::test]
async fn results_have_the_declared_types() {
    let service = Service::open().await;
    let insert = json!({"sql": "INSERT INTO t VALUES (1, 2, TRUE) RETURNING ok, n"});
    let answer = service.ok("/Execute", insert).await;
    assert_eq!(answer["numberOfRecordsUpdated"], 1);
    assert_eq!(answer["records"], json!([[{"booleanValue": true}, {"longValue": 2}]]));
    let select = json!({"sql": "SELECT ok, NOT ok AS no FROM t", "includeResultMetadata": true});
    let answer = service.ok("/Execute", select).await;
    assert_eq!(answer["records"], json!([[{"booleanValue": true}, {"longValue": 0}]]));
    assert_eq!(answer["columnMetadata"][0]["typeName"], "bool");
    // A statement prepared before a change of the schema has the columns of after it.
    let star = json!({"sql": "SELECT * FROM t"});
    service.ok("/Execute", star.clone()).await;
    service.ok("/Execute", json!({"sql": "ALTER TABLE t ADD COLUMN more TEXT"})).await;
    assert_eq!(service.ok("/Execute", star).await["records"][0].as_array().unwrap().len(), 4);
    let (_, message) = service.refused("/Execute", json!({"sql": "SELECT \"nosuch\""})).await;
    assert!(message.ends_with("SQLState: 42703"), "{message}");
}

#[tokio::test]
async fn an_endless_statement_is_none_of_the_others_business() {
    let service = Service::open().await;
    // Beyond the limits it is refused while it still runs, and what it held is free.
    let endless = "WITH RECURSIVE x(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM x) SELECT n FROM x";
    let (kind, message) = service.refused("/Execute", json!({"sql": endless})).await;
    assert_eq!((kind.as_str(), message.contains("1 MB")), ("BadRequestException", true));
    service.insert(1, &Value::Null).await;
}

#[tokio::test]
async fn the_same_holds_on_postgresql() {
    let service = Service::postgres().await;
    macro_rules! each_on_a_new_table {
        ($($scenario:ident)*) => {$(
            service.ok("/Execute", json!({"sql": "DROP TABLE IF EXISTS t"})).await;
            service.ok("/Execute", json!({"sql": TABLE})).await;
            $scenario(&service).await;
        )*};
    }
    each_on_a_new_table! {
        a_transaction_that_has_read_may_write_upon_the_newest_state_on
        after_an_error_a_transaction_can_only_be_rolled_back_on
        a_batch_is_kept_whole_or_not_at_all_on
        postgresql_keeps_its_types
    }
}

async fn postgresql_keeps_its_types(service: &Service) {
    let table = "CREATE TABLE v(l BIGINT, i INT, d DOUBLE PRECISION, b BOOLEAN, s TEXT, x BYTEA, n NUMERIC(9,2), \
                 at TIMESTAMPTZ, day DATE, u UUID, j JSONB, nil BIGINT)";
    service.ok("/Execute", json!({"sql": table})).await;
    let p = |name: &str, value: Value| json!({"name": name, "value": value});
    let h =
        |name: &str, hint: &str, value: &str| json!({"name": name, "typeHint": hint, "value": {"stringValue": value}});
    let insert = json!({
        "sql": "INSERT INTO v VALUES (:l, :i, :d, :b, :s, :x, :n, :at, :day, :u, :j, :nil) RETURNING *, :l + 1 AS more",
        "parameters": [
            p("l", json!({"longValue": i64::MAX - 1})), p("i", json!({"longValue": -5})),
            p("d", json!({"doubleValue": 0.1})), p("b", json!({"booleanValue": false})),
            p("s", json!({"stringValue": "it's \u{e9} \\ :no"})), p("x", json!({"blobValue": "AP8="})),
            p("nil", json!({"isNull": true})), h("n", "DECIMAL", "-12.50"), h("at", "TIMESTAMP", "2026-03-02 01:02:03.5"),
            h("day", "DATE", "2026-03-02"), h("u", "UUID", "018f3f6e-1111-7000-8000-000000000000"), h("j", "JSON", "{\"a\": 1}"),
        ],
    });
    let answer = service.ok("/Execute", insert).await;
    assert_eq!(
        answer["records"][0],
        json!([
            {"longValue": i64::MAX - 1}, {"longValue": -5}, {"doubleValue": 0.1}, {"booleanValue": false},
            {"stringValue": "it's \u{e9} \\ :no"}, {"blobValue": "AP8="}, {"stringValue": "-12.50"},
            {"stringValue": "2026-03-02 01:02:03.5"}, {"stringValue": "2026-03-02"},
            {"stringValue": "018f3f6e-1111-7000-8000-000000000000"}, {"stringValue": "{\"a\": 1}"}, {"isNull": true},
            {"longValue": i64::MAX},
        ])
    );
    assert_eq!(answer["numberOfRecordsUpdated"], 1);
    // PostgreSQL's own typing and words.
    let text = json!({"sql": "SELECT 1 FROM v WHERE l = :l", "parameters": [p("l", json!({"stringValue": "1"}))]});
    let (kind, message) = service.refused("/Execute", text).await;
    assert_eq!(kind, "DatabaseErrorException");
    assert!(message.starts_with("ERROR: operator does not exist: bigint = text"), "{message}");
    assert!(message.ends_with("; SQLState: 42883"), "{message}");
    let (kind, _) = service.refused("/Execute", json!({"sql": "SELECT ARRAY[1]"})).await;
    assert_eq!(kind, "UnsupportedResultException");
    // A statement prepared before a change of the schema has the columns of after it.
    let star = json!({"sql": "SELECT * FROM v"});
    service.ok("/Execute", star.clone()).await;
    service.ok("/Execute", json!({"sql": "ALTER TABLE v ADD COLUMN more TEXT"})).await;
    assert_eq!(service.ok("/Execute", star).await["records"][0].as_array().unwrap().len(), 13);
}
