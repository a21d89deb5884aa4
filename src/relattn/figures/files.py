"""Writes figures to PNG and PDF files atomically, trimmed to their content or with an exact width."""

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
"""Pixels per inch of a figure with a chosen width, meant for print in a paper."""
PAD = 0.12
"""Inches around a figure."""

WRITING = Lock()


def save(
    figure: "Figure", folder: Path, name: str, formats: Sequence[str] = ("png", "pdf"), *, width: float | None = None
) -> list[Path]:
    """Write a figure as `<name>.png` and `<name>.pdf` into a folder, which is created if necessary; return the files.

    Args:
        figure: The figure.
        folder: The folder.
        name: Name of the files without suffix.
        formats: Suffixes of the files.
        width: Exact width in inches; None to trim the figure to its content.

    Raises:
        InputError: If nothing can be written there; existing files stay unchanged.
    """
    files = [folder / f"{name}.{suffix}" for suffix in formats]
    for file in files:
        write(figure, file, width)
    return files


def write(figure: "Figure", file: Path, width: float | None = None) -> None:
    """Write a figure in the format of the file's suffix; fonts are embedded in a PDF as TrueType."""
    options = output_options(figure, width)
    suffix = file.suffix.removeprefix(".")
    if suffix == "pdf":
        options["metadata"] = {"CreationDate": None}  # without the date, the same figure gives the same file
    if suffix == "png":
        options["pil_kwargs"] = {"compress_level": 4}  # a quarter faster than 6, and 5 % larger
    # The font type is a global setting of matplotlib, so only one thread at a time may change it.
    with publishing(file) as stream, WRITING, mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(stream, format=suffix, **options)


def as_image(figure: "Figure") -> Image.Image:
    """A figure as an RGB image, for loggers."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1}, **output_options(figure))
    return Image.open(buffer).convert("RGB")


def output_options(figure: "Figure", width: float | None = None) -> dict[str, Any]:
    """Resolution and margins of files: figures laid out by matplotlib are trimmed, those laid out in pixels are not."""
    if figure.get_layout_engine() is None:
        return {"dpi": figure.get_dpi()}
    if width is None:
        return {"dpi": DPI, "bbox_inches": "tight", "pad_inches": PAD}
    figure.draw_without_rendering()  # this computes the layout
    drawn = figure.get_tightbbox()
    box = transforms.Bbox.from_extents(0, drawn.y0 - PAD / 2, width, drawn.y1 + PAD / 2)
    return {"dpi": PAPER_DPI, "bbox_inches": box}


def scale_to(figure: "Figure", width: float) -> None:
    """Scale a figure with a fixed layout, including its text and lines, to a width in inches."""
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
