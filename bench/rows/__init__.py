"""The rows, in the order of the table: each is a module of this folder."""

ORDER = [
    # media
    "ladder",
    "copy",
    "poster",
    "storyboard",
    "still",
    "bytes_read",
    "jail",
    # fleet
    "playable",
    "ready",
    "started",
    "endpoint_queue",
    "endpoint_objects",
    "sockets",
    "tiny",
    "idle",
    "million",
]
