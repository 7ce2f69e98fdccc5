"""SIGTERM, by which schedulers announce a kill, and SIGINT, which is Ctrl-C: the sweep stops between two segments.

After SIGTERM it saves its state, and the process ends as usual. After Ctrl-C it also returns what there is.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import jax


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that no handler of errors catches it."""


class Stop:
    """Whether SIGTERM (`requested`) or Ctrl-C (`interrupted`) arrived."""

    def __init__(self, gentle: bool) -> None:
        self.requested, self.interrupted, self._gentle = False, False, gentle

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal. Raise at once if nothing checks between segments, or if it arrives again."""
        again, self.requested = self.requested, True
        if again or not self._gentle:
            raise Terminated

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Note Ctrl-C. Raise at once if it comes again."""
        again, self.interrupted = self.interrupted, True
        if again:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise here if SIGTERM arrived."""
        if self.requested:
            raise Terminated


@contextlib.contextmanager
def sigterm(*, wanted: bool, gentle: bool) -> Iterator[Stop]:
    """Catch SIGTERM inside the block, if `wanted`; the previous handler receives it after the block.

    Only the main thread can catch it. In processes of `jax.distributed` JAX handles it, in a way that could not be
    restored. A process that ignores SIGTERM continues to ignore it.
    """
    stop = Stop(gentle)
    mine = wanted and threading.current_thread() is threading.main_thread() and jax.process_count() == 1
    # Also None for a handler that was not installed from Python, which could not be restored.
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


@contextlib.contextmanager
def sigint(stop: Stop, *, gentle: bool) -> Iterator[None]:
    """Let Ctrl-C wait inside the block for the end of a segment, if something checks there; the second one raises.

    A handler that a user has installed stays.
    """
    mine = gentle and threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, stop.interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
