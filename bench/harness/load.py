"""`wrk` over requests that were signed once: a load generator that costs little beside what it measures."""

import json
import re
import subprocess

LUA = """
local function value(name) return headers_and_body[name] end
headers_and_body = %s
wrk.method = headers_and_body.method
wrk.body = headers_and_body.body
wrk.headers = headers_and_body.headers
local ranges, length, wanted = headers_and_body.ranges, headers_and_body.length, headers_and_body.wanted
local threads = {}
full = 0
function setup(thread) table.insert(threads, thread) end
function init() math.randomseed(7) end
if ranges then
  function request()
    local first = math.random(0, ranges - 1) * length
    wrk.headers["Range"] = string.format("bytes=%%d-%%d", first, first + length - 1)
    return wrk.format()
  end
end
if wanted then
  function response(status, _, body)
    if status < 300 and string.find(body, wanted, 1, true) then full = full + 1 end
  end
end
function done(summary, latency)
  local counted = 0
  for _, thread in ipairs(threads) do counted = counted + thread:get("full") end
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%d %%f %%f\\n", summary.requests, summary.duration, counted,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


def lua(value):
    """A Python value as Lua's literal."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{lua(key)}] = {lua(each)}" for key, each in value.items() if each is not None) + "}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def wrk(bench, url, clients, seconds, method="GET", headers=None, body=b"", wanted=None, ranges=None, length=None):
    """Requests a second (those whose answer holds `wanted`, where that is given), p50 and p99 in seconds."""
    # wrk says Host itself.
    headers = {name: value for name, value in (headers or {}).items() if name != "host"}
    asked = {
        "method": method, "headers": headers, "body": body.decode() or None,
        "wanted": wanted, "ranges": ranges, "length": length,
    }
    script = bench.scratch / "load.lua"
    script.write_text(LUA % lua(asked))
    words = [bench.tool("wrk"), "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "20s", "-s", script, url]
    run = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds + 60, check=True)
    found = re.search(r"^RESULT (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)$", run.stdout, re.M)
    if not found:
        raise RuntimeError(f"wrk said: {(run.stdout + run.stderr)[-200:]}")
    requests, duration, counted, errors, p50, p99 = map(float, found.groups())
    good = counted if wanted else requests - errors
    if good <= 0:
        raise RuntimeError(f"none of {requests:.0f} requests was answered as it should be ({errors:.0f} errors)")
    return {"rate": good / (duration / 1e6), "p50": p50 / 1e6, "p99": p99 / 1e6, "errors": errors}
