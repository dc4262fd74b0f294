"""The torch module of a genome: layer, pyramid, build, deploy."""

from nas.model.build import build
from nas.model.deploy import deploy
from nas.model.donor import Donor
from nas.model.inherit import inherit
from nas.model.pyramid import Model, auxiliaries_on

__all__ = ["Donor", "Model", "auxiliaries_on", "build", "deploy", "inherit"]
