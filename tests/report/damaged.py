"""A run directory with every kind of file that a report reads, and what may have become of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from safetensors.torch import save_file

from nas.data import account_of, load
from nas.engine import Ledger, Outcome, Run
from nas.files import write_json, write_sealed
from nas.model import build
from nas.plain_yaml import dump_yaml, parse_yaml
from nas.row_seals import ROW_SEAL
from nas.search import SearchSpec
from nas.search.anytime import anytime
from nas.search.gain import Gain
from nas.search.winners import write_front
from tests.report.synthetic import write_facts
from tests.search.simulation import LAVIT, estimate

SPEC = SearchSpec.parse(parse_yaml(LAVIT))
REPLACED = {
    "empty": b"",
    "brace": b"{",
    "list": b"[]",
    "null": b"null",
    "number": b"3",
    "other": b'{"x": 1}\n',
    "kinds": b'{"classes": "abc", "confusion": 3, "layers": [1], "accuracy": "x", "epochs": "many", "device": 1}\n',
    "values": b'{"accuracy": 7.0, "accuracy_test": NaN, "confusion": [[0, 99, 1]], "layers": [{"macs": -1}]}\n',
    "binary": bytes(range(256)),
    "page": b"<html>\n",
}


def write_searched(directory: Path, trials: int = 3, id: str = "0123456789abcdef") -> Path:
    """A search that has ended: trials with weights, tables, and winners with their results on test."""
    write_facts(directory)
    with (directory / "run.yaml").open("a") as file:
        file.write(dump_yaml({"id": id, "data": account_of(load("digits"))}))
    Gain(0.1, -0.1, 0.3, "estimated", trials).write(directory)
    ledger = Ledger(directory)
    for number in range(trials):
        model = build(build("lavit_digits").genome.edit({"stages.0.split": number + 1}))
        job = ledger.add(
            model.genome,
            seed=number,
            hash=model.genome.hash,
            parameters={"stages.0.split": number + 1},
            costs=estimate(model.genome),
            note={"draw": number - 1, "layers": "softmax"},
        )
        save_file(model.state_dict(), job.directory / "weights.safetensors")
        (job.directory / "metrics.csv").write_text("epoch,loss,accuracy,seconds\n1,1.5,0.7,2.0\n2,1.0,0.8,2.0\n")
        cells = [[0, 0, 3], [0, 8, 1], [9, 9, 4]]
        tested = {"accuracy": 0.875, "test_images": 8, "hash": job.hash, "seed": job.seed, "confusion": cells}
        write_json(job.directory / "test.json", tested)
        ledger.finish(job, Outcome.of(job, "complete", accuracy=0.9 - 0.1 * number, epochs=2, seconds=4.0))
    ledger.write_table()
    write_front_of(directory)
    anytime(ledger, list(SPEC.objectives)).to_csv(directory / "hypervolume.csv", index=False)
    pd.DataFrame(
        {
            "layer": ["stages.0.layers.0"],
            "candidate": ["less"],
            "kl": [0.1],
            "delta_accuracy": [-0.01],
            "delta_macs": [-9],
        }
    ).to_csv(directory / "sensitivity.csv", index=False)
    return directory


def as_earlier_versions_wrote(directory: Path) -> None:
    """Without seals of rows, and without the winners' word on which trials the front is of."""
    for file in (directory / "winners").glob("*.json"):
        content = json.loads(file.read_text())
        write_sealed(file, {key: content[key] for key in content if key not in ("sha256", "trials_sha256")})
    for file in directory.glob("*.csv"):
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        table.drop(columns=ROW_SEAL, errors="ignore").to_csv(file, index=False)


def write_front_of(directory: Path) -> None:
    write_front(Run(directory, "search", SPEC, lambda record: record), _Examiner())


class _Examiner:
    def seconds(self, trials: list[str], batch_size: int) -> list[float]:
        return [0.01 * batch_size] * len(trials)

    def on_test(self, trials: list[str]) -> tuple[list[tuple[float, float]], None]:
        return [(0.875, 0.1)] * len(trials), None
