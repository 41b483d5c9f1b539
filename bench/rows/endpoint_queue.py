"""Messages of the embedded endpoint: sends that are on disk when they are answered, receives that are counted on disk. The others keep them in
memory. All get the same signed requests by `wrk`, one after another."""

import contextlib

from harness import Figure, Sample, at_least
from harness.fleet import local, ministack, moto
from harness.load import wrk

WHAT = "`local`: messages, 16 clients"
AGAINST = "moto, ministack (in memory)"
LIMIT_S = 150
TOOLS = {"wrk": ["wrk", "-v"]}
CLIENTS = 16
SECONDS = 2
BODY = '{"v":1,"kind":"encode_chunk","task":"tsk_01j0000000e008000000000001","body":"' + "x" * 400 + '"}'


def queue(server):
    url = server.aws.sqs("CreateQueue", QueueName="bench", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    return url


def send(bench, server, url):
    headers, body = server.aws.sqs_request("SendMessage", QueueUrl=url, MessageBody=BODY)
    found = wrk(bench, server.url + "/", CLIENTS, SECONDS, "POST", headers, body, wanted="MD5OfMessageBody")
    return Sample(rate=found["rate"], p50=found["p50"], p99=found["p99"])


def receive(bench, server, url):
    # Visible again at once: nothing piles up in flight, as it would where nobody deletes.
    headers, body = server.aws.sqs_request("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=0)
    found = wrk(bench, server.url + "/", CLIENTS, SECONDS, "POST", headers, body, wanted="ReceiptHandle")
    return Sample(rate=found["rate"])


def run(bench):
    with contextlib.ExitStack() as stack:
        servers = {
            "local": stack.enter_context(local(bench, bench.scratch / "local")),
            "ministack": stack.enter_context(ministack(bench, bench.scratch / "ministack.log")),
            "moto": stack.enter_context(moto(bench, bench.scratch / "moto.log")),
        }
        urls = {name: queue(server) for name, server in servers.items()}
        # Each round sends before it receives, so that there is something to receive.
        sends = bench.rounds({name: lambda n=name: send(bench, servers[n], urls[n]) for name in servers}, warm=0)
        receives = bench.rounds({name: lambda n=name: receive(bench, servers[n], urls[n]) for name in servers}, warm=0)
    yield Figure("durable sends", sends["local"].rate, unit="/s", goal=at_least(7_000))
    yield Figure("sends", sends["local"].rate, sends["ministack"].rate, "/s", at_least(5), "against ministack")
    yield Figure("sends", sends["local"].rate, sends["moto"].rate, "/s", None, "against moto")
    yield Figure("a send, p50 of 16 clients", sends["local"].p50, sends["ministack"].p50, "s", None, "against ministack")
    yield Figure("receives, one message each", receives["local"].rate, receives["ministack"].rate, "/s", None, "against ministack")
    yield Figure("receives, one message each", receives["local"].rate, receives["moto"].rate, "/s", None, "against moto")
