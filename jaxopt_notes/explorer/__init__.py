"""The explorer: drag the start, watch every optimizer, read the verdict. In notebooks and as a local page."""

from ._widget import explore as explore

__all__ = [
    "explore",
]
