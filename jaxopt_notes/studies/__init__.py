"""Every demonstration of the lectures as a run, a list of claims with their numbers, and a figure."""

from ._machinery import judgement as judgement
from ._machinery import ledger as ledger
from ._machinery import ledger_pages as ledger_pages
from ._machinery import sources as sources
from ._machinery.claim import Claim as Claim
from ._machinery.claim import Outcome as Outcome
from ._machinery.claim import tally as tally
from ._machinery.registry import STUDIES as STUDIES
from ._machinery.registry import Entry as Entry
from ._machinery.registry import Study as Study
from ._machinery.registry import load_study as load_study
from ._machinery.runner import Result as Result
from ._machinery.runner import run_studies as run_studies
from ._machinery.runner import run_study as run_study

__all__ = [
    "STUDIES",
    "Claim",
    "Entry",
    "Outcome",
    "Result",
    "Study",
    "judgement",
    "ledger",
    "ledger_pages",
    "load_study",
    "run_studies",
    "run_study",
    "sources",
    "tally",
]
