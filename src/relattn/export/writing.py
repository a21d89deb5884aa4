"""Writes a network to a file, and keeps the file only if it computes the same as the network."""

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from relattn.errors import InputError
from relattn.export.graph import other_size, takes_any_size, trace, without_ceil
from relattn.export.metadata import FILE, KEY
from relattn.export.parity import Difference, Runner, check_parity
from relattn.extras import required
from relattn.publish import check_writable, publishing

Format = Literal["onnx", "torch"]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
"""File name suffixes of each format."""


def export(
    network: nn.Module,
    file: Path | str,
    *,
    format: Format,  # named as in torch and other packages
    metadata: Mapping[str, Any],
    size: tuple[int, int] | None = None,
    images: Mapping[str, Tensor] | None = None,
) -> list[Difference]:
    """Write a network to a file.

    The graph takes `image`, float32 `(B, 3, H, W)`, for any B. H and W are fixed, unless the network maps images to
    maps of their size (`metadata["output"]` has the `layout` `NCHW`) and accepts any.

    Args:
        network: The network, in evaluation mode, on the CPU.
        file: Path of the file.
        format: `"onnx"`, or `"torch"` for `torch.export`.
        metadata: Metadata for the file, in the form of `relattn.load(checkpoint).metadata`; `input` and `output` are
            required, and the dynamic dimensions are added to `input`.
        size: Height and width of the images in pixels; None for `metadata["input"]["size"]`.
        images: Real images for the comparison, in addition to random ones: batches `(B, 3, H, W)`, by name.

    Returns:
        The difference from the original for every batch that was compared: one image and three.

    Raises:
        InputError: If the format is unknown, its packages are not installed, or the network cannot be exported.
        ParityError: If the file's network computes something else; the file is then removed.
    """
    path = Path(file)
    if format not in get_args(Format):
        raise InputError(f"format is {format!r}, expected one of {', '.join(get_args(Format))}.")
    for package in ("onnx", "onnxscript", "onnxruntime") if format == "onnx" else ():
        required(package, "export")
    if network.training:
        raise InputError("The network is in training mode: call network.eval() before it is exported.")
    height, width = size or metadata["input"]["size"]
    any_size = metadata["output"]["layout"] == "NCHW" and takes_any_size(network, (height, width))
    dynamic = ["batch", "height", "width"] if any_size else ["batch"]
    described = {**metadata, "input": {**metadata["input"], "size": [height, width], "dynamic": dynamic}}
    generator = torch.Generator().manual_seed(0)
    sizes = [(1, height, width), (3, height, width), *([(1, *other_size((height, width)))] if any_size else [])]
    random = [torch.randn(count, 3, *rest, generator=generator) for count, *rest in sizes]
    batches = {"random": random, **{name: [batch] for name, batch in (images or {}).items()}}
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, quiet():
        beside = Path(folder) / f"network{SUFFIXES[format]}"
        program = trace(network, (height, width), any_size=any_size)
        write = write_onnx if format == "onnx" else write_torch
        runner = write(program, beside, described)
        try:
            differences = check_parity(runner, network, batches)
        except AssertionError as error:  # a condition on sizes in the traced graph
            raise InputError(
                f"The network as torch {torch.__version__} traces it does not take every size: {error}. A later "
                f"release of torch may trace it{'; --format onnx has no such conditions' if format == 'torch' else ''}."
            ) from error
        with publishing(path) as stream, beside.open("rb") as content:
            shutil.copyfileobj(content, stream)
    return differences


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings of the exporters: none of them is about the network, and parity is checked."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def write_onnx(program: torch.export.ExportedProgram, file: Path, metadata: Mapping[str, Any]) -> Runner:
    """Write ONNX with embedded weights; return a function that runs the file."""
    name = str(metadata["output"]["name"])
    try:
        onnx: Any = torch.onnx.export(
            program, dynamo=True, input_names=["image"], output_names=[name], verbose=False, external_data=False
        )
        onnx.model.metadata_props[KEY] = json.dumps(metadata)
        onnx.save(file, external_data=False)
    except Exception as error:  # from the exporter, or from packages that it uses
        raise InputError(
            f"The network cannot be written as ONNX ({type(error).__name__}: {error}). Try --format torch."
        ) from error
    ort = required("onnxruntime", "export")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([name], {"image": images.numpy()})[0])

    return run


def write_torch(program: torch.export.ExportedProgram, file: Path, metadata: Mapping[str, Any]) -> Runner:
    """Write a file of `torch.export`; return a function that runs it."""
    torch.export.save(without_ceil(program), file, extra_files={FILE: json.dumps(metadata)})
    module = torch.export.load(file).module()

    def run(images: Tensor) -> Tensor:
        found: Tensor = module(images)
        return found

    return run
