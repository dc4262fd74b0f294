"""Search spaces and ablations by name: files of the user's, and those that come with the package.

A source that ends in .yaml is a path. Any other is a name, looked up in ./search_spaces (./ablations), then among the
package's own: beside `nas/` in a checkout, where they are edited, and inside of it in a wheel (pyproject.toml).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.errors import SpaceError, nearest, shown

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Shelf:
    """The YAML files of one kind.

    >>> SPACES.find("lavit_split").name
    'lavit_split.yaml'
    """

    kind: str
    folder: str

    @property
    def own(self) -> Path:
        """The folder that comes with the package."""
        inside = PACKAGE / self.folder
        return inside if inside.is_dir() else PACKAGE.parent / self.folder

    @property
    def files(self) -> dict[str, Path]:
        """Every file by its name, sorted; the user's before the package's."""
        found = {path.stem: path for folder in (self.own, Path(self.folder)) for path in folder.glob("*.yaml")}
        return dict(sorted(found.items()))

    def find(self, source: str | Path) -> Path:
        """The file of a name, or the path itself. Raises SpaceError for an unknown name."""
        if Path(source).suffix in (".yaml", ".yml"):
            return Path(source)
        files = self.files
        if str(source) not in files:
            message = f"no {self.kind} called {shown(str(source))} in {self.folder}/; {nearest(source, files)}"
            raise SpaceError(message)
        return files[str(source)]


SPACES = Shelf("space", "search_spaces")
ABLATIONS = Shelf("ablation", "ablations")
