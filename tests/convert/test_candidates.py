"""What may stand in a layer: genomes written out, candidates offered, neighbours that clash."""

from __future__ import annotations

import pytest

from nas.convert.candidates import DEFAULT, KEEP, Candidate, assembled, clashes, listed, offered
from nas.convert.spec import ConversionSpec
from nas.errors import GenomeError
from nas.genome import list_presets, load_genome


@pytest.mark.parametrize("name", list_presets())
def test_a_genome_written_out_is_the_same_genome(name: str) -> None:
    genome = load_genome(name)
    assert listed(genome).hash == genome.hash
    assert all(len(stage.layers or ()) == len(plan.layers) for stage, plan in zip(
        listed(genome).stages, genome.layout, strict=True))  # fmt: skip
    assert assembled(listed(genome), {}, DEFAULT).hash == genome.hash


def test_reuse_is_not_offered_where_there_is_nothing_to_reuse() -> None:
    genome = listed(load_genome("mixed_digits"))
    options = offered(genome, DEFAULT)
    assert options["stages.0.layers.0"] == [KEEP, "linear", "linear_local"]
    assert options["stages.1.layers.3"] == [KEEP, *DEFAULT]
    assert len(options) == 7


def test_what_a_layer_is_already_is_not_offered_again() -> None:
    genome = listed(load_genome("mixed_digits").edit({"stages.0.layers.1.core": DEFAULT["reuse"].core.model_dump()}))
    assert "reuse" not in offered(genome, DEFAULT)["stages.0.layers.1"]


def test_neighbours_that_make_no_sense_together_clash() -> None:
    genome = listed(load_genome("mixed_digits"))
    pooling = DEFAULT | {"pooling": Candidate.model_validate({"core": "pooling"})}
    found = set(clashes(genome, offered(genome, pooling), pooling))
    assert (("stages.0.layers.0", "pooling"), ("stages.0.layers.1", "reuse")) in found  # it hands on no scores
    assert (("stages.0.layers.1", "pooling"), ("stages.0.layers.2", "reuse")) not in found  # those of layer 0 do
    assert not set(clashes(genome, offered(genome, DEFAULT), DEFAULT))


def test_a_candidate_is_written_as_it_was_given() -> None:
    """Written out and read again, a candidate without `local` still keeps the layer's own."""
    spec = ConversionSpec.parse({"start": "model.yaml"})
    again = ConversionSpec.parse(spec.with_settings({"points": 2}).model_dump(mode="json"))
    genome = listed(load_genome("softmax_micro_32"))
    layer = "stages.0.layers.1"
    for candidates in (DEFAULT, spec.candidates, again.candidates):
        made = assembled(genome, {layer: "reuse"}, candidates)
        assert made.layout[0].layers[1].local == genome.layout[0].layers[1].local is not None


def test_of_two_candidates_that_give_the_same_layer_one_is_offered() -> None:
    genome = listed(load_genome("softmax_micro_32"))  # its layers have the depthwise residual already
    assert offered(genome, DEFAULT)["stages.0.layers.0"] == [KEEP, "linear"]


def test_a_local_block_is_kept_replaced_or_removed() -> None:
    genome = listed(load_genome("castling_digits"))
    layer, given = "stages.0.layers.0", {"core": "softmax"}
    kept = assembled(genome, {layer: "a"}, {"a": Candidate.model_validate(given)})
    gone = assembled(genome, {layer: "a"}, {"a": Candidate.model_validate(given | {"local": None})})
    assert kept.layout[0].layers[0].local == genome.layout[0].layers[0].local
    assert gone.layout[0].layers[0].local is None


def test_an_auxiliary_that_its_core_cannot_feed_is_an_error_with_its_layer() -> None:
    genome = listed(load_genome("castling_digits"))
    with pytest.raises(GenomeError, match=r"stages.0.layers.1"):
        assembled(genome, {"stages.0.layers.1": "reuse"}, DEFAULT)
