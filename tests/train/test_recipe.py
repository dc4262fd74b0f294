from __future__ import annotations

import pytest
from pydantic import ValidationError

from nas.train import Training


def test_defaults_survive_a_round_trip():
    assert Training.model_validate(Training().model_dump(mode="json")) == Training()


@pytest.mark.parametrize(
    "wrong",
    [{"epoch": 3}, {"epochs": 0}, {"lr": float("nan")}, {"ema": 1.0}, {"precision": "half"}, {"augment": {"flp": 1}}],
)
def test_refuses(wrong):
    with pytest.raises(ValidationError):
        Training(**wrong)


def test_refuses_a_cosine_that_ends_above_its_peak():
    with pytest.raises(ValidationError, match=r"min_lr 0\.1 is above lr 0\.01"):
        Training(lr=0.01, min_lr=0.1)


def test_a_teachers_files_are_kept_with_their_full_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").touch()
    teacher = Training(teacher={"genome": "lavit_digits", "weights": "w.safetensors"}).teacher
    assert teacher.genome == "lavit_digits"
    assert teacher.weights == str(tmp_path / "w.safetensors")
    teacher = Training(teacher={"model": "timm:deit_tiny_patch16_224@w.safetensors"}).teacher
    assert teacher.model == f"timm:deit_tiny_patch16_224@{tmp_path / 'w.safetensors'}"
