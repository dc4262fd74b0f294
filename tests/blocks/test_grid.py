from __future__ import annotations

import pytest
import torch

from nas.blocks.grid import to_grid, to_tokens


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_tokens_go_to_their_grid_and_back_without_a_copy(prefix: int) -> None:
    x_BNC = torch.randn(2, prefix + 12, 5)
    x_BChw = to_grid(x_BNC, (3, 4), prefix)
    assert x_BChw.shape == (2, 5, 3, 4)
    assert torch.equal(x_BChw[1, :, 2, 3], x_BNC[1, prefix + 2 * 4 + 3])
    back_BnC = to_tokens(x_BChw)
    assert torch.equal(back_BnC, x_BNC[:, prefix:])
    assert back_BnC.data_ptr() == x_BNC[:, prefix:].data_ptr()
