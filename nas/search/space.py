"""The search space: a set of genomes, represented as assignments of values to parameters.

An assignment maps the paths of its active parameters to their values; `genome` applies it to the base as dotted-path
edits. Random draws, quasi-random points, samplers and exhaustive enumeration all use `assign`, which visits parameters
in topological order: after those that their conditions refer to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from random import Random

from nas.errors import GenomeError, SpaceError, nearest, shown
from nas.genome import Genome
from nas.model.inheritable import check_inheritable
from nas.paths import found
from nas.profiling.target import TargetTable
from nas.search.parameter import Parameter, Value

Assignment = dict[str, Value]


class SearchSpace:
    """A base genome and the parameters searched around it. donor: genome of the weights that every genome starts from.

    Raises SpaceError if a parameter's path is not in the genome, if a value is valid in no genome, or if a condition
    can never hold.

    >>> space = SearchSpace(load_genome("lavit_digits"), expand("stages.{0,1}.split", ParameterSpec(int=(0, 3))))
    >>> space.genome(space.draw(Random(0)))
    """

    def __init__(self, base: Genome, parameters: list[Parameter], donor: Genome | None = None):
        self.base, self.donor = base, donor
        self.target: TargetTable | None = None
        self.parameters = _ordered(parameters)
        for parameter in self.parameters:
            self._check(parameter)

    def timed_by(self, target: TargetTable | None) -> SearchSpace:
        """The space of the genomes whose parts are all in a table of another device; None: the same space."""
        timed = copy(self)
        timed.target = target
        return timed

    def assign(self, choose: Callable[[Parameter], Value]) -> Assignment:
        """An assignment whose values are picked by `choose`, for its active parameters."""
        chosen: Assignment = {}
        for parameter in self.parameters:
            if parameter.active(chosen):
                chosen[parameter.path] = choose(parameter)
        return chosen

    def draw(self, rng: Random) -> Assignment:
        """A random assignment; every parameter consumes one number of `rng`, active or not."""
        numbers = {parameter.path: rng.random() for parameter in self.parameters}
        return self.assign(lambda parameter: parameter.at(numbers[parameter.path]))

    def sample(self, rng: Random) -> Genome | None:
        """A random genome; None if the values drawn are valid one by one but not in combination."""
        try:
            return self.genome(self.draw(rng))
        except GenomeError:
            return None

    def every(self) -> Iterator[Assignment]:
        """All assignments, in lexicographic order. The space must be `finite`."""
        return self._walk(0, {})

    def _walk(self, index: int, chosen: Assignment) -> Iterator[Assignment]:
        if index == len(self.parameters):
            yield dict(chosen)
            return
        parameter = self.parameters[index]
        if not parameter.active(chosen):
            yield from self._walk(index + 1, chosen)
            return
        for value in parameter.values or ():
            yield from self._walk(index + 1, chosen | {parameter.path: value})

    @property
    def finite(self) -> bool:
        return all(parameter.values is not None for parameter in self.parameters)

    def genome(self, assignment: Assignment) -> Genome:
        """Raises GenomeError if the values are not valid in combination, the donor's weights do not fit, or a table of
        another device lacks a part."""
        genome = self.base.edit(assignment)
        if self.donor is not None:
            check_inheritable(genome, self.donor)
        if self.target is not None:
            self.target.check(genome)
        return genome

    def of_base(self) -> Assignment | None:
        """The assignment that gives the base genome, or None if the base is outside the space."""
        chosen: Assignment = {}
        for parameter in self.parameters:
            if parameter.active(chosen):
                values = [value for value in self._of_base(parameter) if parameter.holds(value)]
                if not values:
                    return None
                chosen[parameter.path] = values[0]
        return chosen if self.genome(chosen).hash == self.base.hash else None

    def _of_base(self, parameter: Parameter) -> Iterator[Value]:
        """Values that do not change the base. That of a continuous parameter is read from the base."""
        if parameter.values is None:
            values = found(self.base.model_dump(mode="json"), parameter.path)
            yield from values[:1] if all(value == values[0] for value in values) else ()
        for value in parameter.values or ():
            try:
                if self.genome({parameter.path: value}).hash == self.base.hash:
                    yield value
            except GenomeError:
                continue

    def _check(self, parameter: Parameter) -> None:
        """Every value must be valid in some genome: it is tried on its own, then with random values of the others."""
        refused: GenomeError | None = None
        for value in parameter.values if parameter.values is not None else (parameter.low, parameter.high):
            refused = self._refusal(parameter, value)
            if refused is not None:
                where = "" if refused.path == parameter.path else f" (at {refused.path})"
                message = f"no genome can have the value {shown(value)}: {refused.message}{where}"
                raise SpaceError(message, path=f"parameters.{parameter.path}")

    def _refusal(self, parameter: Parameter, value: Value) -> GenomeError | None:
        alone = self._enabling(parameter) | {parameter.path: value}
        first: GenomeError | None = None
        rng = Random(0)
        for attempt in range(100):
            drawn = {p.path: p.at(rng.random()) for p in self.parameters} | alone if attempt else alone
            assignment = self.assign(lambda p, drawn=drawn: drawn[p.path]) if attempt else alone  # type: ignore[misc]
            try:
                self.genome(assignment)
                return None
            except GenomeError as error:
                first = first or error
        return first

    def _enabling(self, parameter: Parameter) -> Assignment:
        """Values of other parameters that make this one active."""
        needed: Assignment = {}
        by_path = {p.path: p for p in self.parameters}
        for path, allowed in parameter.conditions:
            needed |= self._enabling(by_path[path]) | {path: allowed[0]}
        return needed


def _ordered(parameters: list[Parameter]) -> tuple[Parameter, ...]:
    """Parameters after those that their conditions refer to, otherwise in the order given."""
    by_path: dict[str, Parameter] = {}
    for parameter in parameters:
        if parameter.path in by_path:
            raise SpaceError("this path is given twice", path=f"parameters.{parameter.path}")
        by_path[parameter.path] = parameter
    ordered: dict[str, Parameter] = {}

    def visit(parameter: Parameter, waiting: tuple[str, ...]) -> None:
        where = f"parameters.{parameter.path}.when"
        for path, allowed in parameter.conditions:
            if path not in by_path:
                raise SpaceError(f"no parameter {shown(path)}; {nearest(path, by_path)}", path=where)
            if path in waiting:
                raise SpaceError(f"the condition on {shown(path)} goes round in a circle", path=where)
            wrong = [value for value in allowed if not by_path[path].holds(value)]
            if wrong:
                raise SpaceError(f"{path} is never {shown(wrong[0])}", path=where)
            visit(by_path[path], (*waiting, parameter.path))
        ordered[parameter.path] = parameter

    for parameter in parameters:
        visit(parameter, ())
    return tuple(ordered.values())
