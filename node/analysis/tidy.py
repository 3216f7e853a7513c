"""Clear the bench: intermediate volumes of an analysis that needs them no more."""

from contextlib import suppress

from node.analysis.bench import Bench
from node.domain.ids import AnalysisId
from node.domain.states import AnalysisState

BULKY = ("*.volume", "*.input")
"""Some 350 MB for a study of four series; objects, picture and records stay."""

OVER = frozenset({AnalysisState.DELIVERED, AnalysisState.CANCELLED})


def tidy(bench: Bench, analysis_id: AnalysisId) -> None:
    """Delete intermediate volumes of an analysis that is over; a failed one keeps its own."""
    if bench.ledger.analyses.get(analysis_id).state not in OVER:
        return
    folder = bench.spool.work_folder(analysis_id)
    for pattern in BULKY:
        for path in folder.glob(pattern):
            # Disk space only: what cannot be deleted now does no harm.
            with suppress(OSError):
                path.unlink()
