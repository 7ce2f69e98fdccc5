"""Every demonstration of the lectures as a run, a list of claims with their numbers, and a figure."""

from .claim import Claim as Claim
from .claim import Outcome as Outcome
from .claim import tally as tally
from .registry import STUDIES as STUDIES
from .registry import Entry as Entry
from .registry import Study as Study
from .registry import load_study as load_study
from .runner import Result as Result
from .runner import run_studies as run_studies
from .runner import run_study as run_study
