"""A catalogue with a million assets and ten million events beside an empty one: the list of the API, a page of a replay, the lease of a task. Both are whole
fleets. Replay and lease are the product's own statements, read from its source, through the Data API."""

import json
import re
import shutil
import sqlite3
import statistics
import time

from harness import Figure, Sample, at_most
from harness.fleet import Fleet

WHAT = "a million assets and ten million events in the catalogue"
AGAINST = "an empty one"
LIMIT_S = 420
ASSETS, EVENTS, OWNERS = 1_000_000, 10_000_000, 1_000
ID = "01j0000000e00800"
LISTS, CALLS = 150, 400
DAY_MS = 86_400_000
FLEET = ["--transcoders", "0", "--thumbnailers", "0"]
BODY = """json_object('specversion', '1.0', 'id', {id}, 'source', '/reelfleet/default', 'subject', {asset},
    'time', '2026-01-01T00:00:00.000Z', 'datacontenttype', 'application/json', 'tenant', 'default', 'type', 'asset.probed.v1',
    'data', json_object('asset', {asset}, 'media', 'video', 'duration_ms', 60000, 'width', 1920, 'height', 1080))"""


def statement(bench, file, begins):
    """A statement of the catalogue, as its source spells it."""
    text = (bench.root / "shared/catalog/src" / file).read_text()
    found = re.search('"(' + re.escape(begins) + r'(?:[^"\\]|\\.|\\\n)*)"', text)
    if not found:
        raise RuntimeError(f"{file} has no statement that begins with {begins!r}: this row reads it there")
    return re.sub(r"\\\n\s*", "", found[1])


def insert(database, table, source, **columns):
    """Rows made by a SELECT; what is not named is NULL, or nothing of its type where that is not allowed."""
    for _, name, kind, required, _, _ in database.execute(f"PRAGMA table_info({table})").fetchall():
        if required and name not in columns:
            columns[name] = "''" if kind == "TEXT" else "0"
    database.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {source}")


def fill(path, assets, events, now):
    """Rows as a year of uploads leaves them: ready, described, their events logged in the streams of asset, owner and operators."""
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000", "locking_mode = EXCLUSIVE"):
        database.execute(f"PRAGMA {pragma}")
    indexes = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name IN ('asset', 'event_log', 'task') AND sql NOT NULL").fetchall()
    indexes = [(name, sql) for name, sql in indexes if "UNIQUE" not in sql]
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {} - 1)"
    database.execute("BEGIN")
    database.execute(f"CREATE TEMP TABLE n AS {numbers.format(max(assets, events // 10))} SELECT i FROM n")
    asset, owner, age = f"printf('ast_{ID}%010d', i)", f"printf('usr_{ID}%010d', i % {OWNERS})", f"{now} - ({assets} - i) * 31"
    few = f"n WHERE i < {assets}"
    insert(
        database, "asset", few, id=asset, identity="'b/' || i", tenant="'default'", owner=owner, bucket="'reelfleet-uploads'",
        object_key="'film-' || i || '.mp4'", etag="'e' || i", size="1000000 + i % 5000000", name="'film-' || i || '.mp4'", state="'ready'",
        media="'video'", duration_ms="60000 + i % 9000000", width="1920", height="1080", generation="1", version="5", described="5", tags="'[]'",
        visibility="'private'", search="'film-' || i || '.mp4'", landed_at=age, playable_at=age, ready_at=age, updated_at=age,
    )
    job = f"printf('job_{ID}%010d', i)"
    insert(
        database, "job", few, id=job, asset_id=asset, tenant="'default'", generation="1", state="'succeeded'", percent="100.0",
        created_at=age, updated_at=age,
    )
    task = json.dumps({"v": 1, "kind": "probe_source", "task": f"tsk_{ID}0000000000", "job": f"job_{ID}0000000000", "body": "x" * 200})
    for kind in ("probe_source", "encode_chunk"):
        number = "i" if kind == "probe_source" else f"i + {assets}"
        insert(
            database, "task", few, id=f"printf('tsk_{ID}%010d', {number})", job_id=job, asset_id=asset, tenant="'default'", kind=f"'{kind}'",
            queue="'transcode'", body=f"'{task}'", state="'done'", attempts="1", cost_s="4.0", created_at=age, updated_at=age,
        )
    each = events // 10
    for stream, count, per in (("asset", 3 * each, None), ("user", 3 * each, OWNERS), ("ops", 4 * each, 1)):
        for part in range(count // each):
            number = f"({part * each} + i)"
            # The streams of assets have three events, those of owners some thousands, the operators' has all of its own.
            name, position = {
                "asset": (f"printf('asset:ast_{ID}%010d', i)", str(part + 1)),
                "user": (f"printf('user:default/usr_{ID}%010d', {number} % {per})", f"{number} / {per} + 1"),
                "ops": ("'ops'", f"{number} + 1"),
            }[stream]
            event = f"printf('evt_{ID}%010d', {number})"
            insert(
                database, "event_log", f"n WHERE i < {each}", stream=name, position=position, event_id=event,
                body=BODY.format(id=event, asset=asset), logged_at=f"{now} - i % {DAY_MS}",
            )
    database.execute("INSERT INTO stream (name, position) SELECT stream, max(position) FROM event_log GROUP BY stream ON CONFLICT (name) DO UPDATE SET position = excluded.position")
    for _, sql in indexes:
        database.execute(sql)
    database.execute("UPDATE log_cursor SET position = (SELECT position FROM stream WHERE name = 'ops')")
    database.execute("COMMIT")
    database.execute("ANALYZE")
    database.close()


def folders(bench):
    """The empty installation and the full one; the full one is made once and kept, as long as the schema stays what it is."""
    kept = bench.state / "million"
    schema = "".join(path.read_text() for path in sorted((bench.root / "schema/sql").glob("*.sql"))) + f"{ASSETS} {EVENTS}"
    if not (kept / "schema").exists() or (kept / "schema").read_text() != schema:
        shutil.rmtree(kept, ignore_errors=True)
        with Fleet(bench, kept / "full", *FLEET):
            pass
        found = [path for path in (kept / "full" / "aws").rglob("*") if path.is_file() and has_table(path, "event_log")]
        if not found:
            raise RuntimeError(f"no catalogue under {kept / 'full'}")
        fill(found[0], ASSETS, EVENTS, int(time.time() * 1_000))
        (kept / "schema").write_text(schema)
    return {"full": kept / "full", "empty": bench.scratch / "empty"}


def has_table(path, table):
    try:
        with open(path, "rb") as file:
            if not file.read(16).startswith(b"SQLite format 3"):
                return False
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone())
    except sqlite3.Error:
        return False


def p99(times):
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def timed(count, call):
    times = []
    for number in range(count):
        began = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - began)
    return Sample(p50=statistics.median(times), p99=p99(times))


def run(bench):
    began = time.monotonic()
    places = folders(bench)
    made = time.monotonic() - began
    replay = statement(bench, "events.rs", "SELECT position, body FROM event_log WHERE stream = :stream AND position > :position")
    claim = statement(bench, "tasks.rs", "UPDATE task SET state = 'leased', lease_token = lease_token + 1, lease_owner = :instance")
    now = int(time.time() * 1_000)
    with Fleet(bench, places["full"], *FLEET) as full, Fleet(bench, places["empty"], *FLEET) as empty:
        fleets = {"full": full, "empty": empty}
        # The empty one has what a call needs: a page of assets, a stream of a few hundred events, tasks to be leased.
        seed(empty.aws, now)
        tokens = {name: 0 for name in fleets}

        def listed(name):
            return timed(LISTS, lambda _: fleets[name].api("GET", "/v1/assets?limit=25"))

        def replayed(name):
            stream, most = (f"user:default/usr_{ID}{7:010d}", 2_800) if name == "full" else ("user:default/bench", 200)
            return timed(CALLS, lambda n: fleets[name].aws.sql(replay, stream=stream, position=n * 37 % most, limit=100))

        def claimed(name):
            tokens[name] += 1
            last = 2 * ASSETS - 1 if name == "full" else CALLS - 1
            stride = 2 * ASSETS // CALLS if name == "full" else 1
            ids = [f"tsk_{ID}{last - n * stride:010d}" for n in range(CALLS)]
            fleets[name].aws.sql(
                "UPDATE task SET state = 'pending', attempts = 0, crashes = 0, next_at = 0 WHERE id IN (SELECT value FROM json_each(:ids))",
                ids=json.dumps(ids),
            )

            def one(n):
                rows = fleets[name].aws.sql(
                    claim, instance="bench", until=now, op=f"{tokens[name]}/{n}", now=now, id=ids[n], max=20, crashes=3, stale=0
                )
                if len(rows) != 1:
                    raise RuntimeError(f"{ids[n]} was not leased")

            found = timed(CALLS, one)
            fleets[name].aws.sql("UPDATE task SET state = 'done' WHERE id IN (SELECT value FROM json_each(:ids))", ids=json.dumps(ids))
            return found

        size = sum(path.stat().st_size for path in (places["full"] / "aws").rglob("*") if path.is_file())
        note = f"{size / 2**30:.1f} GiB of SQLite" + (f", made in {made:.0f} s" if made > 20 else ", kept from an earlier run")
        for what, side in (("list, 25 of the newest", listed), ("replay, 100 events", replayed), ("lease of a task", claimed)):
            found = bench.rounds({name: lambda s=side, n=name: s(n) for name in fleets}, rounds=max(5, bench.rounds_wanted))
            yield Figure(f"{what}, p99", found["full"].p99, found["empty"].p99, "s", at_most(2), note)
            yield Figure(f"{what}, p50", found["full"].p50, found["empty"].p50, "s")
            note = ""


def seed(aws, now):
    """Rows of the empty one, made by its own engine."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {} - 1) SELECT {} FROM n"

    def rows(table, count, **columns):
        for name, kind, required in aws.sql(f"SELECT name, type, \"notnull\" FROM pragma_table_info('{table}')"):
            if required and name not in columns:
                columns[name] = "''" if kind == "TEXT" else "0"
        aws.sql(f"INSERT INTO {table} ({', '.join(columns)}) {numbers.format(count, ', '.join(columns.values()))}")

    asset = f"printf('ast_{ID}%010d', i)"
    rows(
        "asset", 25, id=asset, identity="'b/' || i", tenant="'default'", owner="'bench'", bucket="'reelfleet-uploads'",
        object_key="'film-' || i || '.mp4'", etag="'e'", size="1000000", name="'film-' || i || '.mp4'", state="'ready'", media="'video'",
        duration_ms="60000", width="1920", height="1080", generation="1", version="5", described="5", tags="'[]'", visibility="'private'",
        search="'film-' || i || '.mp4'", landed_at=str(now), playable_at=str(now), ready_at=str(now), updated_at=str(now),
    )
    event = f"printf('evt_{ID}%010d', i)"
    rows(
        "event_log", 300, stream="'user:default/bench'", position="i + 1", event_id=event, body=BODY.format(id=event, asset=asset),
        logged_at=str(now),
    )
    task = json.dumps({"v": 1, "kind": "probe_source", "task": f"tsk_{ID}0000000000", "job": f"job_{ID}0000000000", "body": "x" * 200})
    rows(
        "task", CALLS, id=f"printf('tsk_{ID}%010d', i)", job_id="'job'", asset_id=asset, tenant="'default'", kind="'probe_source'",
        queue="'transcode'", body=f"'{task}'", state="'done'", attempts="1", cost_s="4.0", created_at=str(now), updated_at=str(now),
    )
