"""The layout of a genome: every stage and layer listed, with grids, widths and score forms computed.

`build` makes modules from a layout and `cost` evaluates formulas over it, so both read a genome in the same way.
Constraints between fields are checked here, and violations are reported with their key path: strides against the image,
heads against the width, and each block against the layer before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nas.blocks import Block, BlockConfig, Site, registered
from nas.blocks.base import Slot
from nas.blocks.scores import ScoreForm
from nas.errors import GenomeError

if TYPE_CHECKING:
    from nas.genome.schema import Genome, Run, StageSpec


class LayerPlan(NamedTuple):
    """One transformer layer: `name` is its module path in the model."""

    name: str
    site: Site
    core: BlockConfig
    auxiliary: BlockConfig | None
    local: BlockConfig | None
    hidden: int  # MLP width
    drop_path: float


class StagePlan(NamedTuple):
    """One stage: a patch embedding (a convolution from `channels` to `width`), then its layers on `grid`.

    With an attention residual, `source` is the site after the last layer of the stage before, `source.incoming` the
    form of the scores that it passes on, and `residual` their form in this stage.
    """

    name: str
    channels: int
    width: int
    kernel: int
    stride: int
    grid: tuple[int, int]
    prefix: int
    attention_residual: str
    source: Site | None
    residual: ScoreForm | None
    mlp: str
    layers: tuple[LayerPlan, ...]

    @property
    def padding(self) -> int:
        return 0 if self.kernel == self.stride else self.kernel // 2

    @property
    def tokens(self) -> int:
        return self.prefix + self.grid[0] * self.grid[1]


Layout = tuple[StagePlan, ...]


def layout_of(genome: Genome) -> Layout:
    """The layout of a genome. Raises GenomeError with the key path of the first conflict."""
    plans: list[StagePlan] = []
    side, channels = genome.image.size, genome.image.channels
    rates = _drop_path_rates(genome)
    last: Site | None = None  # the site after the last layer of the stage before
    for index, stage in enumerate(genome.stages):
        path = f"stages.{index}"
        side = _side_after(stage, side, path)
        if stage.width % stage.heads:
            divisors = [h for h in range(1, min(stage.width, 64) + 1) if stage.width % h == 0]
            message = f"heads {stage.heads} do not divide width {stage.width}; heads that do: {divisors}"
            raise GenomeError(message, path=f"{path}.heads")
        if genome.rotary is not None and stage.width // stage.heads % 4:
            message = f"rotary positions need a head dimension that 4 divides, found {stage.width // stage.heads}"
            raise GenomeError(message, path=f"{path}.heads")
        last_one = index == len(genome.stages) - 1
        prefix = (genome.pool != "mean") + genome.registers if last_one else 0
        kernel = stage.kernel or stage.patch
        if genome.stem == "conv" and index == 0:
            _check_stem(stage)
        if genome.merging == "normed" and index and kernel > stage.patch:
            raise GenomeError("patches that are normed (merging) do not overlap", path=f"{path}.kernel")
        plan = StagePlan(
            name=path,
            channels=channels,
            width=stage.width,
            kernel=kernel,
            stride=stage.patch,
            grid=(side, side),
            prefix=prefix,
            attention_residual=stage.attention_residual,
            source=last if stage.attention_residual != "none" else None,
            residual=_residual_form(stage, last, side, path),
            mlp=stage.mlp,
            layers=(),
        )
        changed = "rotary" if genome.rotary is not None else "qk_norm" if genome.qk_norm else ""
        layers, last = _layers(stage, plan, rates, changed)
        plans.append(plan._replace(layers=layers))
        channels = stage.width
    return tuple(plans)


def _side_after(stage: StageSpec, side: int, path: str) -> int:
    if stage.kernel is not None and stage.kernel < stage.patch:
        raise GenomeError(
            f"kernel {stage.kernel} is smaller than patch {stage.patch}: pixels would be skipped", path=f"{path}.kernel"
        )
    if stage.kernel is not None and stage.kernel > stage.patch and stage.kernel % 2 == 0:
        raise GenomeError(f"an overlapping kernel is odd, found {stage.kernel}", path=f"{path}.kernel")
    if side % stage.patch:
        raise GenomeError(f"patch {stage.patch} does not divide the side {side} of its input", path=f"{path}.patch")
    return side // stage.patch


def _check_stem(stage: StageSpec) -> None:
    """The convolutions of `stem: conv` have stride 2 each, kernel 3, and widths that halve towards the image."""
    path = "stages.0"
    if stage.patch < 2 or stage.patch & (stage.patch - 1):
        message = f"stem: conv halves the image a few times: expected a patch of 2, 4, 8, 16, ..., found {stage.patch}"
        raise GenomeError(message, path=f"{path}.patch")
    if stage.width < stage.patch // 2:
        message = f"stem: conv doubles its widths up to the stage's: expected at least {stage.patch // 2} for "
        raise GenomeError(f"{message}patch {stage.patch}, found {stage.width}", path=f"{path}.width")
    if stage.kernel not in (None, 3, stage.patch):
        message = f"stem: conv has kernels of 3: remove `kernel`, found {stage.kernel}"
        raise GenomeError(message, path=f"{path}.kernel")


def _drop_path_rates(genome: Genome) -> list[float]:
    depth = sum(run.repeat for stage in genome.stages for _, run in stage.runs())
    return [genome.drop_path * i / max(1, depth - 1) for i in reversed(range(depth))]  # popped from the end


def _residual_form(stage: StageSpec, last: Site | None, side: int, path: str) -> ScoreForm | None:
    """The form of the attention residual: heads × features if it stays factored."""
    if stage.attention_residual == "none":
        return None
    path = f"{path}.attention_residual"
    if last is None or last.incoming is None or last.incoming.kind == "weights":
        raise GenomeError("it needs pre-softmax scores, and the stage before passes none on", path=path)
    if stage.attention_residual == "flat":
        if side == last.heads == 1:
            raise GenomeError("flat normalises scores, and of one token and one head there is a single one", path=path)
        return ScoreForm("dense")
    if last.incoming.kind == "dense":
        message = "separable needs factored scores (less with path: factored); the stage before passes on a matrix"
        raise GenomeError(message, path=path)
    return ScoreForm("factored", last.heads * last.incoming.features)


def _layers(stage: StageSpec, plan: StagePlan, rates: list[float], changed: str) -> tuple[tuple[LayerPlan, ...], Site]:
    """The layers, and the site after the last of them, whose `incoming` is the form of the scores passed on.

    changed: the genome's key that changes queries and keys on their way to the core, if one does.
    """
    layers: list[LayerPlan] = []
    site = Site(plan.grid, plan.width, stage.heads, plan.prefix, residual=plan.residual)
    hidden = int(plan.width * stage.mlp_ratio)
    if hidden == 0:
        message = f"the MLP would have no channels: {stage.mlp_ratio} of width {plan.width} is less than one"
        raise GenomeError(message, path=f"{plan.name}.mlp_ratio")
    for key, run in stage.runs():
        for _ in range(run.repeat):
            _check(f"{plan.name}.{key}", run, site, first=not layers, changed=changed)
            name = f"{plan.name}.layers.{len(layers)}"
            layers.append(LayerPlan(name, site, run.core, run.auxiliary, run.local, hidden, rates.pop()))
            made = registered("core")[run.core.block].outgoing(run.core, site)
            site = site._replace(incoming=made or site.incoming, residual=None)
    return tuple(layers), site


def _check(path: str, run: Run, site: Site, first: bool, changed: str) -> None:
    """path: of the run or, if the stage has no `layers`, of its `core` or `tail`."""
    short = ".layers." not in path
    core_path, other = (path, path.rpartition(".")[0]) if short else (f"{path}.core", path)
    core = registered("core")[run.core.block]
    if core.needs == "mixed" and first:
        raise GenomeError(f"{run.core.block} reuses the output of the layer before, and there is none", path=core_path)
    if site.residual is not None and not core.takes_residual:
        message = f"the attention residual is added to softmax scores, and the first layer is {run.core.block}"
        raise GenomeError(message, path=core_path)
    if core.needs == "scores" and site.incoming is None:
        raise GenomeError(
            f"{run.core.block} reuses the attention scores of a layer before it in the same stage, and there is none; "
            "begin the stage with softmax (split of at least 1)",
            path=core_path,
        )
    projects = core.projects(run.core, site)
    if changed and ("q" in projects) != ("k" in projects):
        raise GenomeError(f"{run.core.block} makes its keys itself, which {changed} does not reach", path=core_path)
    slots: tuple[tuple[Slot, BlockConfig | None, str], ...] = (
        ("auxiliary", run.auxiliary, "qkv"),
        ("local", run.local, "v"),
    )
    for slot, spec, needed in slots:
        if spec is not None:
            if not set(needed) <= set(projects):
                message = f"{spec.block} needs {', '.join(needed)}, and {run.core.block} projects {projects or 'none'}"
                raise GenomeError(message, path=f"{other}.{slot}")
            _checked(registered(slot)[spec.block], spec, site, f"{other}.{slot}")
    _checked(core, run.core, site, core_path)


def _checked(block: type[Block], spec: BlockConfig, site: Site, path: str) -> None:
    try:
        block.check(spec, site)
    except GenomeError as error:
        raise error.within(path=path) from None
