"""Maps that are cheap to compute are computed again in the backward pass, in place of being kept for it.

Most of what attention would keep are outputs of pointwise operations and batch norms: the map times a mask, embeddings
after their ReLU. They follow in one pass over memory from what is kept anyway, inputs of convolutions and batch norms.
Unlike checkpointing of the whole module (`recompute`), nothing costly is done twice, the order of all operations stays
as it was, and results and gradients are the same to the last bit, gradients of gradients included.

A module calls `cheap(torch.mul, x, mask)` where it would call `torch.mul(x, mask)`. Between `with rematerialised():`
autograd's hooks on saved tensors (`torch.autograd.graph.saved_tensors_hooks`) then keep a recipe in place of the result
and of all views of it. Elsewhere `cheap` calls the function and does no more.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import local
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Kept:
    """A tensor that is kept, which must not be changed in place until the backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # of no graph: what a node keeps must not hold the node
        self.version = self.tensor._version

    def get(self) -> Tensor:
        """The tensor.

        Raises:
            RuntimeError: If it has been changed in place, as autograd raises it for what it keeps itself.
        """
        if self.tensor._version != self.version:
            raise RuntimeError(
                f"a tensor of shape {tuple(self.tensor.shape)} that attention needs for its gradient has been changed "
                "in place after the forward pass: change a copy of it."
            )
        return self.tensor


class Recipe:
    """How a map is made of tensors, kept or made again themselves."""

    def __init__(self, function: Callable[..., Tensor], inputs: "list[Kept | Remade]", like: Tensor) -> None:
        self.function, self.inputs = function, inputs
        self.uses = self.left = 0
        """By how many saved tensors and recipes the map is asked for in a backward pass, and how many are still to."""
        self.made: Tensor | None = None
        device = like.device.type
        self.autocast = torch.autocast(
            device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), False
        )

    def make(self) -> Tensor:
        """The map; it is held until it has been asked for as often as it is used."""
        if self.made is None:
            with torch.no_grad(), self.autocast:
                self.made, self.left = self.function(*(source.get() for source in self.inputs)), self.uses
        made, self.left = self.made, self.left - 1
        if self.left <= 0:
            self.made = None
        return made

    def use(self) -> None:
        """Count a use, and at the first one those of the maps that this one is made of."""
        self.uses += 1
        if self.uses == 1:
            for source in self.inputs:
                if isinstance(source, Remade):
                    source.recipe.use()


class Remade:
    """A view of a map that is made again."""

    def __init__(self, recipe: Recipe, like: Tensor) -> None:
        self.recipe, self.shape, self.strides, self.offset = recipe, like.shape, like.stride(), like.storage_offset()

    def get(self) -> Tensor:
        """The view."""
        return self.recipe.make().as_strided(self.shape, self.strides, self.offset)


class Saved:
    """What autograd was told to keep."""

    def __init__(self, tensor: Tensor) -> None:
        self.content: Kept | Remade = Kept(tensor)

    def get(self) -> Tensor:
        """The tensor that autograd gave, or its equal."""
        return self.content.get()


class Rematerialisation:
    """The recipes of one forward pass, and what autograd keeps of it."""

    def __init__(self) -> None:
        self.recipes: dict[int, tuple[Recipe, Tensor]] = {}  # by address, which the tensor keeps from being used anew
        self.saved: list[Saved] = []

    def source(self, tensor: Tensor) -> Kept | Remade:
        """A tensor, or the view of a map with a recipe that it is."""
        recipe, _ = self.recipes.get(tensor.untyped_storage().data_ptr(), (None, None))
        return Kept(tensor) if recipe is None else Remade(recipe, tensor)

    def add(self, result: Tensor, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        """Note how a result is made."""
        recipe = Recipe(function, [self.source(tensor) for tensor in inputs], result)
        self.recipes[result.untyped_storage().data_ptr()] = recipe, result.detach()

    def keep(self, tensor: Tensor) -> Saved:
        """Take what autograd saves. Only at the end is it known to have a recipe: ReLU in place saves before that."""
        self.saved.append(Saved(tensor))
        return self.saved[-1]

    def settle(self) -> None:
        """Put recipes in the place of the tensors that have one, and let go of these: autograd keeps its hooks."""
        for saved in self.saved:
            assert isinstance(saved.content, Kept)
            saved.content = self.source(saved.content.tensor)
            if isinstance(saved.content, Remade):
                saved.content.recipe.use()
        self.saved, self.recipes = [], {}


class Current(local):
    """What the module that this thread is calling makes again; `"nothing"` holds for its parts as well."""

    value: Rematerialisation | Literal["nothing"] | None = None


current = Current()


@contextmanager
def rematerialised() -> Iterator[None]:
    """Let what `cheap` computes be made again in the backward pass; within another context it does nothing."""
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
    """Let autograd keep what it needs, in all parts of a module."""
    before, current.value = current.value, "nothing"
    try:
        yield
    finally:
        current.value = before


def can_be_rematerialised(x: Tensor) -> bool:
    """Whether a forward pass of `x` has a backward pass of its own, which asks for tensors with addresses.

    Transforms of functions make one themselves, and subclasses of tensors stand for others.
    """
    plain = type(x) in (Tensor, nn.Parameter) and x.device.type != "meta"
    return plain and not torch._C._are_functorch_transforms_active()


def active() -> Rematerialisation | None:
    """The rematerialisation to tell of what can be made again, or None; compilers decide themselves."""
    if torch.compiler.is_compiling():
        return None
    return current.value if isinstance(current.value, Rematerialisation) else None


def cheap(function: Callable[..., Tensor], *inputs: Tensor, again: Callable[..., Tensor] | None = None) -> Tensor:
    """Call a function whose result is cheap to compute again, and follows from its inputs alone.

    Args:
        function: Gives a tensor of its own, of the same strides each time, for equal inputs.
        inputs: Its arguments.
        again: What is called in the backward pass; by default the function itself.
    """
    result = function(*inputs)
    making = active()
    if making is not None:
        making.add(result, again or function, inputs)
    return result


def norm_and(activation: Callable[[Tensor], Tensor], norm: nn.Module, x: Tensor) -> Tensor:
    """An activation, which may work in place, of the batch norm of `x`; running statistics see the batch once."""
    if active() is None or type(norm) is not nn.BatchNorm2d:  # others may speak with other processes
        return activation(norm(x))
    trained = norm.training or norm.running_mean is None
    statistics = [] if trained else [norm.running_mean, norm.running_var]
    inputs = [tensor for tensor in (x, norm.weight, norm.bias, *statistics) if tensor is not None]
    eps = norm.eps

    def again(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor | None = None, var: Tensor | None = None) -> Tensor:
        return activation(F.batch_norm(x, mean, var, weight, bias, trained, 0.0, eps))

    return cheap(lambda x, *_: activation(norm(x)), *inputs, again=again)
