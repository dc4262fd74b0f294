"""Images per second of the arms of an ablation, such that arms can be compared.

Arms that differ in training alone (a loss, a schedule, an auxiliary) are one graph after deployment. A graph is timed
once, whatever arms have it, and the graphs are timed in turns, in one session: if one of them has no time yet, all are
timed. speed.json of an arm's first cell has the images per second, the conditions, and the key of the graph.

If other work disturbed the session, its times are written with their spread, tables leave them out, and the next
`nas ablate` of the run times all graphs again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from nas.engine import Event, Job, Ledger, OnEvent, Trial
from nas.engine.digests import TRIAL_SEAL, differ, seal_of
from nas.engine.job import Count
from nas.engine.reading import AGAIN, read_json
from nas.errors import RunError
from nas.files import write_sealed
from nas.model import build
from nas.profiling import deployed_graph, disturbance, throughputs
from nas.profiling.stopwatch import BUSY

SPEED = "speed.json"
GRAPH = "deployed_graph"
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SECONDS_PER_GRAPH = 1.5  # of the stopwatch


def time_arms(ledger: Ledger, done: list[Job], device: str, on_event: OnEvent) -> None:
    """Write speed.json into the first cell of every arm, unless all have one that was timed undisturbed."""
    arms = list({job.hash: job for job in reversed(done)}.values())[::-1]
    if all(steady(read_speed(job.directory)) for job in arms):
        return
    graphs: dict[str, list[Job]] = {}
    for job in arms:
        graphs.setdefault(deployed_graph(job.genome), []).append(job)
    text = f"timing {len(graphs)} deployed graphs of {len(arms)} arms in turns, with nothing else running"
    on_event(Event("message", data={"text": text}))
    models = (build(same[0].directory / "genome.yaml") for same in graphs.values())
    found = throughputs(models, device=device, seconds=SECONDS_PER_GRAPH)
    if (told := disturbance(found)) is not None:
        on_event(Event("message", data={"text": f"{told}; the table leaves them out"}))
    for (key, same), speed in zip(graphs.items(), found, strict=True):
        for job in same:
            own = {GRAPH: key, TRIAL_SEAL: seal_of(job.directory)}
            write_sealed(job.directory / SPEED, speed.as_dict() | own)
            ledger.bring(job)


class _Speed(TypedDict):
    """A `Throughput`, and the key of the deployed graph; earlier versions wrote less."""

    images_per_second: Positive
    median_seconds: Positive
    batch_size: Count
    batches: NotRequired[Count]
    device: str
    dtype: str
    threads: Count
    compiled: NotRequired[bool]
    spread: NotRequired[Positive]
    deployed_graph: NotRequired[str]
    trial_sha256: NotRequired[str | None]


def read_speed(directory: Path) -> dict[str, Any]:
    """The speed.json of a trial; empty if there is none. Raises RunError for a damaged one, and another trial's."""
    found: dict[str, Any] = {**(read_json(directory / SPEED, _Speed) or {})}
    if differ(found.pop(TRIAL_SEAL, None), seal_of(directory)):
        raise RunError(f"it is of another trial; {AGAIN}", file=directory / SPEED)
    return found


def steady(speed: dict[str, Any]) -> bool:
    """Whether a speed.json can stand in a table: timed in turns by graph (earlier versions: by arm), undisturbed."""
    return GRAPH in speed and speed.get("spread", math.inf) <= BUSY


def speeds_of(trials: Iterable[Trial]) -> dict[str, dict[str, Any]]:
    """The speed.json of each arm, by the hash of its genome; empty where there is none yet."""
    speeds: dict[str, dict[str, Any]] = {}
    for trial in trials:
        speeds[trial.job.hash] = speeds.get(trial.job.hash) or read_speed(trial.job.directory)
    return speeds
