"""The progress bar of a sweep."""

import numpy as np

from jaxopt_notes.minimize import Status
from jaxopt_notes.sweeps.compute.progress import Progress


def test_the_speed_leaves_out_the_first_segment_which_compiles(capsys):
    bar, alive = Progress(4, 100, "adam"), np.full(4, Status.COMPLETED)
    bar.segment(10, alive)
    bar.segment(20, alive)
    bar.close()
    shown = bar._bar.format_dict
    assert (shown["n"], shown["initial"], shown["total"]) == (120, 40, 400)
    assert "done 0/4, alive 4, failed 0" in capsys.readouterr().err


def test_a_bar_that_is_off_prints_nothing(capsys):
    bar = Progress(4, 100, enabled=False)
    bar.segment(10, np.full(4, Status.COMPLETED))
    bar.close()
    assert capsys.readouterr().err == ""
