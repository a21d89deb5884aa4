"""`relattn export`: writes a trained network to a file for other programs."""

import argparse
from typing import TYPE_CHECKING

from relattn.cli.options import add_checkpoint, checkpoint_file, height_and_width, own_path, say
from relattn.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from torch import Tensor

    from relattn.inference.trained import Trained

EXAMPLES = """examples:
  relattn export --ckpt_path runs/classification/NAME --format onnx
  relattn export --ckpt_path last.ckpt --format torch --out faces.pt2
  relattn export --ckpt_path last.ckpt --format onnx --images photos --size 512x1024
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn export",
        description="Write a trained network as ONNX or as a file of torch.export, for batches of any size, with how\n"
        "images are prepared and what the outputs mean inside (relattn.export.read_metadata). The file is kept only\n"
        "if it computes what the network does, on random images and on those given.\n\n"
        "Outputs: logits of classification and segmentation, and the features that re-identification and faces\n"
        "compare, of length 1 where their angle is compared, with the mirror image's where the task takes it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_checkpoint(parser)
    parser.add_argument("--format", choices=["onnx", "torch"], required=True, help="onnx needs the extra 'export'")
    parser.add_argument("--out", type=own_path, help="the file; by default .onnx or .pt2 beside the checkpoint")
    parser.add_argument("--size", help="height x width of the images, for segmentation; by default as in training")
    parser.add_argument("--images", type=own_path, help="an image, or a folder; three images at most are compared on")
    options = parser.parse_args(arguments)
    options.checkpoint = checkpoint_file(options)
    suffix = {"onnx": ".onnx", "torch": ".pt2"}[options.format]
    options.out = options.out or options.checkpoint.with_suffix(suffix)
    if options.out.suffix != suffix:
        raise InputError(f"--out {options.out}: the name of a file of {options.format} ends in {suffix}.")
    if options.out.exists():
        raise InputError(f"{options.out} exists, and nothing is overwritten. Choose another --out, or remove it.")
    if options.images and not options.images.exists():
        raise MissingFileError(f"--images {options.images}: there is no such image or folder.")
    return options


def size_of(options: argparse.Namespace, trained: "Trained") -> tuple[int, int]:
    """The size of the images.

    Raises:
        InputError: If `--size` is not a size, or differs from the only size that the network accepts.
    """
    height, width = trained.metadata["input"]["size"]
    if options.size is None:
        return height, width
    try:
        asked = height_and_width(options.size)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--size: {error}.") from error
    if trained.metadata["output"]["layout"] != "NCHW" and asked != (height, width):
        raise InputError(
            f"--size is {options.size}, and this network takes images of {height}x{width}, as in its training."
        )
    return asked


def real_images(options: argparse.Namespace, trained: "Trained", size: tuple[int, int]) -> "dict[str, Tensor]":
    """Up to three given images as batches of one; images of another size are cropped or padded to `size`."""
    from torch.nn.functional import pad

    from relattn.inference.image_folder import find_images

    if options.images is None:
        return {}
    root, paths = options.images.parent, [options.images.name]
    if options.images.is_dir():
        root, paths = options.images, [entry.path for entry in find_images(options.images)][:3]
    found = {}
    for path in paths:
        image = trained.transform(root / path)[None, :, : size[0], : size[1]]
        found[path] = pad(image, (0, size[1] - image.shape[3], 0, size[0] - image.shape[2]))
    return found


def main(arguments: list[str]) -> int:
    """Export a network, and report how far the exported outputs are from its own."""
    options = parse(arguments)
    from rich.console import Console

    from relattn.cli.lightning.commands import quieten

    quieten()
    from relattn.export import export, read_metadata
    from relattn.inference.load import load

    trained = load(options.checkpoint)
    size = size_of(options, trained)
    images = real_images(options, trained, size)
    console = Console()
    differences = export(
        trained.network, options.out, format=options.format, metadata=trained.metadata, size=size, images=images
    )
    for difference in differences:
        say(console, str(difference))
    dynamic = read_metadata(options.out)["input"]["dynamic"]
    fixed = "" if "height" in dynamic else f", images of {size[0]}x{size[1]} only"
    say(console, f"{options.out}: {options.out.stat().st_size / 2**20:,.1f} MiB, any {', '.join(dynamic)}{fixed}")
    return 0
