"""Every attention module that timm offers, by timm's name, with the interface of this suite.

timm (https://github.com/huggingface/pytorch-image-models) creates them in `timm.layers.create_attn`. timm's file of a
module says what it is and whom to cite. There are two kinds: gates and residual modules, which go inside a residual
block, and modules that replace a block's spatial convolution.
"""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.base import Attention, Placement, memory_format_of
from relattn.errors import InputError, suggest

BLOCK = (
    *("se", "ese", "eca", "ecam", "ceca", "ge", "gc", "gca", "cbam", "lcbam"),
    *("coord", "scoord", "ela", "strip", "nl", "bat"),
)
"""timm's names of gates and residual modules."""

CONVOLUTION = ("sk", "splat", "lambda", "bottleneck", "halo")
"""timm's names of modules that replace a spatial convolution."""

KEPT = ("out_channels", "dim_out", "stride", "feat_size", "device", "dtype")
"""Arguments of timm's modules that this suite sets: channels and size of the map do not change."""


class PlanarConvolution(nn.Conv2d):
    """A three-dimensional convolution of kernel (r, r, 1), as two-dimensional convolutions of all slices.

    A network with a five-dimensional weight (`lambda` has one) cannot be converted to channels-last. And the gradients
    of such a three-dimensional convolution of a single contiguous image are wrong on a CPU (torch 2.15).
    """

    def __init__(self, layer: nn.Conv3d) -> None:
        """Take over the weights of `layer`, a convolution that keeps the size of its input."""
        height, width, _ = layer.kernel_size
        super().__init__(
            layer.in_channels, layer.out_channels, (height, width), padding="same", bias=layer.bias is not None
        )
        self.weight = nn.Parameter(layer.weight.detach().squeeze(4))
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(B, inputs, H, W, D)` over H and W."""
        slices = x.movedim(4, 1)
        y = F.conv2d(slices.flatten(0, 1), self.weight, self.bias, padding="same")
        return y.unflatten(0, slices.shape[:2]).movedim(1, 4)


class Timm(Attention):
    """An attention module of timm, by its name there.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`. Records nothing: timm's modules do not expose their masks.

    `placement` of an instance is `"convolution"` for `sk`, `splat`, `lambda`, `bottleneck` and `halo` and `"block"` for
    the others; `Timm.placement_of(name)` gives it without building the module.

    timm 1.0.31 fails to build `ge` with its defaults (it passes too many arguments to its layers): pass
    `use_mlp=False`.

    Example:
        >>> Timm(256, name="eca")
        >>> Timm(256, size=(16, 8), name="halo", block_size=4)

    Cite: Wightman, "PyTorch Image Models", 2019, and the paper that timm's file of the attention names.
    """

    placement: ClassVar[Placement] = "block"

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None, name: str = "eca", **arguments: Any):
        """Create timm's module.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input, for modules that need them (`bottleneck`; `lambda` with `r=None`), and
                to check a block size beforehand (`halo`, `bat`).
            name: timm's name of the attention module.
            arguments: Arguments of timm's module, for example `rd_ratio=0.25`; `dict_kwargs` in YAML.

        Raises:
            InputError: If the name or an argument is unknown, or timm cannot build it for these channels or size.
        """
        super().__init__(channels, size=size)
        self.name = name
        self.placement = self.placement_of(name)  # type: ignore[misc]  # the one class where it depends on an argument
        create = creator(name)
        parameters = {
            key: value
            for key, value in list(inspect.signature(create).parameters.items())[1:]
            if value.kind in (value.POSITIONAL_OR_KEYWORD, value.KEYWORD_ONLY)
        }
        allowed = sorted(parameters.keys() - set(KEPT))
        for unknown in sorted(arguments.keys() - set(allowed)):
            raise InputError(f"timm's {name} takes no argument {unknown!r}. {suggest(unknown, allowed)}")
        settings = {key: arguments.get(key, value.default) for key, value in parameters.items()}
        self.fixed = check(name, settings, channels, self.size)
        self.multiple = int(settings.get("block_size") or 1)
        if self.size is not None:
            self.check_size(*self.size)
        sized = {"feat_size": self.size} if "feat_size" in parameters and self.size is not None else {}
        try:
            self.module: nn.Module = create(channels, **sized, **arguments)
        except (AssertionError, ValueError, TypeError, RuntimeError) as error:
            reason = str(error) or type(error).__name__
            raise InputError(
                f"timm cannot build {name!r} for {channels} channels, size={self.size} and {arguments}: {reason}"
            ) from error
        for parent in list(self.module.modules()):
            for child, layer in list(parent.named_children()):
                if isinstance(layer, nn.Conv3d):
                    setattr(parent, child, PlanarConvolution(layer))

    @staticmethod
    def placement_of(name: str) -> Placement:
        """Where a module of this name goes: `"convolution"` or `"block"`.

        Raises:
            InputError: If timm has no attention module of this name.
        """
        if name not in (*BLOCK, *CONVOLUTION):
            raise InputError(f"timm has no attention {name!r}. {suggest(name, (*BLOCK, *CONVOLUTION))}")
        return "convolution" if name in CONVOLUTION else "block"

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}, name={self.name!r}"

    def check_size(self, height: int, width: int) -> None:
        """Raise an InputError if the module cannot take an input of this size."""
        if self.fixed and (height, width) != self.size:
            raise InputError(f"timm's {self.name} was built for size={self.size} and got {height}x{width}.")
        if height % self.multiple or width % self.multiple:
            raise InputError(
                f"timm's {self.name} cuts its input into blocks of {self.multiple}x{self.multiple}, into which "
                f"{height}x{width} cannot be cut: choose a block_size that divides both."
            )

    def forward(self, x: Tensor) -> Tensor:
        """Pass `(B, C, H, W)` through timm's module.

        Raises:
            InputError: If the module cannot take the size or the channels of `x`.
        """
        self.check(x)
        self.check_size(x.shape[2], x.shape[3])
        attended: Tensor = self.module(x)
        return attended.to(x.dtype).contiguous(memory_format=memory_format_of(x))


def creator(name: str) -> Callable[..., nn.Module]:
    """The class, or a partial of it, that creates an attention module in timm."""
    # Imported here because importing timm takes seconds.
    import timm
    from timm.layers.create_attn import get_attn

    try:
        found: Callable[..., nn.Module] = get_attn(name)
    except AssertionError as error:
        raise InputError(f"The installed timm {timm.__version__} has no attention {name!r} yet: update it.") from error
    return found


def check(name: str, settings: dict[str, Any], channels: int, size: tuple[int, int] | None) -> bool:
    """Check what timm only asserts without a message; return whether the module's weights depend on the size."""
    heads = settings.get("num_heads")
    if heads and channels % heads:
        divisors = ", ".join(str(number) for number in range(1, 2 * heads) if channels % number == 0)
        raise InputError(
            f"timm's {name} has num_heads={heads}, which do not divide {channels} channels: choose num_heads among "
            f"{divisors}."
        )
    fixed = name == "bottleneck" or (name == "lambda" and settings["r"] is None)
    fixed = fixed or (name == "ge" and settings["extra_params"] and settings["extent"] == 0)
    if fixed and size is None:
        raise InputError(
            f"timm's {name} has weights for the height and width of its input: pass size=(height, width), for example "
            f"Timm({channels}, size=(16, 8), name={name!r})."
        )
    return bool(fixed)
