"""The commands that say what there is, and begin a file of your own: spaces ... init, schema"""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import LIST, app
from nas.cli.options import UNLABELLED_HELP, JsonOption, PluginOption, SetOption, settings
from nas.cli.output import console, print_json
from nas.errors import RunError
from nas.files import usable_path, write_text

STARTERS = Path(__file__).parent / "starters"


@app.command(rich_help_panel=LIST)
def spaces(as_json: JsonOption = False) -> None:
    """The search spaces in ./search_spaces and in the package."""
    from nas.report.catalogue import catalogue, spaces

    print_json(spaces()) if as_json else console().print(catalogue(spaces(), ("name", "about")))


@app.command(rich_help_panel=LIST)
def ablations(as_json: JsonOption = False) -> None:
    """The ablations in ./ablations and in the package, each with the claim that it tests."""
    from nas.report.catalogue import ablations, catalogue

    print_json(ablations()) if as_json else console().print(catalogue(ablations(), ("name", "about")))


@app.command(rich_help_panel=LIST)
def presets(
    markdown: Annotated[bool, typer.Option("--markdown", help="the page docs/presets.md")] = False,
    as_json: JsonOption = False,
) -> None:
    """The genomes that ship with the package."""
    if markdown:
        from nas.report.presets import preset_markdown

        print(preset_markdown(), end="")
        return
    from nas.report.catalogue import catalogue, presets

    columns = ("name", "image", "macs", "params", "layers")
    print_json(presets()) if as_json else console().print(catalogue(presets(), columns))


@app.command(rich_help_panel=LIST)
def blocks(as_json: JsonOption = False, plugin: PluginOption = None) -> None:
    """The blocks that a layer's slots take: core, auxiliary, local."""
    from nas.report.catalogue import blocks, catalogue

    print_json(blocks()) if as_json else console().print(catalogue(blocks(), ("slot", "name", "about")))


@app.command(rich_help_panel=LIST)
def data(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=UNLABELLED_HELP)],
    size: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="side to which images are brought; default: their own")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the validation split and of training.limit")] = 0,
    set_: SetOption = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="draw training images, as they are and as augmented")
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """What a dataset holds, how it is split, and what was left out; nothing is trained.

    --set changes the recipe: --set "training.validation=0.1 training.augment.min_area=0.3".
    """
    from nas.account import terminal_lines
    from nas.api import describe_data
    from nas.run_names import relative

    found = describe_data(source, size=size, settings=settings(set_), seed=seed, sheet=sheet)
    print_json(found) if as_json else print("\n".join(terminal_lines(found)))
    if sheet is not None and not as_json:
        print(f"written      {relative(sheet)}")


class Kind(StrEnum):
    space = "space"
    genome = "genome"


class Schema(StrEnum):
    genome = "genome"
    space = "space"
    ablation = "ablation"
    conversion = "conversion"


@app.command(rich_help_panel=LIST)
def init(
    kind: Annotated[Kind, typer.Argument(help="what to begin")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.yaml]", help="default: my_space.yaml or my_genome.yaml")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a commented space or genome to start from. It is valid as it stands.

    Its first line names the JSON Schema beside it, with which editors complete keys and check values.
    """
    target = usable_path(file or Path(f"my_{kind}.yaml"))
    if target.suffix not in (".yaml", ".yml"):
        raise RunError("expected a file name that ends in .yaml", file=target)
    if target.exists():
        raise RunError("is there already, and is not overwritten; choose another name", file=target)
    schema = target.with_name(f"{kind}.schema.json")
    if not schema.exists():
        write_text(schema, _schema(Schema(kind)))
    text = (STARTERS / f"{kind}.yaml").read_text(encoding="utf-8").replace("FILE", str(target))
    write_text(target, f"# yaml-language-server: $schema={schema.name}\n{text}")
    then = f"nas search {target} --dry-run" if kind is Kind.space else f"nas show {target}"
    if as_json:
        print_json({"file": target, "schema": schema, "next": then})
        return
    print(f"written      {target}\nkeys         {schema}, for editors\nlook at it   {then}")


@app.command(rich_help_panel=LIST)
def doctor(as_json: JsonOption = False) -> None:
    """What this machine offers to a run, and what would not work on it, with the remedy; 1 if a run cannot begin."""
    from nas.doctor import examine

    findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.what:<22} {finding.found}")
            if finding.remedy is not None:
                print(f"{'':<22} {'needed' if finding.stops else 'better'}: {finding.remedy}")
    if any(finding.stops for finding in findings):
        raise typer.Exit(1)


@app.command(rich_help_panel=LIST)
def schema(
    kind: Annotated[
        Schema, typer.Argument(metavar="[KIND]", help="genome, space, ablation or conversion")
    ] = Schema.genome,
    plugin: PluginOption = None,
) -> None:
    """The JSON Schema of a kind of file, for editors that complete and check YAML."""
    print(_schema(kind), end="")


def _schema(kind: Schema) -> str:
    from nas.report.schemas import SCHEMAS

    return json.dumps(SCHEMAS[kind].model_json_schema(), indent=1) + "\n"
