"""SIGTERM, with which schedulers announce a kill: the sweep saves where it is, then the process ends as it would."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import jax


class Terminated(BaseException):
    """SIGTERM came and everything is saved; not an `Exception`, so that nobody takes it for an error."""


class Stop:
    """Whether SIGTERM came."""

    def __init__(self, gentle: bool) -> None:
        self.requested, self._gentle = False, gentle

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; raise at once if nobody looks between segments, or if it comes again."""
        again, self.requested = self.requested, True
        if again or not self._gentle:
            raise Terminated

    def check(self) -> None:
        """Raise here if the signal came."""
        if self.requested:
            raise Terminated


@contextlib.contextmanager
def sigterm(*, wanted: bool, gentle: bool) -> Iterator[Stop]:
    """Catch SIGTERM inside the block, if `wanted`; whoever handled it before gets it after the block.

    Only the main thread can; and of several `jax.distributed` processes JAX catches it, in a way that could not be put
    back. A process that ignores SIGTERM goes on ignoring it.
    """
    stop = Stop(gentle)
    mine = wanted and threading.current_thread() is threading.main_thread() and jax.process_count() == 1
    # Also None for a handler that was not installed from Python, which could not be put back.
    previous = signal.getsignal(signal.SIGTERM) if mine else None
    if previous is None or previous is signal.SIG_IGN:
        yield stop
        return
    signal.signal(signal.SIGTERM, stop.handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, previous)
        if stop.requested:
            signal.raise_signal(signal.SIGTERM)  # by default the process ends here, with the status of the signal
