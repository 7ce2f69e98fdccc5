"""One progress bar for a whole sweep, fed from the host between compiled segments."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..._warnings import progress_bar
from ...minimize import Status

SECONDS_PER_LINE = 10.0


class _Lines:
    """Standard error where it is no terminal, as in a log: a bar drawn over itself becomes lines."""

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class Progress:
    """Counts trial-steps; shows trials done, alive and failed, the lowest final loss so far and the time left."""

    def __init__(self, trials: int, steps: int, name: str = "", enabled: bool = True, finished: int = 0) -> None:
        self._trials = trials
        self._done, self._failed, self._best = finished, 0, np.inf
        self._compiled = False
        plain = not sys.stderr.isatty() and not _in_notebook()
        options: dict[str, Any] = {"file": _Lines(), "mininterval": SECONDS_PER_LINE} if plain else {}
        self._bar = progress_bar()(
            total=trials * steps,
            initial=finished * steps,
            desc=name,
            unit="trial-step",
            unit_scale=True,
            disable=not enabled,
            **options,
        )

    def expect(self, trial_steps: int) -> None:
        """Set the number of trial-steps of the whole sweep, which changes when a pruner has decided."""
        self._bar.total = trial_steps
        container = getattr(self._bar, "container", None)  # of a notebook, whose bar keeps its own end
        if container is not None:
            container.children[1].max = trial_steps

    def skip(self, trial_steps: int) -> None:
        """Count steps, such as those of an earlier process, leaving them out of the measured speed."""
        self._bar.n += trial_steps
        self._bar.initial = getattr(self._bar, "initial", 0) + trial_steps

    def segment(self, steps: int, status: Int[np.ndarray, " trials"]) -> None:
        """Count `steps` more steps of the current chunks."""
        failed = int((status == Status.NON_FINITE).sum())
        self._show(len(status) - failed, failed)
        if self._compiled:
            self._bar.update(steps * len(status))
            return
        # The first segment waits for its program to be compiled, so the speed is measured from here on.
        self._compiled = True
        self.skip(steps * len(status))
        self._bar.last_print_n, self._bar.last_print_t = self._bar.n, time.time()
        self._bar.refresh()

    def chunk(self, status: Int[np.ndarray, " trials"], final_loss: Float[np.ndarray, " trials"]) -> None:
        """Count the trials of a chunk as finished."""
        self._done += len(status)
        self._failed += int((status >= Status.NON_FINITE).sum())
        self._best = min(self._best, float(np.min(final_loss, where=status < Status.NON_FINITE, initial=np.inf)))
        self._show(0, 0)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def _show(self, alive: int, failed: int) -> None:
        best = "" if np.isinf(self._best) else f", best final loss {self._best:.3g}"
        counts = f"done {self._done}/{self._trials}, alive {alive}, failed {self._failed + failed}{best}"
        self._bar.set_postfix_str(counts, refresh=False)


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook, which draws a bar in place; others may have imported ipykernel too."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")
