"""Mutations of the YAML files that ship: each is read as data or refused as a SpecError, and nothing else happens.

python -m tests.fuzz 20000        many of them; the seed of a mutation that fails is printed
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.errors import SpecError
from nas.files import parse_yaml

ROOT = Path(__file__).parents[1]
FOLDERS = ("nas/genome/presets", "search_spaces", "ablations", "tests/fixtures")
PIECES = (
    *"\t\n\r\0\ufeff\u2028\x85\x1b 🙂{}[],:?-#&*!|>'\"%@`~<=",
    *("<<: ", "<<: *a\n", "&a ", "*a", "!!bool ", "!!python/name:os.system ", "! ", "? ", "---\n", "...\n"),
    *("%YAML 1.1\n", "%TAG ! a\n", "0x", "1e999", "-.inf", ".nan", "2020-01-01", "1:30", "0b11", "''"),
    *('"\\0"', '"\\ud800"', '"\\UFFFFFFFF"', '"\\x"', "9" * 5000, "0x" + "f" * 5000),
    *("[" * 100, "{a: " * 100, "- " * 100, "&a [*a]", "&a {<<: *a}", "a: &a [*a, *a]\n"),
    *("{[a]: b}", "? [a]\n: b\n", "1: a\n", "null: a\n"),
)


def shipped() -> list[str]:
    """The text of every YAML file of the repository."""
    return [path.read_text() for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.yaml"))]


def mutated(text: str, rng: random.Random) -> str:
    """The text after one to four cuts, swaps, copies and insertions."""
    for _ in range(rng.randint(1, 4)):
        start, end = sorted(rng.randint(0, len(text)) for _ in range(2))
        end = min(end, start + 40)
        part = text[start:end]
        place = rng.randint(0, len(text))
        text = rng.choice(
            (
                text[:start] + text[end:],
                text[:start] + part[::-1] + text[end:],
                text[:place] + part + text[place:],
                text[:place] + rng.choice(PIECES) + text[place:],
                text[:start] + rng.choice(PIECES) + text[end:],
                text[:place] + chr(rng.randrange(0x11_0000)) + text[place:],
            )
        )
    return text


def check(text: str) -> None:
    """Read a text; whatever is read is plain data."""
    with suppress(SpecError):
        assert plain(parse_yaml(text))


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(inner) for key, inner in value.items())
    return all(map(plain, value)) if isinstance(value, list) else type(value) in (str, int, float, bool, type(None))


def main(count: int, seed: int = 0) -> None:
    texts = shipped()
    for number in range(seed, seed + count):
        rng = random.Random(number)
        text = mutated(rng.choice(texts), rng)
        try:
            check(text)
        except BaseException:
            print(f"seed {number}: {text!r}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
