"""Plots as SVG, without a library: axes from zero, a few round ticks, lines or marks, a legend where there is more than one."""

import dataclasses
import math
from html import escape

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 28, 16, 48
COLOURS = ["#2563eb", "#d97706", "#059669", "#7c3aed"]


@dataclasses.dataclass
class Line:
    name: str
    points: list
    marks: bool = False


def ticks(most):
    """Round numbers from 0 to at least `most`, four to eight of them."""
    step = 10 ** math.floor(math.log10(most or 1))
    step = next((step * part for part in (0.2, 0.5, 1, 2) if most / (step * part) <= 6), step)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def decades(low, high):
    return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def shown(value):
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def line_plot(x_title, y_title, lines, log_x=False, log_y=False):
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_ticks = decades(min(xs), max(xs)) if log_x else ticks(max(xs))
    y_ticks = decades(min(ys), max(ys)) if log_y else ticks(max(ys))

    def place(value, marks, log, start, end):
        if log:
            value, first, last = math.log10(value), math.log10(marks[0]), math.log10(marks[-1])
        else:
            first, last = marks[0], marks[-1]
        return start + (value - first) / ((last - first) or 1) * (end - start)

    def at(x, y):
        return (
            place(x, x_ticks, log_x, LEFT, WIDTH - RIGHT),
            place(y, y_ticks, log_y, HEIGHT - BOTTOM, TOP),
        )

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for tick in x_ticks:
        x, _ = at(tick, y_ticks[0])
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e5e7eb"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{shown(tick)}</text>')
    for tick in y_ticks:
        _, y = at(x_ticks[0], tick)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown(tick)}</text>')
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in line.points]
        if not line.marks:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        if len(lines) > 1:
            y = TOP + 14 + 16 * number
            out.append(f'<rect x="{LEFT + 10}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
            out.append(f'<text x="{LEFT + 26}" y="{y}">{escape(line.name)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_title)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_title)}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"
