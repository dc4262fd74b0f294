"""Mutations of the YAML files that ship: each is a genome, space or ablation, or is refused with a short SpecError.

make fuzz        20,000 of them; the seed of a mutation that fails, or that takes more than 5 seconds, is printed
"""

from __future__ import annotations

import random
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.ablation.spec import parse_ablation
from nas.errors import SpecError
from nas.genome import Genome
from nas.plain_yaml import parse_yaml
from nas.search.space import SearchSpace
from nas.search.spec import SearchSpec

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


def shipped() -> list[tuple[str, str]]:
    """Folder and text of every YAML file of the repository."""
    return [(folder, path.read_text()) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.yaml"))]


VALUES = (
    *(
        "0",
        "-1",
        "1",
        "7",
        "2000000",
        "999999999999",
        "1e18",
        "-1.5",
        "true",
        "null",
        "a",
        "''",
        "[]",
        "{}",
        "[1, true]",
    ),
    *(
        "{0..99999999}",
        "{0..9}{0..9}{0..9}",
        "[1, 1000000000]",
        "[0.0, 1e-300]",
        "*",
        "softmax x 99999",
        "less",
        "{1: 2}",
    ),
)


def mutated(text: str, rng: random.Random) -> str:
    """The text with one to three words replaced, or after one to four cuts, swaps, copies and insertions."""
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 3)):
            word = rng.choice(list(re.finditer(r"[\w.]+", text)))
            text = text[: word.start()] + rng.choice(VALUES) + text[word.end() :]
        return text
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


def check(folder: str, text: str) -> None:
    """Read a text as what its folder contains, as far as the models, which are not built."""
    try:
        data = parse_yaml(text)
        assert plain(data)
        if folder == "search_spaces":
            spec = SearchSpec.parse(data)
            SearchSpace(spec.genome(), spec.expanded())
        elif folder == "ablations":
            ablation = parse_ablation(data)
            ablation.arms_of(ablation.genome())
        else:
            Genome.parse(data)
    except SpecError as error:
        if len(str(error)) > 2300:
            raise AssertionError(f"a message of {len(str(error)):,} characters") from None


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the code below it."""

    def bark(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(inner) for key, inner in value.items())
    return all(map(plain, value)) if isinstance(value, list) else type(value) in (str, int, float, bool, type(None))


def main(count: int, seed: int = 0) -> None:
    texts = shipped()
    for number in range(seed, seed + count):
        rng = random.Random(number)
        folder, text = rng.choice(texts)
        text = mutated(text, rng)
        try:
            with watchdog(5):
                check(folder, text)
        except BaseException:
            print(f"seed {number}, of {folder}: {text!r}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
