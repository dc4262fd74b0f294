"""A trained model on its way out of the house."""

from nas.serve.export import export

__all__ = ["export"]
