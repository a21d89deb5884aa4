"""Figures as files: PNG and PDF, trimmed to what is drawn or of an exact width, whole or not at all."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from PIL import Image

from relattn.extras import Lazy
from relattn.figures.canvas import DPI
from relattn.publish import publishing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

mpl = Lazy("matplotlib", "suite")
mpl_lines = Lazy("matplotlib.lines", "suite")
mpl_text = Lazy("matplotlib.text", "suite")
patches = Lazy("matplotlib.patches", "suite")
transforms = Lazy("matplotlib.transforms", "suite")

PAPER_DPI = 300
"""Pixels to the inch of a figure whose width is chosen, which a paper prints."""
PAD = 0.12
"""Inches around a figure."""

WRITING = Lock()


def save(
    figure: "Figure", folder: Path, name: str, formats: Sequence[str] = ("png", "pdf"), *, width: float | None = None
) -> list[Path]:
    """Write a figure as `<name>.png` and `<name>.pdf` into a folder, which is made; return the files.

    Args:
        figure: The figure.
        folder: Where.
        name: Of the files.
        formats: Endings of the files.
        width: Inches that it has exactly; None to trim it to what is drawn.

    Raises:
        InputError: If nothing can be written there; what was there stays.
    """
    files = [folder / f"{name}.{suffix}" for suffix in formats]
    for file in files:
        write(figure, file, width)
    return files


def write(figure: "Figure", file: Path, width: float | None = None) -> None:
    """Write a figure in the format that the file's name ends in; the fonts of a PDF are embedded, as TrueType."""
    options = output_options(figure, width)
    suffix = file.suffix.removeprefix(".")
    if suffix == "pdf":
        options["metadata"] = {"CreationDate": None}  # without the date, the same figure is the same file
    if suffix == "png":
        options["pil_kwargs"] = {"compress_level": 4}  # a quarter faster than 6 for 5 % more bytes
    # The kind of fonts is a global setting of matplotlib: one thread at a time changes it.
    with publishing(file) as stream, WRITING, mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(stream, format=suffix, **options)


def as_image(figure: "Figure") -> Image.Image:
    """A figure as an RGB image, for loggers."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1}, **output_options(figure))
    return Image.open(buffer).convert("RGB")


def output_options(figure: "Figure", width: float | None = None) -> dict[str, Any]:
    """Resolution and edges of files: what matplotlib laid out is trimmed, what was laid out in pixels is kept."""
    if figure.get_layout_engine() is None:
        return {"dpi": figure.get_dpi()}
    if width is None:
        return {"dpi": DPI, "bbox_inches": "tight", "pad_inches": PAD}
    figure.draw_without_rendering()  # which lays it out
    drawn = figure.get_tightbbox()
    box = transforms.Bbox.from_extents(0, drawn.y0 - PAD / 2, width, drawn.y1 + PAD / 2)
    return {"dpi": PAPER_DPI, "bbox_inches": box}


def scale_to(figure: "Figure", width: float) -> None:
    """Bring a figure whose text has its place to a width in inches, its text and lines with it."""
    factor = width / figure.get_figwidth()
    figure.set_size_inches(width, factor * figure.get_figheight())
    if figure.get_layout_engine() is None:
        figure.set_dpi(figure.get_dpi() / factor)  # it keeps its pixels
    for text in figure.findobj(mpl_text.Text):
        text.set_fontsize(factor * text.get_fontsize())
    for artist in (*figure.findobj(mpl_lines.Line2D), *figure.findobj(patches.Patch)):
        artist.set_linewidth(factor * artist.get_linewidth())
    for arrow in figure.findobj(patches.FancyArrowPatch):
        arrow.set_mutation_scale(factor * arrow.get_mutation_scale())
