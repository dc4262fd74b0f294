"""Samplers: which assignment to try next. One file each; a new one joins `SAMPLERS` (base.py)."""

from nas.search.samplers.base import SAMPLERS, Sampler, SamplerOptions, make_sampler, sampler_options

__all__ = ["SAMPLERS", "Sampler", "SamplerOptions", "make_sampler", "sampler_options"]
