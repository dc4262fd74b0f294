from __future__ import annotations

from pathlib import Path

import pandas as pd

from nas.report.mask import COLUMNS, mask_curves, write_mask
from nas.row_seals import ROW_SEAL


def test_every_epoch_of_every_arm_with_a_mask(tmp_path: Path) -> None:
    for trial, masses in (("0000", [0.4, 0.1]), ("0001", [0.3, 0.2])):
        folder = tmp_path / "trials" / trial
        folder.mkdir(parents=True)
        rows = {"epoch": [1, 2], "mask_mass": masses, "accuracy_with_auxiliary": [0.2, 0.5], "accuracy": [0.1, 0.5]}
        pd.DataFrame(rows | {"loss": [1.0, 0.5]}).to_csv(folder / "metrics.csv", index=False)
    cells = pd.DataFrame(
        {
            "arm": ["fixed", "step", "none"],
            "seed": 5,
            "trial": ["0000", "0001", "0002"],
            "accuracy_before_switch": [0.5, 0.5, None],
        }
    )
    table, figure = write_mask(tmp_path, cells)
    epochs = pd.read_csv(table)
    assert list(epochs.columns) == ["arm", "seed", *COLUMNS, ROW_SEAL]
    assert (
        epochs["mask_mass"].tolist() == [0.4, 0.1, 0.3, 0.2] and epochs["arm"].tolist() == ["fixed"] * 2 + ["step"] * 2
    )
    assert figure.read_bytes().startswith(b"\x89PNG")
    left, right = mask_curves(epochs).axes
    assert [line.get_label() for line in left.lines] == ["fixed", "step"]
    assert right.lines[0].get_ydata().tolist() == [-10.0, 0.0]
