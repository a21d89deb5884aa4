"""Weights that the output of a network does not depend on, such as layers after the features that a head reads.

They get no gradient, and distributed training waits for one of each weight that is trained.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from relattn.skeleton import empty_image, skeleton_of


def rest_unread(network: nn.Module, method: str, size: tuple[int, int], in_chans: int = 3) -> None:
    """Do not train the weights that the output for images of a size does not depend on.

    Args:
        network: The network.
        method: Name of its method that maps images `(B, in_chans, H, W)` to the output, one tensor.
        size: Height and width of the images in pixels.
        in_chans: Channels of the images.
    """
    skeleton = skeleton_of(network)
    with empty_image(skeleton, size, in_chans) as image:
        output = getattr(skeleton, method)(image)
    for name in unread(skeleton, [output]):
        network.get_parameter(name).requires_grad_(False)


def unread(network: nn.Module, outputs: Sequence[Tensor]) -> set[str]:
    """The names of the weights of a network that are trained and that its outputs do not depend on."""
    read = leaves(outputs)
    return {name for name, weight in network.named_parameters() if weight.requires_grad and id(weight) not in read}


def leaves(outputs: Sequence[Tensor]) -> set[int]:
    """The ids of the leaf tensors, such as weights, that outputs depend on in the graph of autograd."""
    found, seen = set(), set()
    waiting = [output.grad_fn for output in outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting.extend(following for following, _ in node.next_functions)
    return found


__all__ = ["rest_unread", "unread"]
