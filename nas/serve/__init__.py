"""Export of trained models."""

from nas.serve.export import export

__all__ = ["export"]
