"""Samplers choose the next assignment. One file each; a new one is added to `SAMPLERS` (base.py)."""

from nas.search.samplers.base import SAMPLERS, Sampler, SamplerOptions, make_sampler, sampler_options

__all__ = ["SAMPLERS", "Sampler", "SamplerOptions", "make_sampler", "sampler_options"]
