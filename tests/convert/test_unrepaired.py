"""`repair: false`: chosen assemblies stay as they are, are evaluated once, and are trials like all others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

import nas
from nas.convert.run import convert
from nas.engine import Pool
from nas.model import build
from nas.report import write_report
from nas.train import evaluate
from tests.convert.small import spec
from tests.report.described import undescribed, unsealed


def test_what_is_not_repaired_stays_as_it_is(parent: Path, pool: Pool, tmp_path: Path) -> None:
    run, plan = tmp_path / "run", spec(parent, repair=False, compare=["all"])
    found = convert(plan, run)
    assert (found.trials["state"] == "complete").all() and (found.trials["epochs"] == 0).all()
    assert found.assemblies["delta_accuracy"].notna().all()
    own, kept = load_file(parent.with_name("weights.safetensors")), load_file(run / "trials/0000/weights.safetensors")
    assert own.keys() == kept.keys() and all(torch.equal(own[name], kept[name]) for name in own)
    validation = plan.task.load().validation
    for row in found.trials.to_dict("records"):
        genome = run / "trials" / row["trial"] / "genome.yaml"
        assert evaluate(build(genome, weights=genome.with_name("weights.safetensors")), validation) == row["accuracy"]
    assert write_report(run).exists()
    assert undescribed(run) == unsealed(run) == []
    model, _, _ = nas.load(run / "winners" / f"{found.front['winner'].iloc[0]}.yaml")
    assert torch.isfinite(model(torch.zeros(1, 1, 8, 8))).all()

    (run / "trials/0001/result.json").unlink()  # killed before it was written
    pd.testing.assert_frame_equal(
        convert(plan, run).trials.drop(columns=["seconds", "finished"], errors="ignore"),
        found.trials.drop(columns=["seconds", "finished"], errors="ignore"),
    )
