"""What was measured on: processor, cores, memory, kernel, versions."""

import datetime
import os
import pathlib
import platform
import re
import subprocess


def said(words):
    """The first line that a program says, or nothing where it isn't there."""
    try:
        run = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (run.stdout or run.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def facts(root, tools):
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", cpuinfo)
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "reelfleet": said(["git", "-C", root, "rev-parse", "--short=12", "HEAD"]) or "no repository",
        "versions": {name: version for name, words in sorted(tools.items()) if (version := said(words))},
    }
