"""The table on the terminal, and docs/benchmarks.md."""

import math


def number(value, unit=""):
    if value is None:
        return "–"
    if unit == "B":
        for name, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.0f} B"
    if unit == "s" and abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    if value and (abs(value) >= 10_000):
        text = f"{value:,.0f}"
    elif value == int(value) and abs(value) >= 100:
        text = f"{value:.0f}"
    else:
        digits = max(0, 3 - 1 - math.floor(math.log10(abs(value)))) if value else 0
        text = f"{value:.{min(digits, 6)}f}"
    return f"{text} {unit}".strip()


def times(value):
    if value is None:
        return "–"
    return f"{value:.3f}×" if value < 2 else f"{value:.1f}×"


def goal(figure):
    wanted = figure["goal"]
    if not wanted:
        return "–"
    of_ours = wanted["of"] == "ours" or figure["theirs"] is None
    bound = number(wanted["bound"], figure["unit"]) if of_ours else f"{wanted['bound']:g}×"
    return f"{'≤' if wanted['at_most'] else '≥'} {bound}"


def ratio(figure):
    if figure["ratio"] is None:
        if figure["spread"]:
            low, high = figure["spread"]
            return f"({number(low, figure['unit'])} – {number(high, figure['unit'])})"
        return "–"
    text = times(figure["ratio"])
    if figure["spread"]:
        low, high = figure["spread"]
        text += f" ({times(low)[:-1]} – {times(high)[:-1]})"
    return text + (" faster" if figure["faster"] else "")


HEAD = ["what", "against", "figure", "ours", "theirs", "ratio (spread)", "goal", "reached"]


def lines(results):
    for row in results:
        last = (what, against) = (row["what"], row["against"])
        if row["state"] != "measured":
            yield [what, against, "–", "–", "–", "–", "–", f"{row['state']}: {row['why']}"]
        for number_of, figure in enumerate(row["figures"]):
            here = (figure["what"] or row["what"], figure["against"] or row["against"])
            what, against = here if number_of == 0 or here != last else ("", "")
            last = here
            word = {True: "yes", False: "**no**", None: ""}[figure["reached"]]
            yield [
                what, against, figure["name"], number(figure["ours"], figure["unit"]),
                number(figure["theirs"], figure["unit"]), ratio(figure), goal(figure), word,
            ]


def terminal(results):
    table = [HEAD, *(list(line) for line in lines(results))]
    widths = [min(46, max(len(line[i]) for line in table)) for i in range(len(HEAD))]
    rows = ["  ".join(cell[:46].ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table]
    rows.insert(1, "─" * max(len(row) for row in rows))
    return "\n".join(rows)


def markdown(results, machine, rounds, seconds):
    out = [
        "# Benchmarks", "",
        "Written by `make bench`; how it measures is in [bench/README.md](../bench/README.md), what follows from it in",
        "[performance.md](performance.md). A ratio is the median of ours over the median of theirs, both measured in turn in the same",
        "run; the spread is its lowest and highest round. *Faster* ratios are turned over. Nothing here is asserted by a test.", "",
        f"- {machine['date']}, commit {machine['reelfleet']}, {rounds} rounds unless a note says otherwise, {seconds / 60:.0f} minutes in all",
        f"- {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']}; "
        f"load before the run {machine['load_before']}",
    ]
    out += [f"- {name}: {version}" for name, version in machine["versions"].items()]
    out += ["", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    out += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines(results)]
    notes = [(f["what"] or row["what"], f["name"], f["note"]) for row in results for f in row["figures"] if f["note"]]
    if notes:
        out += ["", "## Notes", ""]
        out += [f"- {what}, {name}: {note}" for what, name, note in notes]
    older = [row for row in results if row.get("when") and row["when"] != machine["date"]]
    if older:
        out += ["", "Measured in an earlier run: " + ", ".join(f"{row['name']} ({row['when']})" for row in older) + "."]
    plots = [(row, plot) for row in results for plot in row.get("plots", [])]
    for _, plot in plots:
        out += ["", f"![{plot['caption'] or plot['name']}](plots/{plot['name']}.svg)", "", plot["caption"]]
    return "\n".join(out).rstrip() + "\n"
