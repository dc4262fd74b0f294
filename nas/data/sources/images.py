"""`images:PATH`: images without labels. A folder is searched to any depth, and the names of folders mean nothing.

    PATH/**/*.jpg

A conversion takes them: the model that it converts stands in for the labels (nas/data/labels.py). Whatever has to learn
classes from its images refuses them. Hidden files and folders are passed over.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.data.encoded import ImageFiles
from nas.data.folders import EXTENSIONS, read_tree
from nas.data.pictures import UNKNOWN
from nas.data.registry import Raw, source
from nas.errors import DataError


@source("images:PATH")
def read(path: Path) -> Raw:
    tree = read_tree(path).checked()
    files = tree.root.below()
    if not files:
        raise DataError(f"{path}: no images in this folder or below; looked for {', '.join(EXTENSIONS)}")
    pictures = ImageFiles(files, np.full(len(files), UNKNOWN, dtype=np.int64))
    return Raw(f"images:{path}", (), pictures, notes=tuple(tree.skipped()))
