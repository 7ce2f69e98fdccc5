"""The explorer: drag the start, watch every optimizer, read the verdict. In notebooks and as one file."""

from ._explore import explore as explore

__all__ = [
    "explore",
]
