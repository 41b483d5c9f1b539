"""One result: two series, their ratio with its spread, the goal, and whether it is reached."""

import dataclasses
import statistics


@dataclasses.dataclass
class Goal:
    """A bound of the ratio (ours / theirs), or of our own figure where `of` is "ours"."""

    bound: float
    at_most: bool = True
    of: str = "ratio"

    def holds(self, value):
        return value <= self.bound if self.at_most else value >= self.bound


def at_most(bound, of="ratio"):
    return Goal(bound, True, of)


def at_least(bound, of="ratio"):
    return Goal(bound, False, of)


@dataclasses.dataclass
class Plot:
    """A picture that stands under the table."""

    name: str
    svg: str
    caption: str = ""


@dataclasses.dataclass
class Figure:
    """`ours` and `theirs` are series (a number a round) or single numbers. `faster=True` turns the ratio over: theirs / ours.
    `what` and `against` are said where they differ from the row's."""

    name: str
    ours: object
    theirs: object = None
    unit: str = ""
    goal: Goal | None = None
    note: str = ""
    faster: bool = False
    what: str = ""
    against: str = ""

    def plain(self):
        """The figure as JSON: medians, ratio, spread, and whether the goal is reached (None without one)."""
        ours, theirs = series(self.ours), series(self.theirs)
        ratio = spread = None
        if theirs:
            ratio = self._ratio(statistics.median(ours), statistics.median(theirs))
            # Rounds are interleaved: the nth of one side stands beside the nth of the other.
            if len(ours) == len(theirs) and len(ours) > 1:
                each = [self._ratio(a, b) for a, b in zip(ours, theirs)]
                spread = [min(each), max(each)]
        elif len(ours) > 1:
            spread = [min(ours), max(ours)]
        reached = None
        if self.goal:
            value = statistics.median(ours) if self.goal.of == "ours" or ratio is None else ratio
            reached = self.goal.holds(value)
        return {
            "name": self.name, "unit": self.unit, "note": self.note, "faster": self.faster,
            "what": self.what, "against": self.against,
            "ours": statistics.median(ours), "theirs": statistics.median(theirs) if theirs else None,
            "rounds": len(ours), "ratio": ratio, "spread": spread,
            "goal": dataclasses.asdict(self.goal) if self.goal else None, "reached": reached,
        }

    def _ratio(self, ours, theirs):
        over, under = (theirs, ours) if self.faster else (ours, theirs)
        return over / under if under else float("inf")


def series(value):
    if value is None:
        return []
    return [float(v) for v in value] if isinstance(value, (list, tuple)) else [float(value)]
