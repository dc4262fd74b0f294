"""A model that starts from another's weights: what is taken, what is new, and how little the answer changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from timm.layers import resample_abs_pos_embed

from nas.blocks import registered
from nas.errors import GenomeError
from nas.genome import Genome, list_presets, load_genome
from nas.model import Donor, Model, build, deploy, inherit
from nas.model.closed_form import solve_projections


def stream(model: Model, layer: str = "stages.0.layers.1") -> torch.Tensor:
    """The residual stream after a layer's attention, for new images."""
    seen: list[torch.Tensor] = []
    hook = model.get_submodule(layer).norm2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.eval()(images(model.genome))
    hook.remove()
    return seen[0]


SMALL = [name for name in list_presets() if load_genome(name).image.size <= 32]
CORES = sorted(set(registered("core")) - {"less", "skip_attention", "pooling"})


def trained(genome: Genome | str, seed: int = 0) -> Model:
    """A model whose every tensor has a visible scale, as after a training."""
    torch.manual_seed(seed)
    model = build(genome).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
        elif "psi" not in name and "theta" not in name:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def images(genome: Genome, count: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, genome.image.channels, genome.image.size, genome.image.size, generator=generator)


def moved(parent: Model, child: Model) -> float:
    """How far the logits of the child are from the parent's, relative to their spread."""
    x_BCHW = images(parent.genome)
    with torch.no_grad():
        expected_BK, found_BK = parent(x_BCHW), child.eval()(x_BCHW)
    return ((found_BK - expected_BK).norm() / (expected_BK - expected_BK.mean(0)).norm()).item()


@pytest.mark.parametrize("name", SMALL)
def test_an_equal_genome_gives_bit_equal_logits(name: str) -> None:
    parent = trained(name)
    found = inherit(parent.genome, Donor.of(parent), images(parent.genome))
    x_BCHW = images(parent.genome)
    assert torch.equal(found.model.eval()(x_BCHW), parent(x_BCHW))
    assert set(found.inherited) == set(parent.state_dict())
    assert found.solved == found.fresh == ()


@pytest.mark.parametrize("core", CORES)
def test_the_closed_form_never_leads_away_from_the_parent(core: str) -> None:
    parent = trained("mixed_micro_32")
    options = {"window": {"size": 4}, "spatial_reduction": {"ratio": 2}, "softmax": {"relative": True}}
    genome = parent.genome.edit({"stages.0.layers.1.core": {"block": core, **options.get(core, {})}})
    donor = Donor.of(parent)
    plain = inherit(genome, donor)
    solved = inherit(genome, donor, images(parent.genome, 64))
    layer = "stages.0.layers.1.attention.proj."
    if core == "softmax":  # its relative bias starts at zero: there is nothing to mend
        assert moved(parent, plain.model) < 1e-5
    expected_BNC, plain_BNC, solved_BNC = (stream(model) for model in (parent, plain.model, solved.model))
    assert (solved_BNC - expected_BNC).norm() <= (plain_BNC - expected_BNC).norm() + 1e-4
    assert solved.solved == (f"{layer}weight", f"{layer}bias")
    others = set(parent.state_dict()) - set(solved.solved)
    for tensor in others & set(solved.inherited):
        if "attention.qkv" not in tensor:
            assert torch.equal(solved.model.state_dict()[tensor], parent.state_dict()[tensor]), tensor


def test_the_closed_form_finds_the_projection_that_gives_the_same_answer() -> None:
    """Values that are mixed by an invertible map: a projection that undoes it exists, and it is found."""
    parent = trained("mixed_micro_32")
    changed = Donor.of(parent).model()
    torch.manual_seed(3)
    attention = changed.get_submodule("stages.0.layers.1.attention")
    turn_CC = torch.eye(64) + 0.1 * torch.randn(64, 64)
    attention.qkv.weight.data[128:] = turn_CC @ attention.qkv.weight.data[128:]
    attention.qkv.bias.data[128:] = turn_CC @ attention.qkv.bias.data[128:]
    before = moved(parent, changed)
    solve_projections(changed, parent, ["stages.0.layers.1"], images(parent.genome, 64))
    assert moved(parent, changed) < before / 10


@pytest.mark.parametrize("transform", ["dense", "low_rank", "conv", "identity"])
def test_less_attention_starts_as_plain_reuse(transform: str) -> None:
    parent = trained("mixed_micro_32")
    core = {"block": "less", "transform": transform, "rank": 4}
    found = inherit(parent.genome.edit({"stages.1.layers.2.core": core}), Donor.of(parent))
    seen: list[torch.Tensor] = []
    layer = found.model.get_submodule("stages.1.layers.2")
    layer.attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    _, trace = found.model.eval()(images(parent.genome), trace=True)
    weights_BHNN = trace.scores["stages.1.layers.1"].weights()
    qkv = parent.get_submodule("stages.1.layers.2.attention.qkv")
    proj = parent.get_submodule("stages.1.layers.2.attention.proj")
    v_BHND = (seen[0] @ qkv.weight[256:].T + qkv.bias[256:]).unflatten(2, (4, 32)).transpose(1, 2)
    reused_BNC = proj((weights_BHNN @ v_BHND).transpose(1, 2).flatten(2))
    answered_BNC = layer.attention(seen[0], _carry(trace.scores["stages.1.layers.1"]))[0]
    torch.testing.assert_close(answered_BNC, reused_BNC, atol=1e-5, rtol=1e-4)
    maps = [f"stages.1.layers.2.attention.core.{side}." for side in ("psi", "theta")]
    assert all(name.startswith(tuple(maps)) for name in found.fresh)


def test_rows_come_from_whichever_part_holds_them() -> None:
    parent = trained("pvt_micro_32")
    full = inherit(parent.genome.edit({"stages.1.core": "softmax"}), Donor.of(parent))
    assert set(full.fresh) == set()
    qkv = full.model.get_submodule("stages.1.layers.0.attention.qkv").weight
    kv = parent.get_submodule("stages.1.layers.0.attention.core.kv").weight
    assert torch.equal(qkv[64:], kv)
    back = inherit(parent.genome, Donor.of(full.model)).model
    assert torch.equal(back.get_submodule("stages.1.layers.0.attention.core.kv").weight, kv)


def test_skip_attention_starts_close_to_passing_on_the_answer_before() -> None:
    parent = trained("mixed_micro_32")
    found = inherit(parent.genome.edit({"stages.0.layers.1.core": "skip_attention"}), Donor.of(parent))
    core = found.model.get_submodule("stages.0.layers.1.attention.core").eval()
    z_BNC = torch.randn(2, 64, 64)
    answered_BNC = core(_inputs(z_BNC))[0].flatten(2)
    assert (answered_BNC - z_BNC).norm() / z_BNC.norm() < 0.05


@pytest.mark.parametrize(
    "edit",
    [
        {"stages.0.layers.1.local": {"block": "depthwise", "dimensions": 2}},
        {"stages.1.layers.0.local": "depthwise"},
        {"stages.*.mlp": "depthwise"},
        {"layer_scale": 1e-5},
        {"stages.0.layers": "softmax x 4"},
        {"stages.1.attention_residual": "separable"},
    ],
)
def test_what_is_new_disturbs_nothing_at_first(edit: dict[str, object]) -> None:
    parent = trained("mixed_micro_32")
    assert moved(parent, inherit(parent.genome.edit(edit), Donor.of(parent)).model) < 1e-5


def test_scales_that_the_genome_does_not_have_are_folded_into_projections() -> None:
    parent = trained(load_genome("mixed_micro_32").edit({"layer_scale": 0.5}))
    assert moved(parent, inherit(parent.genome.edit({"layer_scale": None}), Donor.of(parent)).model) < 1e-5


def test_positions_are_interpolated_as_timm_does_and_prefix_rows_stay() -> None:
    parent = trained("deit_micro_32")
    found = inherit(parent.genome.edit({"image.size": 48}), Donor.of(parent))
    before, after = (model.state_dict()["stages.0.position"] for model in (parent, found.model))
    torch.testing.assert_close(after, resample_abs_pos_embed(before, [12, 12], [8, 8], 1))
    assert torch.equal(after[:, 0], before[:, 0])
    mean = inherit(parent.genome.edit({"pool": "mean"}), Donor.of(parent)).model
    assert torch.equal(mean.state_dict()["stages.0.position"], before[:, 1:])


def test_rows_of_prefix_tokens_join_the_tokens_where_the_genome_has_no_such_rows() -> None:
    parent = trained(load_genome("deit_micro_32").edit({"registers": 2}))
    child = inherit(parent.genome.edit({"position": "grid"}), Donor.of(parent)).model
    assert moved(parent, child) < 1e-5
    back = inherit(parent.genome, Donor.of(child)).model
    assert moved(parent, back) < 1e-5
    assert not back.state_dict()["stages.0.position"][:, :3].any()


def test_the_last_norm_is_the_same_one_in_either_place() -> None:
    parent = trained(load_genome("deit_micro_32").edit({"last_norm": "pooled"}))
    found = inherit(parent.genome.edit({"last_norm": "tokens"}), Donor.of(parent))
    assert not found.fresh
    assert torch.equal(found.model.norm.weight, parent.head_norm.weight)
    assert moved(parent, found.model) < 1e-5, "a class token is one token: norm and pooling change places"


def test_a_gated_mlp_is_not_inherited_by_a_plain_one() -> None:
    parent = trained(load_genome("deit_micro_32").edit({"stages.0.mlp": "swiglu"}))
    with pytest.raises(GenomeError, match=r"stages\.0\.mlp: plain here and swiglu in the model"):
        inherit(load_genome("deit_micro_32"), Donor.of(parent))


def test_another_number_of_classes_gets_a_fresh_head() -> None:
    parent = trained("mixed_micro_32")
    found = inherit(parent.genome.edit({"classes": 7}), Donor.of(parent))
    assert found.fresh == ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("name", "edit", "path"),
    [
        ("mixed_micro_32", {"stages.1.width": 64}, "stages.1.width"),
        ("mixed_micro_32", {"stages.0.heads": 4}, "stages.0.heads"),
        ("mixed_micro_32", {"stages.0.mlp_ratio": 4}, "stages.0.mlp_ratio"),
        ("mixed_micro_32", {"stages.0.patch": 2}, "stages.0.patch"),
        ("mixed_micro_32", {"stages.1.kernel": 3}, "stages.1.kernel"),
        ("mixed_micro_32", {"image.channels": 1}, "image.channels"),
        ("mixed_micro_32", {"stem": "conv"}, "stem"),
        ("lavit_micro_32", {"image.size": 64}, "stages.0.layers.2.core"),
        ("lavit_micro_32", {"pool": "token"}, "stages.1.layers.2.core"),
    ],
)
def test_a_genome_that_the_weights_do_not_fit_is_refused_by_key(name: str, edit: dict[str, object], path: str) -> None:
    parent = trained(name)
    with pytest.raises(GenomeError) as caught:
        inherit(parent.genome.edit(edit), Donor.of(parent))
    assert caught.value.path == path


@pytest.mark.parametrize("core", ["softmax", "linear_angular"])
def test_a_class_token_that_is_new_leaves_the_closed_form_out(core: str) -> None:
    parent = trained("mixed_micro_32")
    genome = parent.genome.edit({"pool": "token", "stages.1.layers.0.core": core})
    found = inherit(genome, Donor.of(parent), images(genome, 8))
    assert found.solved == ()
    assert found.fresh == ("stages.1.token",)


def test_relative_biases_stay_where_a_class_token_comes_or_goes() -> None:
    genome = load_genome("softmax_micro_32").edit({"stages.*.core": {"block": "softmax", "relative": True}})
    parent, name = trained(genome), "stages.1.layers.0.attention.core.bias.table"
    x_BCHW = images(genome)
    assert torch.equal(inherit(genome, Donor.of(parent)).model.eval()(x_BCHW), parent(x_BCHW))
    with_token = inherit(genome.edit({"pool": "token"}), Donor.of(parent))
    table_EH, before_EH = with_token.model.state_dict()[name], parent.state_dict()[name]
    assert torch.equal(table_EH[:-3], before_EH)
    assert not table_EH[-3:].any()
    back = inherit(genome, Donor.of(with_token.model)).model
    assert torch.equal(back.eval()(x_BCHW), parent(x_BCHW))


def test_positions_that_the_donor_does_not_have_start_at_zero() -> None:
    parent = trained(load_genome("mixed_micro_32").edit({"position": "none"}))
    found = inherit(parent.genome.edit({"position": "absolute"}), Donor.of(parent))
    assert found.fresh == ("stages.0.position", "stages.1.position")
    assert moved(parent, found.model) == 0.0


def test_an_auxiliary_with_weights_of_its_own_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = registered("auxiliary")["masked_softmax"]
    begin = masked.__init__

    def weighted(self: torch.nn.Module, *arguments: object) -> None:
        begin(self, *arguments)
        self.gain = torch.nn.Parameter(torch.ones(1))

    monkeypatch.setattr(masked, "__init__", weighted)
    parent = trained("castling_digits")
    assert inherit(parent.genome, Donor.of(parent)).fresh == ()


def test_a_deployed_model_is_a_donor_unless_its_stem_lost_norms() -> None:
    parent = trained(load_genome("mixed_micro_32").edit({"layer_scale": 0.5}))
    assert moved(parent, inherit(parent.genome, Donor.of(deploy(parent))).model) < 1e-5
    stem = trained(load_genome("mixed_micro_32").edit({"stem": "conv"}))
    with pytest.raises(GenomeError, match="deployed"):
        Donor.of(deploy(stem))


LAYERS = [f"stages.{stage}.layers.{layer}" for stage, depth in ((0, 3), (1, 4)) for layer in range(depth)]
EDITS = st.dictionaries(st.sampled_from(LAYERS).map(lambda layer: f"{layer}.core"), st.sampled_from([*CORES, "less"]))
WHOLE = st.fixed_dictionaries(
    {},
    optional={
        "pool": st.sampled_from(["mean", "token", "patches"]),
        "position": st.sampled_from(["absolute", "grid", "none"]),
        "registers": st.integers(0, 2),
        "last_norm": st.sampled_from(["tokens", "pooled"]),
        "rotary": st.sampled_from([None, {}]),
        "qk_norm": st.booleans(),
        "layer_scale": st.sampled_from([None, 0.5]),
        "qkv_bias": st.booleans(),
    },
)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(EDITS, WHOLE, EDITS, WHOLE)
def test_whatever_the_edits_each_tensor_has_one_origin_and_an_equal_genome_equal_logits(
    cores: dict[str, object], whole: dict[str, object], more: dict[str, object], changes: dict[str, object]
) -> None:
    genome = load_genome("mixed_digits")
    try:
        parent = trained(genome.edit(cores | whole))
        child = parent.genome.edit(more | changes)
        found = inherit(child, Donor.of(parent), images(child, 8))
    except GenomeError:
        reject()  # layers that do not go together
    names = (*found.inherited, *found.solved, *found.fresh)
    assert sorted(names) == sorted(found.model.state_dict())
    assert all(tensor.isfinite().all() for tensor in found.model.state_dict().values())
    same = inherit(parent.genome, Donor.of(parent), images(child, 8))
    assert same.solved == same.fresh == ()
    assert torch.equal(same.model.eval()(images(child)), parent(images(child)))


def _carry(scores: object) -> object:
    from nas.model.layer import Carry

    return Carry(scores)


def _inputs(z_BNC: torch.Tensor) -> object:
    from nas.blocks.base import Inputs

    return Inputs(z_BNC, {}, mixed_BNC=z_BNC)
