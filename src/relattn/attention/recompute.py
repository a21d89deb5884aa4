"""Attention that is computed again in the backward pass, in place of keeping what its gradient needs.

Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016. What is computed again leaves the
running statistics of batch norms as they are: they have seen the batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Call a module's `forward` and keep its inputs alone for the backward pass."""
    contexts = partial(both_contexts, module)
    result: Tensor = checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)
    return result


def both_contexts(module: nn.Module) -> tuple[Any, Any]:
    """The contexts of the first pass and of the second."""
    return nullcontext(), statistics_left_alone(module)


@contextmanager
def statistics_left_alone(module: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch without counting it."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
