"""The benchmark: minigrad beside other frameworks, in one process, on the same numbers, with the results compared.

`cases` says what is measured, `frameworks` how each competitor is asked, `timing` how time is taken, `machine` what the
machine could do at best, `report` how it is told.
"""

from minigrad.bench.cases import Case, all_cases
from minigrad.bench.frameworks import FRAMEWORKS, Framework, Minigrad
from minigrad.bench.measure import Result, measure

__all__ = ["FRAMEWORKS", "Case", "Framework", "Minigrad", "Result", "all_cases", "measure"]
