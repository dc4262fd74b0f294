from __future__ import annotations

from nas.genome import load_genome
from nas.genome.describe import describe
from nas.report.describe import describe_file


def test_runs_stages_and_helpers():
    assert describe(load_genome("lavit_digits")) == "softmax ×2, less | softmax ×2, less ×2"
    castling = load_genome("castling_digits").edit({"stages.1.core": "softmax", "stages.1.auxiliary": None})
    assert describe(castling).endswith("| softmax + depthwise ×3")


def test_the_diagonal_loss_is_named_only_where_it_acts():
    genome = load_genome("lavit_digits").edit({"loss.diagonal.variant": "hinge", "loss.diagonal.weight": 0.0123})
    assert describe(genome).endswith("; diagonal hinge 0.012")
    assert "diagonal" not in describe(genome.edit({"loss.diagonal.weight": 0}))


def test_an_unreadable_genome_does_not_spoil_a_table(tmp_path):
    (tmp_path / "genome.yaml").write_text("stages: [")
    assert describe_file(tmp_path / "genome.yaml") == "genome not readable"
