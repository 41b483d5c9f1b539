"""The notifier beside a WebSocket server written with Node's `ws`: the same topic, each a queue of its own on it, as many sockets, each listening to one
asset of its own. Progress is published; what is measured is publishing → frame at the client. Node's server neither authorises nor keeps a log."""

import json
import os
import pathlib
import resource
import secrets
import statistics
import subprocess
import time

from harness import Absent, Figure, Sample, at_least, at_most
from harness.fleet import Fleet, Server, cpu_seconds, free_port, memory_kib, tree

WHAT = "notifier: sockets, each with an asset of its own"
AGAINST = "Node `ws`"
LIMIT_S = 280
TOOLS = {"node": ["node", "--version"]}
WANTED = 15_000
RATE, SECONDS = 200, 4
# Descriptors of a process that are no sockets of clients.
SPARE = 1_000
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def asset_id(number):
    """A TypeID: a UUID of version 7 in Crockford's base 32."""
    value = (1_790_000_000_000 + number) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return "ast_" + "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def fill(fleet, ids):
    """Rows of assets that nobody processes, copied from one that is there."""
    names = [row[0] for row in fleet.aws.sql("SELECT name FROM pragma_table_info('asset')")]
    own = {"id": "value", "identity": "'bench/' || value", "object_key": "'bench/' || value"}
    columns = ", ".join(own.get(name, name) for name in names)
    for at in range(0, len(ids), 1_000):
        fleet.aws.sql(
            f"INSERT INTO asset ({', '.join(names)}) SELECT {columns} FROM asset, json_each(:ids) WHERE object_key = 'seed.png'",
            ids=json.dumps(ids[at : at + 1_000]),
        )


class Side:
    """One server's clients, in a process of their own."""

    def __init__(self, bench, fleet, url, ids, server_pids):
        self.pids, self.ids = server_pids, ids
        env = {
            "URL": url, "TOPIC_ARN": topic(fleet), "API_KEY": fleet.ready["api_key"], **aws(fleet),
        }
        folder = bench.root / "bench" / "sockets"
        self.clients = subprocess.Popen(
            [bench.tool("node"), folder / "clients.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **env},
        )

    def ask(self, **asked):
        self.clients.stdin.write(json.dumps(asked) + "\n")
        self.clients.stdin.flush()
        line = self.clients.stdout.readline()
        if not line:
            raise RuntimeError(f"the clients ended with {self.clients.wait()}")
        return json.loads(line)

    def open(self):
        before = memory_kib(self.pids)[0]
        self.opened = self.ask(open=self.ids)
        self.settle()
        self.socket_bytes = (memory_kib(self.pids)[0] - before) * 1024 / max(1, self.opened["held"])

    def settle(self):
        """What opening left to be done is done: the server rests for a second."""
        for _ in range(60):
            cpu = cpu_seconds(self.pids)
            time.sleep(1)
            if cpu_seconds(self.pids) - cpu < 0.1:
                return

    def round(self):
        cpu = cpu_seconds(self.pids)
        said = self.ask(round={"seconds": SECONDS, "rate": RATE})
        if said["missing"] > said["sent"] * 0.01 or said["lost"]:
            raise RuntimeError(f"{said['missing']} of {said['sent']} pushes did not arrive, {said['lost']} sockets were closed")
        return Sample(p50=said["p50"] / 1e3, p99=said["p99"] / 1e3, cpu=(cpu_seconds(self.pids) - cpu) / said["sent"], missing=said["missing"])

    def end(self):
        self.clients.stdin.close()
        self.clients.kill()
        self.clients.wait()


def aws(fleet):
    ready = fleet.ready
    return {
        "AWS_ENDPOINT_URL": ready["aws_endpoint"], "AWS_ACCESS_KEY_ID": ready["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": ready["secret_access_key"], "AWS_REGION": ready["region"],
    }


def topic(fleet):
    return f"arn:aws:sns:{fleet.ready['region']}:000000000000:reelfleet-events"


def run(bench):
    folder = bench.root / "bench" / "sockets"
    if not (folder / "node_modules" / "ws").is_dir():
        raise Absent("npm ci has not been run in bench/sockets (scripts/setup.sh bench)")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(WANTED, hard - SPARE)
    picture = (bench.root / "bench" / "tiny" / "pixel.png").read_bytes()
    # Nothing else is to be done meanwhile.
    options = ["--transcoders", "0", "--thumbnailers", "0"]
    with Fleet(bench, bench.scratch / "fleet", *options, env={"REELFLEET_NOTIFIER_CONNECTIONS_PER_USER": "100000"}) as fleet:
        fleet.drop("seed.png", picture)
        fleet.asset("seed.png", "probe", lambda row: row[0] is not None, 30)
        ids = [asset_id(number) for number in range(2 * count)]
        fill(fleet, ids)
        queue = fleet.aws.sqs("CreateQueue", QueueName="bench-node")["QueueUrl"]
        arn = fleet.aws.sqs("GetQueueAttributes", QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        fleet.aws.sns("Subscribe", **{
            "TopicArn": topic(fleet), "Protocol": "sqs", "Endpoint": arn,
            "Attributes.entry.1.key": "RawMessageDelivery", "Attributes.entry.1.value": "true",
        })
        port = free_port()
        env = {**aws(fleet), "QUEUE_URL": queue, "PORT": str(port)}
        log = pathlib.Path(bench.scratch / "node.log")
        with Server([bench.tool("node"), folder / "server.mjs"], port, env, log=log) as node:
            ours_url = fleet.ready["notifier"].replace("http", "ws", 1) + "/v1/realtime"
            sides = {
                "ours": Side(bench, fleet, ours_url, ids[:count], fleet.ready["pids"]["notifier"]),
                "node": Side(bench, fleet, f"ws://127.0.0.1:{port}/", ids[count:], tree(node.process.pid)),
            }
            try:
                for side in sides.values():
                    side.open()
                ours, theirs = sides["ours"], sides["node"]
                opened = f"opened in {ours.opened['seconds']:.0f} s, with three reads of the catalogue each; Node's in {theirs.opened['seconds']:.0f} s"
                opened += "".join(f"; the next was refused: {side.opened['why']}" for side in sides.values() if side.opened["why"])
                yield Figure("sockets held at once", ours.opened["held"], unit="", goal=at_least(WANTED), note=opened)
                yield Figure(
                    "memory a socket", ours.socket_bytes, unit="B", goal=at_most(10 << 10),
                    note=f"with its asset's stream and reader; Node's {theirs.socket_bytes / 1024:.1f} KiB, which holds a topic's name",
                )
                found = bench.rounds({name: side.round for name, side in sides.items()}, rounds=max(5, bench.rounds_wanted))
            finally:
                for side in sides.values():
                    side.end()
    a, b = found["ours"], found["node"]
    note = f"{RATE} events/s for {SECONDS} s to {count} sockets on each side, each event to the one socket that listens, through SNS and SQS of `local`"
    if sum(a.missing) + sum(b.missing):
        note += f"; within 15 s {sum(a.missing):.0f} of ours and {sum(b.missing):.0f} of Node's did not arrive"
    yield Figure("personal push, p99", a.p99, b.p99, "s", at_most(0.7), note)
    yield Figure("personal push, p50", a.p50, b.p50, "s")
    yield Figure("CPU of the server a push", a.cpu, b.cpu, "s", None, f"ours {statistics.median(a.cpu) * 1e6:.0f} µs")
