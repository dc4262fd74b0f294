"""The library and the scores of a conversion, on the workers: what is on the shelf is not made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pandas as pd

from nas.convert.candidates import Assembly, Place, key_of, replaced
from nas.convert.pieces import check_form
from nas.convert.plan import Parts
from nas.convert.score import Score
from nas.convert.shelf import Shelf
from nas.convert.workers import Content, Crew, States, run_round, run_scores
from nas.model import Donor

CHUNK = 16  # assemblies that a task scores


@dataclass(frozen=True)
class Measuring:
    """rounds: of the library. say: tells the user what is being done."""

    parts: Parts
    shelf: Shelf
    crew: Crew
    rounds: int
    say: Callable[[str], None]

    def library(self) -> dict[Place, Content]:
        """Train all pieces to the end; returns what they hold."""
        places = self.parts.replacements()
        check = partial(check_form, parts=self.parts, rounds=self.rounds)
        contents = {place: self.shelf.piece(place, check) for place in places}
        for finished in range(self.rounds):
            left = [place for place in places if _rounds(contents[place]) == finished]
            if not left:
                continue
            self.say(f"library: round {finished + 1} of {self.rounds}, {len(left)} candidates")
            groups = _shares(left, self.crew.pool.places)

            def keep(number: int, answer: list[Content], groups: list[list[Place]] = groups) -> None:
                for place, content in zip(groups[number], answer, strict=True):
                    self.shelf.keep_piece(place, content)
                    contents[place] = content

            tasks = [(group, [contents[place] for place in group]) for group in groups]
            self.crew.each("training pieces of the library", run_round, tasks, keep)
        return {place: content for place, content in contents.items() if content is not None}

    def singles(self, states: States) -> dict[Place, Score]:
        """The score of each candidate alone in its layer."""
        places = self.parts.replacements()
        assemblies: list[Assembly] = [{layer: name} for layer, name in places]
        if any(key_of(assembly) not in self.shelf.scores for assembly in assemblies):
            self._outdate("sensitivity.csv")
        scores = self.scored(states, assemblies)
        return dict(zip(places, scores, strict=True))

    def scored(self, states: States, assemblies: Sequence[Assembly], base: Donor | None = None) -> list[Score]:
        """The scores of assemblies, in the order given. base: what the pieces are put into; None: the parent."""
        left = [assembly for assembly in assemblies if key_of(assembly) not in self.shelf.scores]
        if left:
            self.say(f"comparing {len(left)} models with the parent")
            self._outdate("assemblies.csv")
        chunks = [left[start : start + CHUNK] for start in range(0, len(left), CHUNK)]
        tasks = [(chunk, {piece: states[piece] for each in chunk for piece in _pieces(each)}, base) for chunk in chunks]

        def keep(number: int, scores: list[Score]) -> None:
            self.shelf.keep_scores(chunks[number], scores)

        self.crew.each("comparing models with the parent", run_scores, tasks, keep)
        return [self.shelf.scores[key_of(assembly)] for assembly in assemblies]

    def _outdate(self, table: str) -> None:
        """Remove a table of earlier scores, which is written anew once those of now are known."""
        (self.shelf.directory / table).unlink(missing_ok=True)

    def sensitivity(self, library: Mapping[Place, Content], single: Mapping[Place, Score]) -> pd.DataFrame:
        """A row per layer and candidate: what it does alone, and what it saves."""
        own = self.parts.own
        rows = []
        for place, score in single.items():
            row: dict[str, Any] = dict(zip(("layer", "candidate"), place, strict=True))
            row |= {"local_error": library[place]["errors"][-1]} | asdict(score)
            row |= {_delta(metric): self.parts.alone[place][metric] - own[metric] for metric in own}
            rows.append(row)
        return pd.DataFrame(rows)


def _delta(metric: str) -> str:
    return "delta_ms" if metric == "latency" else f"delta_{metric}"


def _rounds(content: Content | None) -> int:
    return content["rounds"] if content is not None else 0


def _pieces(assembly: Assembly) -> list[str]:
    return ["-".join(place) for place in replaced(assembly)]


def _shares(places: list[Place], slots: int) -> list[list[Place]]:
    """As many shares as slots: a task passes the images through the parent once for all of its pieces."""
    size = -(-len(places) // slots)
    return [places[start : start + size] for start in range(0, len(places), size)]
