"""Stream copy of what is already right."""

from harness import Absent

WHAT = "what is already right (H.264/AAC, fitting GOPs), top rendition"
AGAINST = "re-encoding it"
LIMIT_S = 10


def run(_bench):
    raise Absent("not built: every rendition is encoded, the top one too")
