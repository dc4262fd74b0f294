"""Something for another process of which classes of plug-ins may be part: a genome with a block from a file.

To unpickle it takes those classes, so the plug-ins travel beside it and are installed first.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from nas.plugins import Plugin, install, shipment

T = TypeVar("T")


@dataclass(frozen=True)
class Parcel(Generic[T]):
    """Made in the driver; a worker opens it.

    >>> Parcel.of(donor).open().genome == donor.genome
    True
    """

    plugins: list[Plugin]
    blob: bytes

    @classmethod
    def of(cls, content: T) -> Parcel[T]:
        """Raises SpecError if a plug-in is defined in a script or a notebook."""
        from ray import cloudpickle

        return cls(shipment(), cloudpickle.dumps(content))

    def open(self) -> T:
        """Raises RunError, naming the machine, if a plug-in cannot be used here."""
        install(self.plugins)
        return cast(T, pickle.loads(self.blob))
