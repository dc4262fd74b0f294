"""Settings (`--set`) of a spec with a `training:` or a `base:` genome: a space, an ablation, a training.

    training.epochs=30           any key, by its dotted path (nas/paths.py)
    halving.first=2              a key of a section that is null or only a name (`sampler: tpe`)
    base.stages.0.width=48       a key of a base genome that is written out in the spec: an edit of that genome

A base given as the name of a preset or file has no keys. Errors name `--set` as the file.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nas.errors import SpaceError, SpecError
from nas.genome.edit import edited
from nas.genome.presets import load_genome
from nas.genome.schema import Genome
from nas.paths import SET, called, changed


def with_settings(
    data: dict[str, Any],
    changes: dict[str, Any],
    *,
    keyed: Collection[str] = (),
    named: Collection[str] = (),
    file: object = None,
) -> dict[str, Any]:
    """The plain data of a spec, every default written out, with values set at dotted paths.

    keyed: path patterns below which the rest of a path is one key. file: of `data`, named if the base is no genome.
    Raises SpecError.

    >>> with_settings({"training": {"epochs": 15}, "sampler": "tpe"}, {"sampler.lag": 2}, named=["sampler"])
    {'training': {'epochs': 15}, 'sampler': {'name': 'tpe', 'lag': 2}}
    """

    def opened(key: str, value: Any) -> Any:
        if value is None:
            return {}
        return {"name": value} if key in named and isinstance(value, str) else value

    of_base = {path: value for path, value in changes.items() if path.startswith("base.")}
    own = {path: value for path, value in changes.items() if path not in of_base}
    try:
        data = changed(data, own, opened=opened, keyed=keyed, kind=SpaceError)
        if of_base:
            data |= {"base": _edited(data.get("base"), of_base, file=SET if "base" in own else file)}
    except SpecError as error:
        raise error.within(file=SET) from None
    return data


def _edited(base: Any, changes: dict[str, Any], file: object) -> dict[str, Any]:
    """The plain data of a base genome with `changes` applied, whose paths begin with `base.`."""
    if not isinstance(base, dict):
        message = f"cannot be set: base is {called(base)}; to change keys of it, write the genome in its place"
        raise SpaceError(message, path=next(iter(changes)))
    try:
        genome = load_genome(base)
    except SpecError as error:
        raise error.within(file=file, path="base") from None
    made = edited({"base": genome.model_dump(mode="json")}, changes)["base"]
    try:
        return Genome.parse(made).model_dump(mode="json", exclude_defaults=True)
    except SpecError as error:
        raise error.within(path="base") from None
