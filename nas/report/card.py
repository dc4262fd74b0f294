"""The card of an exported model: README.md, with the front matter that the Hugging Face hub reads.

It says what is in the files: figures by formula, those of winners/<name>.json, the data of the run, and preprocessing.
The licence of weights depends on the images they were trained on, which no file says: the field is left to the user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.engine.origin import record_of
from nas.genome import Genome
from nas.genome.describe import describe
from nas.numbers import magnitude
from nas.plain_yaml import dump_yaml
from nas.profiling import cost
from nas.report.classes import Results, class_results, percent, read_results
from nas.report.markup import markdown, markdown_lines

FRONT = {
    "license": "unknown",
    "library_name": "timm",
    "pipeline_tag": "image-classification",
    "tags": ["image-classification", "timm", "nas-vit"],
}


def card(file: str | Path, genome: Genome) -> str:
    """The text of README.md. file: the genome's, beside its results. genome: it says how pixels reach the model.

    >>> card("results/my_run/winners/w1-0007.yaml", genome).splitlines()[1]
    'license: unknown'
    """
    file = Path(file)
    results, record = read_results(file), record_of(file) or {}
    name = genome.name or file.stem
    parts = [
        f"---\n{dump_yaml(FRONT)}---",
        f"# {name}",
        f"A vision transformer of nas-vit: {describe(genome)}.",
        "\n".join(["## Figures", "", *markdown_lines(["", ""], _figures(genome, results, record))]),
        f"## Data\n\n{_data(record)}",
        f"## Preprocessing\n\n{_preprocessing(genome)}",
        "## Licence\n\nNot stated yet: set `license:` at the head of this file. The licence of the images counts, too.",
        f"## Use\n\n{_use(genome)}",
    ]
    by_class = class_results(results)
    if by_class is not None:
        parts.append(f"## By class\n\n{by_class.line.capitalize()}.\n\n{markdown(by_class.table()).rstrip()}")
    return "\n\n".join(parts) + "\n"


def _figures(genome: Genome, results: Results, record: dict[str, Any]) -> list[list[str]]:
    """Rows of two cells. Costs are of the deployed model, for one image."""
    total = cost(genome)
    rows = [["MACs", magnitude(total.macs)], ["parameters", magnitude(total.params)]]
    word = record.get("accuracy", "accuracy")  # a run on images without labels says what it is
    if "accuracy" in results:
        own = results.get("accuracy_weights", results["accuracy"])
        rows.append([f"{word} on validation", _share(own, results.get("accuracy_se"))])
    if "accuracy_test" in results:
        images = sum(row["images"] for row in results.get("classes", ()))
        share = _share(results["accuracy_test"], results.get("accuracy_test_se"))
        rows.append([f"{word} on test", share + f" of {images} images" * bool(images)])
    return rows


def _share(accuracy: float, error: float | None) -> str:
    return f"{percent(accuracy)} %" if error is None else f"{percent(accuracy)} ± {percent(error)} %"


def _data(record: dict[str, Any]) -> str:
    """The name of the images. A path is of this machine; what it ends in is enough to know the folder by."""
    source = record.get("spec", {}).get("data")
    if source is None:
        return "Not stated: no run directory is around the genome file."
    kind, _, path = str(source).partition(":")
    named = f"{kind}:{path.rstrip('/').rpartition('/')[2]}" if path else kind
    return f"Trained on `{named}`, in the run `{record.get('name', '')}` (seed {record.get('seed', 0)})."


def _preprocessing(genome: Genome) -> str:
    preprocess, image = genome.preprocess, genome.image
    assert preprocess is not None
    side = int(image.size / preprocess.crop)
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (preprocess.mean, preprocess.std))
    colour = {1: "grey", 3: "RGB"}.get(image.channels, f"{image.channels} channels")
    return (
        f"Decode to {colour}; resize the shorter side to {side} pixels ({preprocess.interpolation}, antialiased); crop "
        f"the middle {image.size} × {image.size}; scale to 0..1, subtract the mean ({mean}), divide by the standard "
        f"deviation ({std}). `config.json` has it in full precision."
    )


def _use(genome: Genome) -> str:
    mode = "L" if genome.image.channels == 1 else "RGB"
    return f"""```python
import timm, nas.timm  # pip install nas-vit
model = timm.create_model("local-dir:FOLDER").eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
probabilities = model(transform(image.convert("{mode}"))[None]).softmax(1)
```"""
