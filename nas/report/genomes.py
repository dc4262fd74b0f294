"""The cost of a genome by layer, for the terminal."""

from __future__ import annotations

from rich.table import Table

from nas.profiling import GenomeCost


def cost_table(total: GenomeCost) -> Table:
    """MACs and parameters of each layer, in full digits, with totals below."""
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("layer", footer="total")
    table.add_column("MACs", footer=f"{total.macs:,}", justify="right")
    table.add_column("params", footer=f"{total.params:,}", justify="right")
    for layer in total.layers:
        table.add_row(layer.name, f"{layer.macs:,}", f"{layer.params:,}")
    return table
