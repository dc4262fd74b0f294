"""Names that a metric cannot have: columns of a run's tables, and keys of its files, that mean something else.

A metric becomes a column of trials.csv, front.csv and table.csv, and a key of trial.json and result.json. Names that
begin with `accuracy_` or end in `_measured` are taken as well: they are variants of a metric.
"""

from __future__ import annotations

# Of table.csv and trials.csv, beside the metrics.
COLUMNS = frozenset(
    {
        *("arm", "seed", "trial", "hash", "state", "epochs", "seconds", "reason", "accuracy", "accuracy_se"),
        *(
            "row_sha256",
            "accuracy_validation",
            "test_images",
            "images_per_second",
            "median_seconds",
            "batch_size",
            "batches",
        ),
        *("device", "dtype", "threads", "spread", "deployed_graph"),
        *("compiled", "mask_mass", "accuracy_before_switch", "accuracy_after_switch"),
    }
)
# Of front.csv, trial.json and result.json, beside those; `table` is a key of a budget.
KEYS = frozenset(
    {
        *("winner", "repeats", "layers", "version", "number", "parameters", "note", "created", "directory", "until"),
        *("run", "trial_sha256", "trials_sha256"),
        *("finished", "metrics_sha256", "weights_sha256", "sha256", "table"),
    }
)
