"""What a search gained over random search of the same length: hypervolume, measured or estimated.

    gain.json   {"gain": 0.12, "low": -0.01, "high": 0.31, "how": "estimated", "trials": 24}     0.12: 12 % more

Measured, where `baseline: random` has trained as many random trials: both fronts as they were found. Otherwise
estimated with the model of the default sampler (nas/search/estimated_gain.py).

Trials taken over from earlier runs count on neither side.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from nas.engine import Ledger
from nas.engine.job import Count
from nas.engine.reading import read_json
from nas.files import write_sealed
from nas.search.anytime import BASELINE

FILE = "gain.json"


@dataclass(frozen=True)
class Gain:
    """gain, low, high: relative, 0.12 for 12 % more. Measured on one baseline, there is no interval.

    trials_sha256: of the outcomes of all trials that it was worked out from; files of earlier versions have none.
    """

    gain: Annotated[float, Field(ge=-1, allow_inf_nan=False)]
    low: Annotated[float, Field(allow_inf_nan=False)] | None
    high: Annotated[float, Field(allow_inf_nan=False)] | None
    how: Literal["measured", "estimated"]
    trials: Count
    trials_sha256: str | None = None

    def write(self, directory: Path) -> None:
        write_sealed(directory / FILE, asdict(self))

    @classmethod
    def read(cls, directory: Path) -> Gain | None:
        """That of a run; None if it has none. Raises RunError if the file is damaged."""
        return read_json(directory / FILE, cls)

    @property
    def sentence(self) -> str:
        """`hypervolume: 12 % more than 24 random trials would have (estimated by ...)`"""
        word = "more" if self.gain >= 0 else "less"
        if self.low is None or self.high is None:
            beside = f"{self.trials} random trials (measured: the baseline of this run)"
            return f"hypervolume: {abs(100 * self.gain):.0f} % {word} than {beside}"
        interval = f"{100 * self.low:+.0f} to {100 * self.high:+.0f} % under 95 % of its draws"
        beside = f"{self.trials} random trials would have (an estimate of the sampler's model: {interval})"
        return f"hypervolume: {abs(100 * self.gain):.0f} % {word} than {beside}"


def measured(record: pd.DataFrame) -> Gain | None:
    """From the last rows of the anytime record (nas/search/anytime.py); None without a baseline that found anything."""
    volumes = {str(run): rows["hypervolume"].to_numpy(float) for run, rows in record.groupby("run")}
    random = volumes.get(BASELINE)
    if random is None or not random[-1] or "search" not in volumes:
        return None
    return Gain(float(volumes["search"][-1] / random[-1]) - 1, None, None, "measured", len(random))


def worked_out_from(ledger: Ledger) -> str:
    """The digest of the outcomes of a search and of its baseline, if it has one."""
    beside = ledger.directory / BASELINE / "trials"
    baseline = [ledger.within(BASELINE).outcomes_sha256] if beside.is_dir() else []
    return hashlib.sha256("".join([ledger.outcomes_sha256, *baseline]).encode()).hexdigest()
