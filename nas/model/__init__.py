"""From a genome to a module: layer, pyramid, build, deploy."""

from nas.model.build import build
from nas.model.deploy import deploy
from nas.model.pyramid import Model, auxiliaries_on
from nas.timm.convert import from_timm

__all__ = ["Model", "auxiliaries_on", "build", "deploy", "from_timm"]
