"""The embedding of faces."""

import pytest
import torch

from relattn.errors import InputError
from relattn.heads import FaceEmbedding


def test_parameters_and_shapes() -> None:
    with torch.device("meta"):
        head = FaceEmbedding(2048, (7, 7))
    assert sum(parameter.numel() for parameter in head.parameters()) == 2 * 2048 + 2048 * 49 * 512 + 2 * 512
    assert head.fc.out_features == 512
    assert not head.last_norm.weight.requires_grad
    assert FaceEmbedding(8, (2, 3), dimensions=4, learn_scale=True).last_norm.weight.requires_grad


def test_norm_dropout_fc_norm() -> None:
    torch.manual_seed(0)
    head = FaceEmbedding(4, (2, 3), dimensions=5, dropout=0.5).double()
    x = torch.randn(16, 4, 2, 3, dtype=torch.float64)
    drawn = head(x)
    assert not torch.allclose(drawn, head(x))  # dropout
    head.dropout.p = 0
    normed = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    mapped = normed.flatten(1) @ head.fc.weight.T
    expected = (mapped - mapped.mean(0)) / (mapped.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), expected)
    last = head.eval()(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, head(x))


def test_the_embedding_is_precise_under_autocast() -> None:
    head = FaceEmbedding(4, (2, 2), dimensions=5).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(torch.randn(3, 4, 2, 2).bfloat16()).dtype == torch.float32


@pytest.mark.slow
def test_it_compiles_without_breaks() -> None:
    head = FaceEmbedding(4, (2, 2), dimensions=5).eval()
    x = torch.randn(3, 4, 2, 2)
    torch.testing.assert_close(torch.compile(head, fullgraph=True, backend="eager")(x), head(x))


@pytest.mark.parametrize(
    ("options", "message"), [({"dropout": 1.0}, "dropout is 1.0"), ({"dimensions": 0}, "dimensions 0")]
)
def test_what_cannot_be_built_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FaceEmbedding(4, (2, 2), **options)


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"maps 4x2x2 and got 4x3x3"):
        FaceEmbedding(4, (2, 2))(torch.randn(2, 4, 3, 3))
