"""The embedding neck of StRA's released code."""

import pytest
import torch

from relattn.errors import InputError
from relattn.heads import EmbeddingNeck


def test_it_is_a_linear_layer_a_batch_norm_and_a_classifier() -> None:
    torch.manual_seed(0)
    neck = EmbeddingNeck(24, 5, dimensions=7)
    x = torch.randn(6, 24)
    embedded, logits = neck(x)
    product = x @ neck.embedding[0].weight.T
    expected = (product - product.mean(dim=0)) / (product.var(dim=0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(embedded, expected)
    torch.testing.assert_close(logits, expected @ neck.classifier.weight.T + neck.classifier.bias)
    torch.testing.assert_close(neck.eval().feature(x), neck(x)[0])


def test_parameters_are_those_of_the_released_network() -> None:
    counts = [parameter.numel() for parameter in EmbeddingNeck(2048, 751).parameters()]
    assert counts == [2048 * 512, 512, 512, 512 * 751, 751]
    with pytest.raises(InputError, match="dimensions is 0, expected at least 1"):
        EmbeddingNeck(8, 2, dimensions=0)
