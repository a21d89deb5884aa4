"""Collects the maps that attention modules record, from any network."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from relattn.attention import Attention


@contextmanager
def capture(model: nn.Module) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Record the maps of every attention module in `model` within this context.

    Yields:
        Maps by module name and map name, for example `maps["attention.stage1"]["spatial"]` `(B, 1, H, W)`, from the
        last forward pass, detached, on the device of the model. They remain available after the context; nothing else
        does.

    Examples:
        >>> with torch.no_grad(), capture(model) as maps:
        ...     model(images)
        >>> maps["attention.stage4"]["channel"].shape
        torch.Size([8, 2048, 1, 1])
    """
    modules = {name: module for name, module in model.named_modules() if isinstance(module, Attention)}
    maps: dict[str, dict[str, Tensor]] = {name: {} for name in modules}
    before = {name: module.recorder for name, module in modules.items()}
    try:
        for name, module in modules.items():
            module.recorder = maps[name]
        yield maps
    finally:
        for name, module in modules.items():
            module.recorder = before[name]
