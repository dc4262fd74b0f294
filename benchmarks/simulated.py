"""A search without Ray and without training: what the benchmarks of samplers and of scale run.

Everything else is the product's: the sampler and its settings, `Searcher`, the ledger on disk. Two workers are
pretended, which finish in the order in which they began; the order does not matter to what is suggested.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.engine import Job, JobSource, Ledger, Outcome, Signal
from nas.engine.events import ignore
from nas.metrics import Estimate
from nas.search import SearchSpec
from nas.search.samplers import make_sampler
from nas.search.schedulers import make_scheduler
from nas.search.searcher import Searcher
from nas.search.space import SearchSpace

WORKERS = 2
_MEMORY = Path("/dev/shm")


def candidates(spec: SearchSpec, space: SearchSpace, ledger: Ledger, estimate: Estimate) -> Searcher:
    """The source of jobs as `nas search` would make it of this space; `space` is the space's."""
    objectives = list(spec.objectives)
    sampler = spec.sampler.settled(trials=spec.trials, slots=WORKERS)
    return Searcher(
        space,
        spec.budget,
        estimate,
        make_sampler(sampler, space, objectives, seed=spec.seed),
        make_scheduler(spec.scheduler, spec.training.epochs),
        ledger,
        objectives=objectives,
        trials=spec.trials,
        seed=spec.seed,
        lag=sampler.lag or 0,
        on_event=ignore,
    )


def finished(source: JobSource, ledger: Ledger, end: Callable[[Job], Outcome]) -> Iterator[Job]:
    """Run the source to its end; yields each job once its outcome is told, a paused one each time."""
    live: deque[Job] = deque()
    while True:
        answer = source.next() if len(live) < WORKERS else Signal.WAIT
        if isinstance(answer, Job):
            live.append(answer)
            continue
        if not live:
            return
        job = live.popleft()
        outcome = end(job)
        if outcome.state == "paused":
            outcome.write(job.directory)
        else:
            ledger.finish(job, outcome)
        source.tell(job, outcome)
        yield job


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one run, in memory where the system has such a place."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder) / "run"
