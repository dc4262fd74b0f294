from __future__ import annotations

import pytest

from nas.data.names import split_named, split_names


@pytest.mark.parametrize(
    ("names", "split"),
    [
        ("train Train TRAINING training_set train2017 TrainImages train-set images_train", "train"),
        ("val Valid validation VALIDATION_SET val2017 dev eval validationset", "validation"),
        ("test Testing test_images TestSet", "test"),
        ("cat bullet_train test-tube contest latest developer images data 2017 crash_test Züge", None),
    ],
)
def test_usual_words_in_any_case(names: str, split: str | None) -> None:
    assert {name: split_named(name) for name in names.split()} == dict.fromkeys(names.split(), split)


def test_what_names_share_says_nothing() -> None:
    assert split_names(["seg_train", "seg_test", "seg_pred"]) == {"train": ["seg_train"], "test": ["seg_test"]}
    assert split_names(["bullet_train", "steam_train", "car"]) == {}
    assert split_names(["bullet_train", "car"]) == {}
    assert split_names(["Train", "val", "valid"]) == {"train": ["Train"], "validation": ["val", "valid"]}
