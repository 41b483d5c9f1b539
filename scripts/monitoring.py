#!/usr/bin/env python3
"""Alerts and dashboard: every expression parses, every alert is tried, every metric is one of ours, every runbook is there.

usage: monitoring.py PROMTOOL
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "monitoring"
SUFFIXES = ("_bucket", "_sum", "_count")


def promtool(tool, *arguments):
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"promtool {arguments[0]} {arguments[1]}:\n{done.stdout}{done.stderr}")


def described():
    """The metrics that the code describes, by their names."""
    source = "".join(path.read_text() for path in (ROOT / "shared/telemetry/src").rglob("*.rs"))
    return set(re.findall(r'describe_(?:counter|gauge|histogram)!\(\s*"(\w+)"', source))


def metrics_of(expression):
    return set(re.findall(r"\breelfleet_\w+", expression))


def anchors(text):
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def main():
    tool = sys.argv[1]
    alerts = (FOLDER / "alerts.yml").read_text()
    promtool(tool, "check", "rules", FOLDER / "alerts.yml")
    promtool(tool, "test", "rules", FOLDER / "alerts_test.yml")
    tried = (FOLDER / "alerts_test.yml").read_text()
    problems = []
    for name in re.findall(r"alert: (\w+)", alerts):
        problems += [f"{name}: no test that it {what}" for what in ("fires", "is quiet") if f"name: {name} {what}" not in tried]
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump({"groups": [{"name": "panels", "rules": rules}]}, file)
        file.flush()
        promtool(tool, "check", "rules", file.name)
    known = described()
    for metric in metrics_of(alerts) | metrics_of("\n".join(expressions)):
        base = next((metric.removesuffix(suffix) for suffix in SUFFIXES if metric.endswith(suffix)), metric)
        if metric not in known and base not in known:
            problems.append(f"{metric}: the code describes no such metric")
    books = ROOT / "docs/runbooks.md"
    there = anchors(books.read_text()) if books.exists() else set()
    for anchor in re.findall(r"docs/runbooks\.md#([\w-]+)", alerts):
        if anchor not in there:
            problems.append(f"docs/runbooks.md has no section #{anchor}")
    if problems:
        sys.exit("\n".join(sorted(set(problems))))
    print(f"monitoring: {len(re.findall('alert:', alerts))} alerts tried, {len(expressions)} panels' expressions parse")


main()
