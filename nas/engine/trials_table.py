"""trials.csv: a row per trial, for people and plots. Rewritten from the trial directories whenever one has ended.

Columns: trial, state, epochs, accuracy, accuracy_se (its standard error), then macs, params, throughput and further
costs known of any trial, then seed, hash, seconds, reason, then the parameters, and in the file a seal for each row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from nas.engine.job import PUBLIC_COSTS, Outcome
from nas.engine.reading import read_epochs
from nas.metrics import METRICS

if TYPE_CHECKING:
    from nas.engine.ledger import Trial


def trials_table(trials: Iterable[Trial]) -> pd.DataFrame:
    """The table of these trials. One that has not ended is running, with the epochs that it has.

    >>> trials_table(ledger.trials)[["trial", "state", "accuracy"]]
    """
    rows = []
    paths: dict[str, None] = {}
    costs = dict.fromkeys(PUBLIC_COSTS)
    for trial in trials:
        job = trial.job
        outcome = trial.outcome or Outcome.of(job, "failed", epochs=len(read_epochs(job.directory / "metrics.csv")))
        found = outcome.as_dict() | {"trial": job.id}
        found |= {} if trial.outcome else {"state": "running"}
        found |= {"seed": job.seed, "hash": job.hash}
        rows.append(found | {path: _cell(value) for path, value in job.parameters.items()})
        paths |= dict.fromkeys(job.parameters)
        costs |= dict.fromkeys(outcome.costs)
    ends = ("trial", "state", "epochs", "accuracy", "accuracy_se"), ("seed", "hash", "seconds", "reason")
    table = pd.DataFrame(rows, columns=[*ends[0], *costs, *ends[1], *paths])
    kinds = {name: "Int64" if name in METRICS and METRICS[name].whole else "float64" for name in costs}
    return table.astype({"epochs": "Int64", "seed": "Int64", "accuracy": "float64", "accuracy_se": "float64", **kinds})


def _cell(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value
