from __future__ import annotations

import pytest
import torch

from nas.data import load
from nas.engine.origin import held_out_images
from nas.engine.record import write_record
from nas.errors import DataError
from nas.files import write_text
from nas.genome import load_genome


def test_a_winner_is_shown_the_validation_images_of_its_run(tmp_path):
    run = tmp_path / "run"
    for name in ("winners/w1-0000.yaml", "trials/0000/genome.yaml"):
        write_text(run / name, load_genome("lavit_digits").to_yaml())
    spec = {"data": "digits", "training": {"validation": 0.25, "limit": 400}}
    write_record(run, id="0123456789abcdef", kind="search", seed=5, spec=spec)
    expected = load("digits", validation=0.25, limit=400, seed=5).validation
    for name in ("winners/w1-0000.yaml", "trials/0000/genome.yaml"):
        split = held_out_images(str(run / name), None, 10**6)
        assert split.subset.indices.tolist() == expected.subset.indices.tolist()
    images_BCHW, _ = next(split.batches(100, seed=None))
    torch.testing.assert_close(images_BCHW, next(expected.batches(100, seed=None))[0])

    few = held_out_images(str(run / "winners/w1-0000.yaml"), None, 10)
    assert len(few) == 10
    assert few.subset.indices[[0, -1]].tolist() == expected.subset.indices[[0, -1]].tolist()


def test_a_preset_is_shown_what_training_would_hold_out():
    assert (
        held_out_images("lavit_digits", None, 10**6).subset.indices.tolist()
        == load("digits").validation.subset.indices.tolist()
    )
    with pytest.raises(DataError, match=r"deit_tiny: image.channels: the model takes 3 channels"):
        held_out_images("deit_tiny", "digits", 10)
