"""Attention for vision networks: modules, tasks, and the experiments that compare them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from relattn.inference.trained import Trained

__version__ = "0.1.0"


def load(checkpoint: "Path | str") -> "Trained":
    """Make a checkpoint of `relattn fit` or `relattn convert` ready for use.

    The result is called with images, files or arrays, and gives the answer; it has the plain `network`, the `transform`
    from an image to what the network sees, and `metadata`: see `relattn.inference.trained.Trained`.

    Example:
        >>> model = relattn.load("runs/classification/NAME/checkpoints/last.ckpt")
        >>> model("cat.png")
        [Prediction(name='cat', probability=0.93)]

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is no checkpoint of the suite's, or one of a task or data that are not known here.
    """
    # Here, not above: it brings everything heavy, and the suite, which stands on this library.
    from relattn.inference.load import load as ready

    return ready(checkpoint)
