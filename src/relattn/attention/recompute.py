"""Attention recomputed in the backward pass, instead of storing what its gradient needs.

Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016. Recomputing changes neither the
running statistics of batch norms, which have already seen the batch, nor the loss terms of attention.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from relattn.attention.rematerialisation import all_kept


def recomputed(module: nn.Module, forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Call a module's `forward` and store only its inputs for the backward pass."""
    contexts = partial(both_contexts, module)
    result: Tensor = checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)
    return result


def both_contexts(module: nn.Module) -> tuple[Any, Any]:
    """The contexts of the forward pass and of the recomputation."""
    return all_kept(), without_traces(module)


@contextmanager
def without_traces(module: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch without counting it, and keep the loss terms of the first pass.

    A term of the recomputation would keep the recomputed tensors alive until the next forward pass.
    """
    terms = {part: part.loss_term for part in module.modules() if hasattr(part, "loss_term")}
    norms = [norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        counted = norm.num_batches_tracked  # SyncBatchNorm needs a counter
        norm.momentum, norm.num_batches_tracked = 0.0, None if counted is None else counted.clone()
    try:
        with all_kept():
            yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
        for part, term in terms.items():
            part.loss_term = term
