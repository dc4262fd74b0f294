"""Times of parts from times of whole models, for a runtime that does not let single parts be timed.

ONNX Runtime fuses operators across the borders of parts, so that a part alone is not what it is in the model. Whole
models are timed instead. With the times b_G of models that have c_GP of each part, the parts' times are

    t_P = argmin ‖ (c_GP t_P) / b_G − 1 ‖²,   t_P ≥ 0        (non-negative least squares, relative errors)

Only sums over whole models are ever asked for, and these are determined once the rows c_G of the timed models span
those of the space, even where single parts are not. `spanning` picks such models, and half as many again against noise.

Legend: G models, P parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from nas.genome import Genome
from nas.profiling.parts import deployed_graph, parts
from nas.profiling.tables import MAX_IDLE_SAMPLES, Sample, covering


def spanning(base: Genome, sample: Sample) -> list[Genome]:
    """The base and random genomes whose numbers of each part span those of the space; then half as many others."""
    chosen: list[Genome] = []
    rank = idle = 0
    candidates = covering(base, sample)
    while idle < MAX_IDLE_SAMPLES:
        genome = next(candidates, None) or sample()
        more = rank if genome is None else int(np.linalg.matrix_rank(counts([*chosen, genome])[0]))
        idle = 0 if more > rank else idle + 1
        if genome is not None and more > rank:
            chosen, rank = [*chosen, genome], more
    return chosen + distinct(sample, len(chosen) // 2, chosen)


def distinct(sample: Sample, count: int, others: Sequence[Genome]) -> list[Genome]:
    """At most `count` random genomes that are other graphs than `others`, and than each other."""
    known = {deployed_graph(genome) for genome in others}
    found: list[Genome] = []
    for _ in range(MAX_IDLE_SAMPLES):
        genome = sample() if len(found) < count else None
        if genome is not None and (graph := deployed_graph(genome)) not in known:
            known.add(graph)
            found.append(genome)
    return found


def fitted(genomes: Sequence[Genome], seconds: Sequence[float]) -> tuple[dict[str, float], np.ndarray]:
    """The seconds of each part, from those of whole models; and (G, P), how often each model has each part."""
    from scipy.optimize import nnls

    counts_GP, keys = counts(genomes)
    times_P, _ = nnls(counts_GP / np.array(seconds)[:, None], np.ones(len(genomes)))
    return dict(zip(keys, times_P.tolist(), strict=True)), counts_GP


def counts(genomes: Sequence[Genome]) -> tuple[np.ndarray, list[str]]:
    """(G, P) how often each model has each part, and the parts' keys."""
    tallies = [Counter(parts(genome).values()) for genome in genomes]
    keys = sorted({key for tally in tallies for key in tally})
    return np.array([[tally[key] for key in keys] for tally in tallies], dtype=float), keys
