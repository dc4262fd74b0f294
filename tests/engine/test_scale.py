"""A base that the data makes far larger than it was made for is refused, or said, with what would be better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nas.ablation import ablate, parse_ablation
from nas.api import preview_search
from nas.engine import Event
from nas.engine.scale import introduce
from nas.errors import SpecError
from nas.genome import load_genome
from nas.search import load_space
from nas.search.dry_run import dry_run
from nas.search.run import resolved
from nas.train import fitted
from tests.data.conftest import pixels, png


@pytest.fixture
def photos(tmp_path: Path) -> Callable[[int], str]:
    def write(size: int) -> str:
        for index, image in enumerate(pixels(20, size=size)):
            folder = tmp_path / "photos" / "ab"[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{index}.png").write_bytes(png(image))
        return f"imagefolder:{tmp_path / 'photos'}"

    return write


REFUSAL = (
    r"^image_size: lavit_digits on this data: 96×96 pixels, 48×48 → 24×24 tokens, 1.74 G MACs \(made for 8×8 pixels, "
    r"4×4 → 2×2 tokens, 928 k MACs\): 1,871 times the MACs that the base was made for; set base=lavit_micro_96 \(.*\) "
    r"or image_size=24 \(.*\), or image_size=96 to have it so$"
)


def test_photographs_in_the_headline_space_are_refused_with_better_ways(
    photos: Callable[[int], str], tmp_path: Path
) -> None:
    said: list[Event] = []
    space = load_space("lavit_split").with_settings({"data": photos(96)})
    with pytest.raises(SpecError, match=REFUSAL):
        dry_run(space, on_event=said.append)
    texts = [event.data["text"] for event in said]
    assert texts[1].startswith("data ") and texts[-1].startswith("base ")
    table = parse_ablation(
        {"base": "lavit_digits", "data": space.data, "arms": {"one": {}, "two": {"stages.0.split": 1}}}
    )
    with pytest.raises(SpecError, match=REFUSAL):
        ablate(table, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({"image_size": 96}, "1,871 times the MACs"),
        ({"image_size": 32}, "times the MACs"),
        ({"base": "lavit_micro_96"}, None),
        ({"base": "lavit_micro_224", "image_size": 224}, None),
    ],
)
def test_what_is_meant_or_fits_goes_on(photos: Callable[[int], str], keys: dict, note: str | None) -> None:
    spec = load_space("lavit_split").with_settings({"data": photos(96)} | keys)
    images = spec.task.load()
    texts: list[str] = []
    introduce(
        spec.genome(), resolved(spec, images).base, images, lambda event: texts.append(event.data["text"]),
        suits=spec.space, meant=spec.image_size is not None,
    )  # fmt: skip
    notes = [text for text in texts if text.startswith("note ")]
    assert [note in text for text in notes] == ([True] if note else [])


def test_a_size_that_the_strides_do_not_divide_names_those_that_fit(photos: Callable[[int], str]) -> None:
    images = load_space("lavit_split").with_settings({"data": photos(30)}).task.load()
    with pytest.raises(SpecError, match=r"patch 2 does not divide the side 15 of its input; image_size=28 or 32 fits"):
        fitted(load_genome("lavit_digits"), images)


def test_the_space_for_photographs_takes_them(photos: Callable[[int], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.search.forecast.BUDGET", 0.0)
    said: list[Event] = []
    found = preview_search("photos", settings={"data": photos(128), "training.batch_size": 4}, on_event=said.append)
    assert found.genomes[0].image.size == 96 and found.genomes[0].classes == 2
    assert any("timing a few training steps" in event.data["text"] for event in said)
    assert found.forecast.trials and found.forecast.failure is None
