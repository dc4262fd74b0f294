"""Warm start: the complete trials of earlier runs, taken over into a new one as if they had been its own.

A trial is comparable if it was trained by the same recipe on the same data; a run that was not is refused, with the key
that differs. Of a comparable run, those trials are taken that the new space can express (its parameters give the very
same genome) and that are within its budget. They do not count towards `trials`, are not trained again, stand on the
front, and the sampler knows them from the beginning. Throughput is that of the new run's own latency table.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nas.engine import Ledger, Trial
from nas.engine.record import difference, read_record
from nas.errors import GenomeError, RunError
from nas.genome import Genome
from nas.search.budget import Budget, Estimate
from nas.search.domain import Domain

FILES = ("metrics.csv", "weights.safetensors")
COMPARED = ("data", "image_size", "training")


def earlier_runs(sources: tuple[str, ...], spec: dict[str, Any]) -> list[Path]:
    """The directories of earlier runs. Raises RunError for one that is no search, or another training than `spec`'s."""
    return [_comparable(source, spec) for source in sources]


def take_over(
    runs: list[Path], ledger: Ledger, domain: Domain, budget: Budget, estimate: Callable[[Genome], Estimate]
) -> str:
    """Copy what fits into the ledger; returns a sentence about it."""
    seen: set[str] = set()
    found = 0
    for run in runs:
        for trial in Ledger(run).trials:
            if trial.outcome is None or trial.outcome.state != "complete":
                continue
            found += 1
            genome = _expressed(domain, trial)
            if genome is not None and genome.hash not in seen and budget.refusal(estimate(genome)) is None:
                seen.add(genome.hash)
                _copy(trial, f"{run.name}/{trial.job.id}", genome, ledger, budget, estimate(genome))
    return f"warm start: {len(seen)} of {found} complete trials are in this space and within its budget"


def _comparable(source: str, spec: dict[str, Any]) -> Path:
    run = Path(source) if len(Path(source).parts) > 1 else Path("results") / source
    record = read_record(run)
    if record is None or record.get("kind") != "search":
        raise RunError("no search to start from: it has no run.yaml of one", file=run, path="warm_start")
    then, now = ({key: side.get(key) for key in COMPARED} for side in (record["spec"], spec))
    if (change := difference(then, now)) is not None:
        message = f"its accuracies cannot be compared with this run's: it had {change.old!r}, here it is {change.new!r}"
        raise RunError(message, file=run / "run.yaml", path=f"spec.{change.path}")
    return run.resolve()


def _expressed(domain: Domain, trial: Trial) -> Genome | None:
    """The trial's genome, if this space's parameters make it."""
    given = trial.job.parameters
    wanted = domain.assign(lambda parameter: given.get(parameter.path))
    held = all(parameter.holds(wanted[parameter.path]) for parameter in domain.parameters if parameter.path in wanted)
    if not held or wanted != given:
        return None
    try:
        genome = domain.genome(wanted)
    except GenomeError:
        return None
    return genome if genome.hash == trial.job.hash else None


def _copy(trial: Trial, origin: str, genome: Genome, ledger: Ledger, budget: Budget, found: Estimate) -> None:
    margin = max(budget.violations(found).values(), default=-1.0)
    job = ledger.add(
        genome,
        seed=trial.job.seed,
        hash=genome.hash,
        parameters=trial.job.parameters,
        note={"draw": -1, "margin": margin, "from": origin},
        **asdict(found),
    )
    for name in FILES:
        if (trial.job.directory / name).exists():
            shutil.copyfile(trial.job.directory / name, job.directory / name)
    assert trial.outcome is not None
    ledger.finish(job, replace(trial.outcome, throughput=found.throughput))
