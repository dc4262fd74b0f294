"""Terminal tables about genomes: the cost of one by layer, and the list of presets."""

from __future__ import annotations

from rich.table import Table

from nas.genome import list_presets, load_genome
from nas.genome.describe import describe
from nas.numbers import magnitude
from nas.profiling import GenomeCost, cost


def cost_table(total: GenomeCost) -> Table:
    """MACs and parameters of each layer, in full digits, with totals below."""
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("layer", footer="total")
    table.add_column("MACs", footer=f"{total.macs:,}", justify="right")
    table.add_column("params", footer=f"{total.params:,}", justify="right")
    for layer in total.layers:
        table.add_row(layer.name, f"{layer.macs:,}", f"{layer.params:,}")
    return table


def preset_table() -> Table:
    """The presets: image, cost, layers."""
    table = Table(box=None, pad_edge=False)
    table.add_column("preset", no_wrap=True)
    table.add_column("image", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("params", justify="right", no_wrap=True)
    table.add_column("layers by stage")
    for name in list_presets():
        genome, total = load_genome(name), cost(name)
        size = f"{genome.image.size}×{genome.image.size}×{genome.image.channels}"
        table.add_row(name, size, magnitude(total.macs), magnitude(total.params), describe(genome))
    return table
