"""The batch-norm neck."""

import torch

from relattn.heads import BNNeck


def test_parameters_and_shapes() -> None:
    neck = BNNeck(2048, 751)
    assert sum(parameter.numel() for parameter in neck.parameters()) == 2 * 2048 + 2048 * 751
    assert not neck.norm.bias.requires_grad
    assert neck.classifier.bias is None
    normed, logits = neck(torch.randn(4, 2048))
    assert normed.shape == (4, 2048)
    assert logits.shape == (4, 751)
    assert 0.0009 < float(neck.classifier.weight.detach().std()) < 0.0011
