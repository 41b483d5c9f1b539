"""The RDS Data API as boto3 sees it: the same tests on SQLite and on PostgreSQL.

Where the engines differ by nature, nothing is tested here: the product's SQL stays in what they share.
"""

import base64
import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

POSTGRES = Path(__file__).parent.parent / "postgres.sh"
ARNS = {
    "resourceArn": "arn:aws:rds:us-east-1:000000000000:cluster:reelfleet",
    "secretArn": "arn:aws:secretsmanager:us-east-1:000000000000:secret:reelfleet",
}


class Rds:
    """A client whose calls name no ARN and whose results are plain Python values."""

    def __init__(self, url):
        self.client = boto3.client(
            "rds-data",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "test"),
            aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
            config=Config(retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=32),
        )

    def raw(self, sql, transaction=None, more=None, **values):
        extra = {"transactionId": transaction} if transaction else {}
        return self.client.execute_statement(
            **ARNS, sql=sql, parameters=parameters(values), **extra, **(more or {})
        )

    def __call__(self, sql, transaction=None, **values):
        answer = self.raw(sql, transaction, **values)
        return [tuple(plain(field) for field in row) for row in answer.get("records", [])]

    def updated(self, sql, transaction=None, **values):
        return self.raw(sql, transaction, **values)["numberOfRecordsUpdated"]

    def batch(self, sql, sets, transaction=None):
        extra = {"transactionId": transaction} if transaction else {}
        return self.client.batch_execute_statement(
            **ARNS, sql=sql, parameterSets=[parameters(values) for values in sets], **extra
        )

    def begin(self):
        return self.client.begin_transaction(**ARNS)["transactionId"]

    def commit(self, transaction):
        return self.client.commit_transaction(
            resourceArn=ARNS["resourceArn"], secretArn=ARNS["secretArn"], transactionId=transaction
        )["transactionStatus"]

    def rollback(self, transaction):
        return self.client.rollback_transaction(
            resourceArn=ARNS["resourceArn"], secretArn=ARNS["secretArn"], transactionId=transaction
        )["transactionStatus"]


def parameters(values):
    return [{"name": name, **parameter(value)} for name, value in values.items()]


def parameter(value):
    if isinstance(value, Hinted):
        return {"typeHint": value.hint, "value": {"stringValue": value.text}}
    if value is None:
        return {"value": {"isNull": True}}
    kinds = {bool: "booleanValue", int: "longValue", float: "doubleValue", str: "stringValue", bytes: "blobValue"}
    return {"value": {kinds[type(value)]: value}}


class Hinted:
    def __init__(self, hint, text):
        self.hint, self.text = hint, text


def plain(field):
    ((kind, value),) = field.items()
    return None if kind == "isNull" else value


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory):
    """A PostgreSQL of our own. Without PostgreSQL installed the tests fail: half of what they hold would not be tested."""
    folder = tmp_path_factory.mktemp("postgres")
    started = subprocess.run([POSTGRES, "start", folder], capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    yield started.stdout.strip()
    subprocess.run([POSTGRES, "stop", folder], check=True)


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def endpoint(request, start_local):
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    endpoint = start_local(rds_postgres_url=url)
    # Which engine it is, it says itself: otherwise one half of this file could try the other's.
    if not os.environ.get("REELFLEET_CONFORMANCE_ENDPOINT"):
        asked = {"sqlite": "SELECT 'SQLite ' || sqlite_version()", "postgres": "SELECT version()"}[request.param]
        wanted = {"sqlite": "SQLite 3", "postgres": "PostgreSQL "}[request.param]
        [(engine,)] = Rds(endpoint)(asked)
        assert engine.startswith(wanted), engine
    return endpoint


@pytest.fixture
def rds(endpoint):
    """A client, and an empty table of its own: t(id, n, ok, d, s)."""
    rds = Rds(endpoint)
    for table in ("child", "t"):
        rds(f"DROP TABLE IF EXISTS {table}")
    rds("CREATE TABLE t(id TEXT PRIMARY KEY, n BIGINT NOT NULL CHECK (n >= 0), ok BOOLEAN, d DOUBLE PRECISION, s TEXT UNIQUE)")
    return rds


def refused(kind, call, *arguments, **values):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **values)
    assert caught.value.response["Error"]["Code"] == kind, caught.value
    return caught.value.response["Error"]["Message"]


def state(call, *arguments, **values):
    """The SQLSTATE with which the database refused."""
    message = refused("DatabaseErrorException", call, *arguments, **values)
    assert message.startswith("ERROR: "), message
    return message.rpartition("; SQLState: ")[2]


def test_every_kind_of_value_comes_back(rds):
    text = "it's \u00e9 \U0001f600 :no -- \\ \"q\""
    rows = rds(
        "INSERT INTO t(id, n, ok, d, s) VALUES (:id, :n, :ok, :d, :s) RETURNING id, n, ok, d, s",
        id=text, n=2**63 - 1, ok=True, d=0.1, s=None,
    )
    assert rows == [(text, 2**63 - 1, True, 0.1, None)]
    assert rds("SELECT id, n, ok, d, s FROM t WHERE id = :id", id=text) == rows


def test_blobs(rds):
    kind = "BLOB" if rds_is_sqlite(rds) else "BYTEA"
    rds("DROP TABLE IF EXISTS blobs")
    rds(f"CREATE TABLE blobs(b {kind})")
    every = bytes(range(256))
    rds("INSERT INTO blobs VALUES (:b)", b=every)
    assert rds("SELECT b FROM blobs") == [(every,)]
    answer = rds.raw("SELECT b FROM blobs", more={"formatRecordsAs": "JSON"})
    assert json.loads(answer["formattedRecords"]) == [{"b": base64.b64encode(every).decode()}]


def rds_is_sqlite(rds):
    try:
        rds("SELECT sqlite_version()")
        return True
    except ClientError:
        return False


def test_parameters_stand_where_parameters_may(rds):
    rows = rds("SELECT ':no' AS a, CAST(:a AS TEXT) AS b /* :no */, CAST(:a AS TEXT) AS c -- :no\n", a="x")
    assert rows == [(":no", "x", "x")]


def test_hints_are_checked_and_kept(rds):
    for hint, text in [
        ("DATE", "2026-03-02"), ("TIME", "01:02:03.5"), ("TIMESTAMP", "2026-03-02 01:02:03.5"),
        ("JSON", '{"a": 1}'), ("UUID", "018f3f6e-1111-7000-8000-000000000000"),
    ]:
        assert rds("SELECT CAST(:v AS TEXT) AS v", v=Hinted(hint, text)) == [(text,)]
        refused("BadRequestException", rds, "SELECT CAST(:v AS TEXT) AS v", v=Hinted(hint, "{nonsense"))
    assert rds.updated("INSERT INTO t(id, n) VALUES ('d', CAST(:v AS BIGINT))", v=Hinted("DECIMAL", "12")) == 1
    refused("BadRequestException", rds, "SELECT CAST(:v AS TEXT)", v=Hinted("DECIMAL", "1,2"))
    refused("BadRequestException", rds, "SELECT CAST(:v AS TEXT)", v=Hinted("COLOUR", "red"))


def test_upsert_and_compare_and_set(rds):
    upsert = (
        "INSERT INTO t(id, n) VALUES (:id, :n) ON CONFLICT (id) DO UPDATE SET n = excluded.n "
        "WHERE t.n < excluded.n RETURNING n"
    )
    assert rds(upsert, id="a", n=1) == [(1,)]
    assert rds(upsert, id="a", n=5) == [(5,)]
    assert rds(upsert, id="a", n=2) == []
    assert rds("INSERT INTO t(id, n) VALUES ('a', 9) ON CONFLICT DO NOTHING RETURNING n") == []
    assert rds("UPDATE t SET n = :next WHERE id = 'a' AND n = :n RETURNING n", n=5, next=6) == [(6,)]
    assert rds("UPDATE t SET n = :next WHERE id = 'a' AND n = :n RETURNING n", n=5, next=6) == []
    assert rds("WITH x AS (SELECT 7 AS m) UPDATE t SET n = x.m FROM x WHERE id = 'a' RETURNING n") == [(7,)]


def test_numbers_of_records(rds):
    assert rds.updated("INSERT INTO t(id, n) VALUES ('a', 1), ('b', 2), ('c', 3)") == 3
    assert rds.updated("UPDATE t SET n = n + 1 WHERE n > 1") == 2
    assert rds.updated("UPDATE t SET n = n + 1 WHERE n > 1 RETURNING id") == 2
    assert rds.updated("SELECT * FROM t") == 0
    assert rds.updated("DELETE FROM t WHERE n > 100") == 0
    assert rds.updated("CREATE TABLE IF NOT EXISTS child(id TEXT)") == 0
    assert rds.updated("WITH x AS (SELECT id FROM t) DELETE FROM t WHERE id IN (SELECT id FROM x)") == 3


def test_sql_that_both_engines_share(rds):
    rds("INSERT INTO t(id, n, ok, d) VALUES ('a', 1, TRUE, 1.5), ('b', 2, FALSE, NULL), ('c', 3, NULL, 2.5)")
    assert rds("SELECT CAST(sum(n) AS BIGINT), count(*) FILTER (WHERE ok), coalesce(max(d), 0.0) FROM t") == [(6, 1, 2.5)]
    assert rds("SELECT id FROM t ORDER BY d DESC NULLS LAST LIMIT :l OFFSET :o", l=2, o=1) == [("a",), ("b",)]
    assert rds("SELECT id, row_number() OVER (ORDER BY n DESC) FROM t ORDER BY id") == [("a", 3), ("b", 2), ("c", 1)]
    assert rds("SELECT id FROM t WHERE (n, id) > (:n, :id) ORDER BY n", n=1, id="a") == [("b",), ("c",)]
    assert rds("SELECT id FROM t WHERE ok = TRUE OR id LIKE 'C%'") == [("a",)]
    assert rds("SELECT CASE WHEN n > 2 THEN 'many' ELSE 'few' END FROM t WHERE id = 'c'") == [("many",)]
    rds("CREATE UNIQUE INDEX t_ok ON t(ok) WHERE ok")
    assert state(rds, "INSERT INTO t(id, n, ok) VALUES ('d', 1, TRUE)") == "23505"


def test_errors_are_classified_alike(rds):
    rds("CREATE TABLE child(t TEXT NOT NULL REFERENCES t(id))")
    rds("INSERT INTO t(id, n, s) VALUES ('a', 1, 's')")
    assert state(rds, "INSERT INTO t(id, n) VALUES ('a', 1)") == "23505"
    assert state(rds, "INSERT INTO t(id, n, s) VALUES ('b', 1, 's')") == "23505"
    assert state(rds, "INSERT INTO t(id, n) VALUES ('b', NULL)") == "23502"
    assert state(rds, "INSERT INTO t(id, n) VALUES ('b', -1)") == "23514"
    assert state(rds, "INSERT INTO child(t) VALUES ('x')") == "23503"
    assert state(rds, "SELECT * FROM nowhere") == "42P01"
    assert state(rds, "SELECT nosuch FROM t") == "42703"
    assert state(rds, 'SELECT "nosuch" FROM t') == "42703"
    assert state(rds, "SELECT nosuch()") == "42883"
    assert state(rds, "CREATE TABLE t(a TEXT)") == "42P07"
    assert state(rds, "SELEC 1") == "42601"


def test_bad_requests(rds):
    assert refused("BadRequestException", rds, "SELECT CAST(:a AS TEXT)") == "Cannot find parameter: a"
    for sql in ["SELECT 1; SELECT 2", " ", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s"]:
        refused("BadRequestException", rds, sql)
    twice = [{"name": "a", "value": {"longValue": 1}}] * 2
    refused("BadRequestException", rds.client.execute_statement, **ARNS, sql="SELECT CAST(:a AS BIGINT)", parameters=twice)
    array = [{"name": "a", "value": {"arrayValue": {"longValues": [1]}}}]
    refused("BadRequestException", rds.client.execute_statement, **ARNS, sql="SELECT CAST(:a AS BIGINT)", parameters=array)
    for call in (rds.commit, rds.rollback):
        assert refused("BadRequestException", call, "nosuch") == "Transaction nosuch is not found"
    assert refused("BadRequestException", rds, "SELECT 1", "nosuch") == "Transaction nosuch is not found"


def test_limits_of_results(rds):
    rds("INSERT INTO t(id, n, s) VALUES ('a', 1, :s)", s="x" * 60_000)
    assert len(rds("SELECT s FROM t")[0][0]) == 60_000
    refused("BadRequestException", rds, "SELECT s, s AS again FROM t")
    numbers = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 30) SELECT x.n, t.s FROM x, t"
    refused("BadRequestException", rds, numbers)
    assert rds("SELECT n FROM t") == [(1,)]


def test_metadata_and_json(rds):
    rds("INSERT INTO t(id, n, ok, d) VALUES ('a', 1, TRUE, 0.5)")
    answer = rds.raw("SELECT id, n AS number, ok, d FROM t", more={"includeResultMetadata": True})
    assert [(c["label"], c["typeName"]) for c in answer["columnMetadata"]] == [
        ("id", "text"), ("number", "int8"), ("ok", "bool"), ("d", "float8"),
    ]
    assert answer["generatedFields"] == []
    assert "columnMetadata" not in rds.raw("SELECT id FROM t")
    assert rds.raw("SELECT id FROM t WHERE n > 1")["records"] == []
    answer = rds.raw("SELECT id, n AS number, ok, d, s FROM t", more={"formatRecordsAs": "JSON"})
    assert "records" not in answer
    assert answer["formattedRecords"] == '[{"id":"a","number":1,"ok":true,"d":0.5,"s":null}]'
    options = {"resultSetOptions": {"longReturnType": "STRING"}}
    assert rds.raw("SELECT n FROM t", more=options)["records"] == [[{"stringValue": "1"}]]


def test_batches_are_whole(rds):
    insert = "INSERT INTO t(id, n, s) VALUES (:id, :n, :s)"
    answer = rds.batch(insert, [{"id": f"i{i}", "n": i, "s": None if i % 2 else f"s{i}"} for i in range(50)])
    assert answer["updateResults"] == [{"generatedFields": []}] * 50
    assert state(rds.batch, insert, [{"id": i, "n": 1, "s": None} for i in ("x", "y", "i1")]) == "23505"
    refused("BadRequestException", rds.batch, insert, [{"id": "z", "n": 1, "s": None}, {"id": "zz", "n": 1}])
    assert rds("SELECT count(*) FROM t") == [(50,)]
    transaction = rds.begin()
    rds.batch(insert, [{"id": "tx", "n": 1, "s": None}], transaction)
    assert rds.rollback(transaction) == "Rollback Complete"
    assert rds("SELECT count(*) FROM t") == [(50,)]


def test_a_transaction_is_all_or_nothing(rds):
    for end, status, count in [(rds.rollback, "Rollback Complete", 0), (rds.commit, "Transaction Committed", 2)]:
        transaction = rds.begin()
        rds("INSERT INTO t(id, n) VALUES ('a', 1)", transaction)
        rds("INSERT INTO t(id, n) VALUES ('b', 1)", transaction)
        assert rds("SELECT count(*) FROM t", transaction) == [(2,)]
        assert rds("SELECT count(*) FROM t") == [(0,)]
        assert end(transaction) == status
        assert rds("SELECT count(*) FROM t") == [(count,)]
        assert refused("BadRequestException", end, transaction) == f"Transaction {transaction} is not found"


def test_a_failed_transaction_can_only_be_rolled_back(rds):
    transaction = rds.begin()
    rds("INSERT INTO t(id, n) VALUES ('a', 1)", transaction)
    refused("BadRequestException", rds, "SELECT CAST(:a AS TEXT)", transaction)  # never reached the database
    assert state(rds, "INSERT INTO t(id, n) VALUES ('a', 1)", transaction) == "23505"
    assert state(rds, "SELECT 1", transaction) == "25P02"
    assert state(rds.commit, transaction) == "25P02"
    assert rds("SELECT count(*) FROM t") == [(0,)]


def test_readers_that_turn_writers_all_succeed(rds):
    """Each reads, then writes what it read plus one, guarded by it: no increment is lost and nobody is refused."""
    rds("INSERT INTO t(id, n) VALUES ('a', 0)")
    together = threading.Barrier(8)

    def increment(_):
        transaction = rds.begin()
        rds("SELECT n FROM t WHERE id = 'a'", transaction)
        together.wait()
        rds("UPDATE t SET n = n + 1 WHERE id = 'a'", transaction)
        return rds.commit(transaction)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(increment, range(8))) == ["Transaction Committed"] * 8
    assert rds("SELECT n FROM t") == [(8,)]


def test_one_compare_and_set_wins(rds):
    rds("INSERT INTO t(id, n) VALUES ('a', 0)")
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda i: rds("UPDATE t SET n = 1, s = :s WHERE n = 0 RETURNING s", s=f"w{i}"), range(16)))
    winners = [rows[0] for rows in won if rows]
    assert len(winners) == 1
    assert rds("SELECT s FROM t") == winners


def test_an_idle_transaction_makes_way(rds):
    """The second writer waits for the first one's row, and gets it when the first is rolled back for idleness."""
    rds("INSERT INTO t(id, n) VALUES ('a', 0)")
    idle = rds.begin()
    rds("UPDATE t SET n = 1 WHERE id = 'a'", idle)
    assert rds("UPDATE t SET n = n + 10 WHERE id = 'a' RETURNING n") == [(10,)]
    assert refused("BadRequestException", rds.commit, idle) == f"Transaction {idle} is not found"


def test_statements_outlive_a_change_of_the_schema(rds):
    rds("INSERT INTO t(id, n) VALUES ('a', 1)")
    assert len(rds("SELECT * FROM t")[0]) == 5
    rds("ALTER TABLE t ADD COLUMN more BIGINT")
    assert len(rds("SELECT * FROM t")[0]) == 6
