"""Samplers choose assignments. One file each; new ones register in `SAMPLERS` (base.py)."""

from nas.search.samplers.base import SAMPLERS, Sampler, SamplerOptions, make_sampler, sampler_options

__all__ = ["SAMPLERS", "Sampler", "SamplerOptions", "make_sampler", "sampler_options"]
