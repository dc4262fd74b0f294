"""The presets in timm's registry."""

from __future__ import annotations

import timm

import nas


def test_every_preset_is_there_and_timms_own_stay_timms() -> None:
    assert set(nas.list_presets()) <= set(timm.list_models())
    assert timm.model_entrypoint("pvt_v2_b0").__module__.startswith("timm.")
    assert set(timm.list_models(module="registry")) == set(nas.list_presets()) - {"pvt_v2_b0"} | {"nas_vit"}
