"""`nas predict` on files as they come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nas as package
from nas.data import load
from nas.errors import DataError, GenomeError
from nas.train import evaluate
from tests.cli.conftest import nas as nas  # the command line as a fixture


def test_it_is_right_as_often_as_the_table_says(nas, trained, photographs):
    images = load(f"imagefolder:{photographs}", size=8)
    files = [images.test.subset.pictures.paths[index] for index in images.test.subset.indices]
    answer = nas("predict", trained, *files, "--json", "--device", "cpu")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert [each["file"] for each in found] == [str(file) for file in files]
    for each in found:
        assert set(each) == {"file", "class", "probability", "top"}
        assert [set(place) for place in each["top"]] == [{"class", "probability"}] * 2
        assert each["top"][0] == {"class": each["class"], "probability": each["probability"]}
        assert each["top"][0]["probability"] >= each["top"][1]["probability"]
        assert sum(place["probability"] for place in each["top"]) == pytest.approx(1)
    right = sum(each["class"] == Path(each["file"]).parent.name for each in found)
    model = package.build(trained, weights=True)
    assert right == round(evaluate(model, images.test) * len(files))


def test_a_folder_is_all_its_images(nas, trained, photographs):
    answer = nas("predict", trained, photographs / "left", photographs / "top/000.jpg", "--top", "1")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert [Path(line.partition(": ")[0]) for line in lines] == [
        *sorted((photographs / "left").iterdir()),
        photographs / "top/000.jpg",
    ]
    assert all(line.endswith(" %") and line.count("%") == 1 for line in lines)


def test_an_image_that_cannot_be_read_is_one_message_and_the_others_go_on(nas, trained, photographs, tmp_path):
    good = photographs / "left/000.jpg"
    (tmp_path / "bad.jpg").write_bytes(good.read_bytes()[:200])
    (tmp_path / "text.png").write_text("no image")
    answer = nas("predict", trained, "bad.jpg", good, "text.png", "none.jpg", "--json")
    assert answer.code == 2
    assert [each["file"] for each in json.loads(answer.out)] == [str(good)]
    messages = answer.err.splitlines()
    assert [message.split(": ")[1] for message in messages] == ["bad.jpg", "text.png", "none.jpg"]
    assert "a damaged image" in messages[0] and "not an image" in messages[1] and "No such file" in messages[2]
    with pytest.raises(DataError, match=r"^bad\.jpg: a damaged image"):
        package.predict(trained, ["bad.jpg", good])


def test_the_limit_on_pixels_is_an_option(nas, trained, photographs):
    small = photographs / "left/000.jpg"
    answer = nas("predict", trained, small, "--max-pixels", "319")
    assert answer.code == 2 and "an image of 320 pixels; at most 319 are decoded" in answer.err
    assert "--max-pixels of `nas train` and `nas predict`" in answer.err
    assert nas("predict", trained, small, "--max-pixels", "320").code == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["none.yaml", "a.jpg"], ["none.yaml", "no such file"]),
        (["lavit_digits", "a.jpg"], ["'lavit_digits' is not a file"]),
        (["TRAINED", "empty"], ["empty: no images in this folder; looked for .jpg"]),
        (["TRAINED", "a.jpg", "--weights", "none.safetensors"], ["none.safetensors", "weights cannot be read"]),
        (["TRAINED", "a.jpg", "--device", "cuda:99"], ["torch cannot use 'cuda:99'"]),
    ],
)
def test_mistakes_are_one_message(nas, trained, tmp_path, arguments, parts):
    (tmp_path / "empty").mkdir()
    answer = nas("predict", *(str(trained) if argument == "TRAINED" else argument for argument in arguments))
    assert answer.code == 2 and answer.out == ""
    assert answer.err.count("\n") == 1
    assert all(part in answer.err for part in parts)


def test_the_python_face(trained, photographs):
    one, *others = package.predict(trained, photographs / "top/000.jpg", top=1)
    assert not others and len(one.top) == 1 and one.file == str(photographs / "top/000.jpg")
    with pytest.raises(package.SpecError, match="top: expected at least one class, found 0"):
        package.predict(trained, photographs, top=0)


def test_a_winner_of_an_earlier_version_says_what_is_missing():
    winner = Path(__file__).parents[1] / "fixtures/v0_1/halving/winners/w1-0000.yaml"
    with pytest.raises(GenomeError, match="write `preprocess:"):
        package.load(winner)
