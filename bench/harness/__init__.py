"""What rows share: measuring, figures, sources, the machine, the page."""

from .figure import Figure, Goal, Plot, at_least, at_most
from .measure import Absent, Bench, Sample, Samples

__all__ = ["Absent", "Bench", "Figure", "Goal", "Plot", "Sample", "Samples", "at_least", "at_most"]
