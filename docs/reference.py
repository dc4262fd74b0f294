"""What the site has beside the pages of this folder, made while it is built (a hook of mkdocs, see mkdocs.yml).

    reference/<kind>.md      every key of a kind of file, from its JSON Schema (nas/report/schemas.py)
    reference/files.md       every column and key that a run writes, from nas/report/columns.py
    reference/python.md      the public face, whose docstrings mkdocstrings renders
    tutorial.md              tutorial.ipynb, with the outputs of its last run
    changelog.md, contributing.md      the files of the repository's root

Links to files outside of this folder go to a copy of the file where they name one, and are plain text otherwise.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import nas
from nas.metrics import METRICS
from nas.report.columns import FILES, describe_metric
from nas.report.schemas import SCHEMAS

ROOT = Path(__file__).parents[1]
Schema = dict[str, Any]

# Page → its title, the kind whose schema has the keys, and the definitions to show; the first one is the kind itself.
PAGES: dict[str, tuple[str, str, list[str]]] = {
    "genome": ("Genome", "genome", ["", "Image", "StageSpec", "Run", "Rotary", "Loss", "Diagonal", "Preprocess"]),
    "blocks": ("Blocks", "genome", ["*Config", "Schedule"]),
    "space": ("Search space", "space", ["", "ParameterSpec", "Budget", "sampler_*", "scheduler_*"]),
    "ablation": ("Ablation", "ablation", [""]),
    "conversion": ("Conversion", "conversion", ["", "Candidate", "Distillation", "Sharing"]),
    "training": ("Training, workers, limits", "space", ["Training", "Augment", "Teacher", "Workers", "Limits"]),
}
TITLES = {"StageSpec": "Stage", "ParameterSpec": "Parameter", "Distillation": "Library"}
INTRODUCTIONS = {
    "blocks": "What the slots of a layer take: a name, or a mapping with `block:` and options. "
    "[Concepts](../concepts.md) has the slots, `nas blocks` the list with plug-ins.",
    "training": "Sections that spaces, ablations and conversions have in common. `nas train` sets the first with "
    '`--set "training.epochs=30"`. `storage:` is a key of each kind: see [More than one machine](../cluster.md).',
    "conversion": "`training:` is the repair. Its defaults differ from those of a training: {repair}.",
}


FILES_INTRODUCTION = (
    "Every file of numbers in `results/<run>/`, with its columns (CSV) or keys (JSON, `run.yaml`). A value that is not "
    "known is empty in CSV, null in JSON. Accuracies are fractions. Where metrics are columns, they are those of the "
    "objectives and the budget, beside `macs`, `params` and `throughput`:"
)


# ----------------------------------------------------------------------------------------------------------------------
# Keys, from JSON Schemas
# ----------------------------------------------------------------------------------------------------------------------
def definitions(page: str) -> list[tuple[str, Schema]]:
    """Heading and schema of each section of a page."""
    _, kind, wanted = PAGES[page]
    whole = SCHEMAS[kind].model_json_schema()
    found = []
    for pattern in wanted:
        if pattern == "":
            found.append(("Keys", whole))
        for name, part in whole["$defs"].items():
            if re.fullmatch(pattern.replace("*", ".*") or "-", name):
                found.append((title_of(name, part), part))
    return found


def title_of(name: str, part: Schema) -> str:
    """`less` for the options of that block, `tpe` for those of that sampler, else the name of the section."""
    keys = properties(part)
    for key in ("block", "name"):
        if "const" in keys.get(key, {}):
            return str(keys[key]["const"])
    return TITLES.get(name, name)


def properties(part: Schema) -> dict[str, Schema]:
    """Of a mapping, also where it may be written as a text instead (`softmax x 2`)."""
    options = [part, *part.get("anyOf", [])]
    return next((option["properties"] for option in options if "properties" in option), {})


def keys_page(page: str) -> str:
    title, _, _ = PAGES[page]
    lines = [f"# {title}", "", INTRODUCTIONS.get(page, "").format(repair=_repair()), ""]
    for heading, part in definitions(page):
        lines += [f"## {heading} {{#{anchor(heading)}}}", "", *_about(part), ""]
        rows = {key: value for key, value in properties(part).items() if "const" not in value}
        required = _required(part)
        if rows:
            lines += ["| key | type | default | range | what it is |", "| --- | --- | --- | --- | --- |"]
            lines += [_row(page, key, value, key in required) for key, value in rows.items()]
        elif heading != "Budget":
            lines += ["No options."]
        if heading == "Budget":
            lines += ["", *_budgets()]
        lines += [""]
    return "\n".join(lines)


def anchor(heading: str) -> str:
    return heading.lower().replace("_", "-").replace(" ", "-")


def _about(part: Schema) -> list[str]:
    text = next((option["description"] for option in (part, *part.get("anyOf", [])) if "description" in option), "")
    first = text.split(">>>")[0].strip().partition("\n\n")[0].replace("\n", " ")
    return [re.sub(r":? ?[Ss]ee the head of this file\.", ".", first).removeprefix(".")]


def _required(part: Schema) -> list[str]:
    return next((option["required"] for option in (part, *part.get("anyOf", [])) if "required" in option), [])


def _row(page: str, key: str, value: Schema, required: bool) -> str:
    default = "required" if required else f"`{_short(value['default'])}`" if "default" in value else "none"
    cells = [f"`{key}`", type_of(page, value), default, range_of(value), value.get("description", "")]
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _short(value: Any) -> str:
    """A default as YAML would have it; a section's only says that its keys have defaults of their own."""
    if isinstance(value, dict) and (len(value) > 3 or any(isinstance(inner, dict) for inner in value.values())):
        return "its own defaults"
    return json.dumps(value).replace('"', "") or "(empty)"


def type_of(page: str, value: Schema) -> str:
    """The type in words; a section is a link to its keys."""
    if "$ref" in value:
        return _link(page, value["$ref"].rpartition("/")[2])
    if value.get("title") == "Genome":
        return _link(page, "Genome")
    if "anyOf" in value:
        kinds = dict.fromkeys(type_of(page, option) for option in value["anyOf"] if not _names(option, value))
        kinds.pop("null", None) if len(kinds) > 1 else None
        return " or ".join(dict.fromkeys(kinds)) + (" or null" if {"type": "null"} in value["anyOf"] else "")
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    kind = value.get("type", "any value")
    if kind == "array":
        items = value.get("prefixItems") or [value.get("items", {})]
        return "list of " + " and ".join(dict.fromkeys(type_of(page, item) for item in items))
    if kind == "object" and "additionalProperties" in value and isinstance(value["additionalProperties"], dict):
        return "mapping to " + type_of(page, value["additionalProperties"])
    words = {"integer": "whole number", "string": "text", "boolean": "true or false", "object": "mapping"}
    return words.get(str(kind), str(kind)) if isinstance(kind, str) else " or ".join(words.get(k, k) for k in kind)


def _names(option: Schema, value: Schema) -> bool:
    """Whether an option lists the names of plug-ins, which the links to their options name as well."""
    return "enum" in option and any("er_" in other.get("$ref", "") for other in value["anyOf"])


def _link(page: str, name: str) -> str:
    if name.endswith("Config"):
        return "[options](blocks.md)" if page != "blocks" else "options"
    if name == "Genome":
        return "[genome](genome.md)"
    if name.startswith(("sampler_", "scheduler_")):
        return f"[{name.partition('_')[2]}](#{anchor(name.partition('_')[2])})"
    target = next(other for other, (_, _, wanted) in PAGES.items() if name in wanted)
    title = TITLES.get(name, name)
    return f"[{title}]({'' if target == page else target + '.md'}#{anchor(title)})"


def range_of(value: Schema) -> str:
    """`≥ 1`, `> 0, < 1`; that of the number among several types."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    for option in (value, *value.get("anyOf", [])):
        if found := [f"{sign} {option[word]:,}" for word, sign in signs.items() if word in option]:
            return ", ".join(found)
    return ""


def _budgets() -> list[str]:
    rows = [
        f"| `{name}` | at {'most' if metric.direction == 'min' else 'least'} | {describe_metric(name)} |"
        for name, metric in METRICS.items()
        if metric.budget
    ]
    return ["| key | the limit is | of what |", "| --- | --- | --- |", *rows]


def _repair() -> str:
    from nas.convert.spec import REPAIR

    return ", ".join(f"`{key}: {value}`" for key, value in REPAIR.items())


# ----------------------------------------------------------------------------------------------------------------------
# Files of a run, Python
# ----------------------------------------------------------------------------------------------------------------------
def files_page() -> str:
    lines = ["# Files of a run", "", FILES_INTRODUCTION, "", "| metric | what it is |", "| --- | --- |"]
    lines += [*(f"| `{name}` | {describe_metric(name)} |" for name in METRICS), ""]
    for name, contents in FILES.items():
        lines += [f"## {name} {{#{name.replace('.', '-')}}}", ""]
        place = contents.place if contents.place.startswith("written") else f"`{contents.place}`"
        lines += [f"{contents.about} ({place})"]
        lines += ["", "| column or key | what it is |", "| --- | --- |"]
        lines += [f"| `{key}` | {_cell(text)} |" for key, text in contents.columns.items()]
        if contents.metrics:
            lines += ["| a metric, also with `_measured` | its value; measured where it is predicted |"]
        if contents.rest:
            lines += [f"| any other | {_cell(contents.rest)} |"]
        lines += [""]
    return "\n".join(lines)


def python_page() -> str:
    parts = {name: f"{home}.{name}" for name, home in nas._HOME.items()}
    lines = ["# Python", "", "What `import nas` offers. Everything is imported when it is first used.", ""]
    for name in nas.__all__:
        lines += [
            f"::: {_origin(name, parts[name])}",
            "    options:",
            f"      heading: nas.{name}",
            f"      toc_label: {name}",
            "",
        ]
    return "\n".join(lines)


def _origin(name: str, path: str) -> str:
    """Where it is defined, which a static reader does not find through a package that re-exports it."""
    member = getattr(nas, name)
    return f"{member.__module__}.{member.__qualname__}" if hasattr(member, "__qualname__") else path


# ----------------------------------------------------------------------------------------------------------------------
# The notebook
# ----------------------------------------------------------------------------------------------------------------------
def notebook_page(file: Path) -> str:
    """A notebook as Markdown: code, then what it printed, tables and figures included."""
    lines: list[str] = []
    for cell in json.loads(file.read_text())["cells"]:
        source = "".join(cell["source"])
        lines += [source] if cell["cell_type"] == "markdown" else ["```python", source, "```"]
        for output in cell.get("outputs", []):
            lines += ["", _shown(output)]
        lines += [""]
    return "\n".join(lines)


def _shown(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="figure" src="data:image/png;base64,{"".join(data["image/png"].split())}">'
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>| border=.1. class=.dataframe.", "", "".join(data["text/html"]), flags=re.S)
        return f"<div>{table}</div>"
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```"


# ----------------------------------------------------------------------------------------------------------------------
# Hooks of mkdocs
# ----------------------------------------------------------------------------------------------------------------------
def on_files(files: Files, config: MkDocsConfig) -> Files:
    made = {f"reference/{page}.md": keys_page(page) for page in PAGES}
    made |= {"reference/files.md": files_page(), "reference/python.md": python_page()}
    made |= {"tutorial.md": notebook_page(ROOT / "docs" / "tutorial.ipynb")}
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        made[name.lower()] = (ROOT / name).read_text().replace("](docs/", "](").replace("](CHANGELOG", "](changelog")
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    outside = {
        target for page in (ROOT / "docs").glob("*.md") for target in re.findall(r"\]\(\.\./([^)#]+)", page.read_text())
    }
    for target in sorted(outside):
        if (ROOT / target).is_file() and not target.endswith(".py"):
            files.append(File.generated(config, _copied(target), abs_src_path=str(ROOT / target)))
    return files


def _copied(target: str) -> str:
    return f"files/{target}.txt" if target.endswith(".md") else f"files/{target}"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/ lead to the copy of the file; those to folders and code become text."""

    def replaced(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if files.get_file_from_path(_copied(target)) is not None:
            depth = os.path.relpath(_copied(target), Path(page.file.src_uri).parent)
            return f"[{text}]({depth})"
        return f"{text} (`{target}`)" if target.strip("/") not in text else text

    return re.sub(r"\[([^\]]*)\]\(\.\./([^)#]+)\)", replaced, markdown)
