"""A model as data: schema, dotted-path edits, presets."""

from nas.genome.presets import list_presets, load_genome
from nas.genome.schema import Genome

__all__ = ["Genome", "list_presets", "load_genome"]
