"""Arguments and options that several commands have, and what the shell completes for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.output import keep_for_json
from nas.paths import parse_settings
from nas.shipped import ABLATIONS, PACKAGE, SPACES

DATA_HELP = "digits, cifar10, ..., imagefolder:PATH, parquet:PATH or webdataset:PATH"
UNLABELLED_HELP = f"{DATA_HELP}; images:PATH for images without labels"


def settings(texts: list[str] | None, **given: Any) -> dict[str, Any]:
    """The settings from --set and from options that set a key."""
    return parse_settings(texts or []) | {key: value for key, value in given.items() if value is not None}


def _load_plugins(names: list[str] | None) -> list[str]:
    from nas.plugins import load_plugins

    load_plugins(names or [])
    return names or []


def _named(metavar: str, text: str, names: Callable[[], Iterable[str]]) -> Any:
    """An argument of typer whose names the shell completes; where none fits, it completes file names."""

    def complete(incomplete: str) -> list[str]:
        return sorted(name for name in names() if name.startswith(incomplete))

    return typer.Argument(metavar=metavar, help=text, autocompletion=complete)


def _presets() -> list[str]:
    """As `nas.list_presets`, without importing torch."""
    return [path.stem for path in (PACKAGE / "genome" / "presets").glob("*.yaml")]


def _runs() -> list[str]:
    return [path.parent.name for path in Path("results").glob("*/run.yaml")]


SpaceArgument = Annotated[str, _named("SPACE", "name (see `nas spaces`), or a YAML file", lambda: SPACES.files)]
TableArgument = Annotated[str, _named("TABLE", "name (see `nas ablations`), or a YAML file", lambda: ABLATIONS.files)]
GenomeArgument = Annotated[str, _named("GENOME", "preset name (see `nas presets`) or genome YAML file", _presets)]
RunsArgument = Annotated[list[str], _named("RUN...", "name in results/, or a path; several are compared", _runs)]
RunArgument = Annotated[str, _named("RUN", "name in results/, or a path", _runs)]
PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py|MODULE",
        help="blocks, metrics, samplers, schedulers or data sources of your own; repeatable",
        callback=_load_plugins,
        is_eager=True,
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="begin with a trained model's weights: a genome file beside its weights, timm:NAME@FILE, local-dir:FOLDER",
    ),
]
PixelsOption = Annotated[
    int | None, typer.Option(min=1, help="an image with more is refused and not decoded; default 89,478,485")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="set any key by its dotted path; several in one string, or repeated"
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="print results, and no progress")]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", is_eager=True, callback=keep_for_json, help="print results as one JSON document, and nothing else"
    ),
]
