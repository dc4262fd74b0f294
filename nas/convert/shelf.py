"""The files of a conversion beside those of any run: the library's pieces, and the scores of assemblies.

    results/<run>/library/stages.0.layers.1-linear.pt      a piece: attention, optimiser, rounds, errors
    results/<run>/scores.csv                               a row per assembly that was compared with the parent
    results/<run>/shared.csv                               the same after a shared training (nas/convert/sharing.py)
    results/<run>/sensitivity.csv                          a row per layer and candidate: what replacing it alone does

Files are written whole. A damaged piece is thrown away and trained again; scores of a damaged file are taken anew. A
piece says which model it was trained beside and in which run, and one of another is trained again; it has a digest of
all that it holds (nas/convert/pieces.py). A row of scores has a digest of its values and of model and run, and is taken
anew where it is another. With a storage, each file is uploaded when it is written, and pieces that are missing here are
fetched from there first.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
import torch

from nas.archive import read_archive
from nas.convert.candidates import Assembly, Place, key_of
from nas.convert.pieces import seal_of
from nas.convert.score import Score
from nas.convert.workers import Content
from nas.engine.reading import AGAIN
from nas.engine.storage import Seen, Storage
from nas.errors import RunError
from nas.files import SEAL, regular, write_atomically, write_dataframe

log = logging.getLogger(__name__)
FIELDS = [field.name for field in fields(Score)]
LIBRARY = "library"
SCORES, SHARED = "scores.csv", "shared.csv"


def packed(content: Content) -> bytes:
    """A piece's content as a file, which holds no code."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def unpacked(blob: bytes) -> Content:
    """The content of `packed`. Damage raises errors of many kinds."""
    content: Content = read_archive(blob)
    content["rounds"]
    return content


def _bytes_of(file: Path) -> bytes:
    try:
        return regular(file).read_bytes()
    except OSError as error:
        raise RunError(f"not readable ({error.strerror}): mend that, or {AGAIN}", file=file) from None


class Shelf:
    """Pieces and scores of the conversion in a run directory, of which this process is the driver.

    whose: digest of the model that is converted, and the id of the run: the same layer may be trained otherwise in
    another one. table: of the scores.
    """

    def __init__(self, directory: Path, whose: str, storage: Storage | None = None, table: str = SCORES):
        self.directory, self.whose, self.storage, self.table = directory, whose, storage, table
        library = directory / LIBRARY
        for temporary in library.glob(".*.tmp"):  # left by a kill during a write
            temporary.unlink()
        self.uploaded: dict[str, Seen] = {"": {}, LIBRARY: {}}
        if storage is not None:
            own = {path.name for path in library.glob("*.pt")}
            there = storage.pull(LIBRARY, library, without=own)
            self.uploaded[LIBRARY] = {name: stamp for name, stamp in there.items() if name not in own}
            self._upload(LIBRARY)  # of a run that had no storage, or whose last upload failed
        self.scores: dict[str, Score] = self._read_scores()

    def piece(self, place: Place, check: Callable[[Content, Place], object]) -> Content | None:
        """The content of a piece; None if there is no file of it that is as it was written.

        check: raises an error of any kind if the content of a file without a digest cannot be that of the place.
        """
        file = self._file(place)
        if not file.exists():
            return None
        blob = _bytes_of(file)
        try:
            content = unpacked(blob)
            seal = content.pop(SEAL, None)  # earlier versions have none
            if seal is not None and seal != seal_of(content):
                raise ValueError("a value has changed since it was written")
            whose = content.pop("parent", self.whose), content.pop("place", file.stem)  # those of 0.1 do not say
            own = whose == (self.whose, file.stem)
            if own and seal is None:
                check(content, place)
        except MemoryError:
            raise
        except Exception as error:  # damage shows in many ways
            log.warning("%s is damaged (%s): the piece is trained again", file, error)
            return None
        if not own:
            log.warning("%s belongs to another model, run or layer: the piece is trained again", file)
            return None
        return content

    def keep_piece(self, place: Place, content: Content) -> None:
        file = self._file(place)
        kept = content | {"parent": self.whose, "place": file.stem}
        kept |= {SEAL: seal_of(kept)}
        write_atomically(file, lambda path: path.write_bytes(packed(kept)))
        self._upload(LIBRARY)

    def _file(self, place: Place) -> Path:
        return self.directory / LIBRARY / f"{'-'.join(place)}.pt"

    def keep_scores(self, assemblies: Sequence[Assembly], scores: Sequence[Score]) -> None:
        self.scores |= {key_of(assembly): score for assembly, score in zip(assemblies, scores, strict=True)}
        rows = [{"assembly": key} | asdict(s) | {SEAL: self._seal(key, s)} for key, s in self.scores.items()]
        write_dataframe(self.directory / self.table, pd.DataFrame(rows))
        self._upload("")

    def _upload(self, folder: str) -> None:
        """Copy what is new in the run directory or in a folder of it to the storage, if there is one."""
        if self.storage is not None:
            self.storage.push(self.directory / folder, folder, self.uploaded[folder])

    def _read_scores(self) -> dict[str, Score]:
        file = self.directory / self.table
        if not file.exists():
            return {}
        blob = _bytes_of(file)
        try:
            rows = pd.read_csv(io.BytesIO(blob), dtype=str).to_dict("records")  # Python reads floats exactly
            scores = {str(row["assembly"]): Score(*(float(row[name]) for name in FIELDS)) for row in rows}
            seals = {str(row["assembly"]): row.get(SEAL) for row in rows}  # earlier versions have none
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s is damaged (%s): assemblies are scored again", file, error)
            return {}
        finite = {key: score for key, score in scores.items() if math.isfinite(score.kl)}  # others are taken anew
        own = {key: score for key, score in finite.items() if seals[key] == self._seal(key, score)}
        if len(own) < len(finite):
            count = len(finite) - len(own)
            what = "rows that have changed, or are of another model or run"
            log.warning("%s: %s: %d; these are scored again", file, what, count)
        return own

    def _seal(self, assembly: str, score: Score) -> str:
        """12 hex digits that show whether a row has changed, and whether it is of the model that is converted."""
        return hashlib.sha256(repr((self.whose, assembly, *asdict(score).values())).encode()).hexdigest()[:12]
