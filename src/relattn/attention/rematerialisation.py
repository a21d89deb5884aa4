"""Recomputes cheap maps in the backward pass instead of storing them.

Most of what attention would store are outputs of pointwise operations and batch norms: the map times a mask, embeddings
after their ReLU. One pass over memory recomputes them from tensors that are stored anyway, the inputs of convolutions
and batch norms. Unlike checkpointing the whole module (`recompute`), this repeats no costly operation and keeps the
order of all operations, so results and gradients are the same to the last bit, including gradients of gradients.

A module calls `cheap(torch.mul, x, mask)` in place of `torch.mul(x, mask)`. Inside `with rematerialised():`, autograd's
hooks on saved tensors (`torch.autograd.graph.saved_tensors_hooks`) then store a recipe in place of the result and of
all views of it. Elsewhere `cheap` just calls the function.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import local
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad


class Kept:
    """A stored tensor, which must not be changed in place until the backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # outside the graph: what a node stores must not hold the node
        self.version = self.tensor._version

    def get(self) -> Tensor:
        """The tensor.

        Raises:
            RuntimeError: If it has been changed in place, as autograd raises for the tensors it saves itself.
        """
        if self.tensor._version != self.version:
            raise RuntimeError(
                f"a tensor of shape {tuple(self.tensor.shape)} that attention needs for its gradient has been changed "
                "in place after the forward pass: change a copy of it."
            )
        return self.tensor


class Recipe:
    """How to compute a map from tensors that are stored or themselves recomputed."""

    def __init__(self, function: Callable[..., Tensor], inputs: "list[Kept | Remade]", like: Tensor) -> None:
        self.function, self.inputs = function, inputs
        self.uses = self.left = 0
        """How many saved tensors and recipes ask for the map in a backward pass, and how many of them still will."""
        self.made: Tensor | None = None
        device = like.device.type
        self.autocast = torch.autocast(
            device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), False
        )

    def make(self) -> Tensor:
        """The map; it is held until it has been requested as often as it is used."""
        if self.made is None:
            with torch.no_grad(), self.autocast:
                self.made, self.left = self.function(*(source.get() for source in self.inputs)), self.uses
        made, self.left = self.made, self.left - 1
        if self.left <= 0:
            self.made = None
        return made

    def use(self) -> None:
        """Count a use, and at the first one count a use of each map that this one is computed from."""
        self.uses += 1
        if self.uses == 1:
            for source in self.inputs:
                if isinstance(source, Remade):
                    source.recipe.use()


class Remade:
    """A view of a recomputed map."""

    def __init__(self, recipe: Recipe, like: Tensor) -> None:
        self.recipe, self.shape, self.strides, self.offset = recipe, like.shape, like.stride(), like.storage_offset()

    def get(self) -> Tensor:
        """The view."""
        return self.recipe.make().as_strided(self.shape, self.strides, self.offset)


class Saved:
    """A tensor that autograd saved."""

    def __init__(self, tensor: Tensor) -> None:
        self.content: Kept | Remade = Kept(tensor)

    def get(self) -> Tensor:
        """The tensor that autograd saved, or an equal one."""
        return self.content.get()


class Rematerialisation:
    """The recipes of one forward pass, and the tensors that autograd saved in it."""

    def __init__(self) -> None:
        self.recipes: dict[int, tuple[Recipe, Tensor]] = {}  # by address; holding the tensor keeps it from being reused
        self.saved: list[Saved] = []

    def source(self, tensor: Tensor) -> Kept | Remade:
        """A stored tensor, or a view of a recomputed map if the tensor has a recipe."""
        recipe, _ = self.recipes.get(tensor.untyped_storage().data_ptr(), (None, None))
        return Kept(tensor) if recipe is None else Remade(recipe, tensor)

    def add(self, result: Tensor, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        """Note how a result is computed."""
        recipe = Recipe(function, [self.source(tensor) for tensor in inputs], result)
        self.recipes[result.untyped_storage().data_ptr()] = recipe, result.detach()

    def keep(self, tensor: Tensor) -> Saved:
        """Save a tensor for autograd; `settle` looks for a recipe later: an in-place ReLU saves before it has one."""
        self.saved.append(Saved(tensor))
        return self.saved[-1]

    def settle(self) -> None:
        """Replace each saved tensor by its recipe, if any, and drop the lists, which autograd's hooks would hold."""
        for saved in self.saved:
            assert isinstance(saved.content, Kept)
            saved.content = self.source(saved.content.tensor)
            if isinstance(saved.content, Remade):
                saved.content.recipe.use()
        self.saved, self.recipes = [], {}


class Current(local):
    """The rematerialisation of the module that this thread is calling; `"nothing"` also holds for its parts."""

    value: Rematerialisation | Literal["nothing"] | None = None


current = Current()


@contextmanager
def rematerialised() -> Iterator[None]:
    """Recompute in the backward pass what `cheap` computes; inside another such context, do nothing."""
    if current.value is not None:
        yield
        return
    current.value = made = Rematerialisation()
    try:
        with torch.autograd.graph.saved_tensors_hooks(made.keep, Saved.get):
            yield
    finally:
        current.value = None
        made.settle()


@contextmanager
def all_kept() -> Iterator[None]:
    """Let autograd store what it needs, in all parts of a module."""
    before, current.value = current.value, "nothing"
    try:
        yield
    finally:
        current.value = before


def can_be_rematerialised(x: Tensor) -> bool:
    """Whether a forward pass of `x` has an ordinary backward pass, and tensors with addresses.

    Function transforms build the backward pass themselves, and tensor subclasses stand for other tensors.
    """
    plain = type(x) in (Tensor, nn.Parameter) and x.device.type != "meta"
    return plain and not is_transformed()


def is_transformed() -> bool:
    """Whether a function transform of `torch.func`, such as `vmap`, or forward-mode differentiation is active."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def active() -> Rematerialisation | None:
    """The rematerialisation that records recipes, or None; compilers decide themselves what to recompute."""
    if torch.compiler.is_compiling():
        return None
    return current.value if isinstance(current.value, Rematerialisation) else None


def cheap(function: Callable[..., Tensor], *inputs: Tensor, again: Callable[..., Tensor] | None = None) -> Tensor:
    """Call a function whose result is cheap to recompute and depends only on its inputs.

    Args:
        function: For equal inputs, returns a new tensor with the same strides each time.
        inputs: Its arguments.
        again: The function to call in the backward pass; by default `function` itself.
    """
    result = function(*inputs)
    making = active()
    if making is not None:
        making.add(result, again or function, inputs)
    return result


def norm_and(activation: Callable[[Tensor], Tensor], norm: nn.Module, x: Tensor) -> Tensor:
    """Apply batch norm and an activation, which may work in place, to `x`; running statistics see the batch once."""
    if active() is None or type(norm) is not nn.BatchNorm2d:  # other norms may communicate between processes
        return activation(norm(x))
    trained = norm.training or norm.running_mean is None
    statistics = [] if trained else [norm.running_mean, norm.running_var]
    inputs = [tensor for tensor in (x, norm.weight, norm.bias, *statistics) if tensor is not None]
    eps = norm.eps

    def again(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor | None = None, var: Tensor | None = None) -> Tensor:
        return activation(F.batch_norm(x, mean, var, weight, bias, trained, 0.0, eps))

    return cheap(lambda x, *_: activation(norm(x)), *inputs, again=again)
