"""Attention for vision networks: modules, tasks, and the experiments that compare them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from relattn.inference.trained import Trained

__version__ = "0.1.0"


def load(checkpoint: "Path | str") -> "Trained":
    """Load a checkpoint of `relattn fit` or `relattn convert` for inference.

    Call the result with images, files or arrays to get predictions. It has the plain `network`, the `transform` from an
    image to the network's input, and `metadata`: see `relattn.inference.trained.Trained`.

    Example:
        >>> model = relattn.load("runs/classification/NAME/checkpoints/last.ckpt")
        >>> model("cat.png")
        [Prediction(name='cat', probability=0.93)]

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If the file is not a checkpoint of this suite, or its task or data are unknown here.
    """
    # Imported here, not above: it imports all heavy packages, and the suite, which itself imports this module.
    from relattn.inference.load import load as ready

    return ready(checkpoint)
