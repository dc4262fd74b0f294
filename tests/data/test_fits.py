from __future__ import annotations

import pytest

from nas.data import check_fits, load
from nas.errors import DataError

FITS = {"size": 8, "channels": 1, "classes": 10}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 16}, r"g\.yaml: image\.size: the model takes 16×16 images.*has 8×8; set image\.size to 8"),
        ({"channels": 3}, r"image\.channels: the model takes 3 channels.*1 channel \(grey\); set image\.channels to 1"),
        ({"classes": 100}, r"classes: the model takes 100 classes.*has 10; set classes to 10"),
    ],
)
def test_a_mismatch_names_the_key_and_the_fix(wrong: dict, message: str) -> None:
    images = load("digits")
    check_fits(images, **FITS)
    with pytest.raises(DataError, match=message):
        check_fits(images, **{**FITS, **wrong}, file="g.yaml")
