#!/usr/bin/env python3
"""The rules of the house as a check: arrows between crates, who may link what, licences, bans, how modules open, the tests that
the specification names."""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = "reelfleet-"

# A: what A may use of ours. Whatever is not here is refused.
SHARED = {"access", "catalog", "domain", "events", "fleet", "media", "messages", "objects", "telemetry"}
WORKERS = {"intake", "janitor", "metadata", "notifier", "thumbnailer", "transcoder"}
ARROWS = {
    "telemetry": set(), "wire": set(), "jail": set(), "messages": set(), "local": set(),
    "domain": {"messages"},
    "catalog": {"domain", "messages", "telemetry"},
    "fleet": {"catalog", "domain", "messages", "telemetry"},
    "events": {"catalog", "messages", "telemetry"},
    "access": {"catalog", "domain", "messages"},
    "objects": {"messages", "telemetry"},
    "media": {"domain", "messages", "objects", "wire", "jail", "telemetry"},
    "decoder": {"wire", "jail"},
    "gateway": SHARED,
    "cli": SHARED | WORKERS | {"gateway", "local"},
    "tests": {"messages", "wire"},
    "bench": SHARED | {"wire", "decoder"},
    **{worker: SHARED for worker in WORKERS},
}

# Who alone may name a library, whatever else happens.
ONLY = {
    "ffmpeg-next": {"decoder"}, "image": {"decoder"}, "webp": {"decoder"},
    "rusqlite": {"local"}, "tokio-postgres": {"local"}, "s3s": {"local"},
}
WITHOUT = {
    "messages": ("tokio", "aws-"), "domain": ("tokio", "aws-"), "wire": ("tokio", "aws-"),
    "jail": ("tokio", "aws-"), "decoder": ("tokio", "aws-"),
}

LICENCES = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "CC0-1.0", "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "OpenSSL", "Unicode-3.0", "Unlicense", "WTFPL", "Zlib",
}
# Versions with an open advisory, and crates that nobody keeps: (name, version prefix or "", why).
BANS = [
    ("backoff", "", "RUSTSEC-2025-0012: unmaintained; use backon"),
    ("instant", "", "RUSTSEC-2024-0384: unmaintained"),
    ("h2", "0.3.", "RUSTSEC-2026-0258"),
    ("rustls-webpki", "0.101.", "RUSTSEC-2026-0098, -0099, -0104"),
    ("rsa", "", "RUSTSEC-2023-0071: no patch"),
    ("sqlx", "", "cannot share a lock file with rusqlite"),
    ("atty", "", "RUSTSEC-2021-0145: unmaintained"),
    ("serde_yaml", "", "unmaintained"),
]
LONGEST_FILE = 650


def metadata():
    run = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return json.loads(run.stdout)


def short(name):
    return name.removeprefix(OURS)


def arrows(packages, members):
    for package in packages:
        if package["id"] not in members:
            continue
        me = short(package["name"])
        if me not in ARROWS:
            yield f"{me}: a crate that the design does not name (add it to ARROWS and to ARCHITECTURE.md)"
            continue
        for dependency in package["dependencies"]:
            name = dependency["name"]
            if name.startswith(OURS):
                if dependency["kind"] != "dev" and short(name) not in ARROWS[me]:
                    yield f"{me} -> {short(name)}: no such arrow"
                if dependency["kind"] == "dev" and short(name) not in ARROWS[me] and me != "tests":
                    yield f"{me} -> {short(name)} (dev): no such arrow"
            if name in ONLY and me not in ONLY[name]:
                yield f"{me} names {name}: only {', '.join(sorted(ONLY[name]))} may"
            if dependency["kind"] != "dev" and name.startswith(WITHOUT.get(me, ("\0",))):
                yield f"{me} names {name}: it is to have neither tokio nor AWS"


def licences(packages):
    for package in packages:
        expression = (package["license"] or "").replace("/", " OR ")
        alternatives = [
            [part.strip(" ()") for part in re.split(r"\bAND\b", alternative)]
            for alternative in re.split(r"\bOR\b", expression)
        ]
        if not any(all(part in LICENCES for part in parts) for parts in alternatives):
            if not mixed(expression):
                yield f"{package['name']} {package['version']}: licence {expression!r} is not allowed"
        for name, prefix, why in BANS:
            if package["name"] == name and package["version"].startswith(prefix):
                yield f"{name} {package['version']} is banned: {why}"


def mixed(expression):
    """(A OR B) AND C: every group joined by AND needs one allowed alternative."""
    groups = re.split(r"\bAND\b(?![^()]*\))", expression)
    return all(any(a.strip(" ()") in LICENCES for a in re.split(r"\bOR\b", group)) for group in groups)


def modules():
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.rs"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in files.stdout.split():
        path = ROOT / name
        if not path.exists():
            continue
        text = path.read_text()
        lines = text.splitlines()
        if "/src/" in name and not text.lstrip().startswith("//!"):
            yield f"{name}: a module opens with //! and the guarantee it gives"
        if len(lines) > LONGEST_FILE:
            yield f"{name}: {len(lines)} lines, at most {LONGEST_FILE}"
        if re.search(r"(^|/)(utils?|common|helpers?|misc)(\.rs|/)", name):
            yield f"{name}: a thing lives where its name is"


def promises():
    """Every test and file that the specification names is there."""
    tests = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.rs", "*.py"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    names = set()
    for name in tests.stdout.split():
        if (ROOT / name).exists():
            names.update(re.findall(r"\b(?:fn|def) (\w+)\(", (ROOT / name).read_text()))
    numbers = set()
    for line in (ROOT / "SPECIFICATION.md").read_text().splitlines():
        promise = re.match(r"\| ([A-Z]\d+) \|.*\| (.*) \|$", line)
        if not promise:
            continue
        if promise[1] in numbers:
            yield f"SPECIFICATION.md {promise[1]}: two promises have this number"
        numbers.add(promise[1])
        held = re.findall(r"`([^`]+)`", promise[2])
        if not held and "not held yet" not in promise[2]:
            yield f"SPECIFICATION.md {promise[1]}: names no test and does not say so"
        for test in held:
            if test not in names and not ("/" in test and (ROOT / test).exists()):
                yield f"SPECIFICATION.md {promise[1]}: no test is called {test}"


def main():
    data = metadata()
    members = set(data["workspace_members"])
    problems = [*arrows(data["packages"], members), *licences(data["packages"]), *modules(), *promises()]
    for problem in problems:
        print(f"house: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"house: {len(members)} crates of ours, {len(data['packages']) - len(members)} of others, in order")


if __name__ == "__main__":
    main()
