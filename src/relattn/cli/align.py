"""`relattn align`: crops faces from photographs and aligns them by five landmarks, as face networks expect them."""

import argparse
import importlib

from relattn.cli import catalogue
from relattn.cli.options import check_free, own_path, say

EXAMPLES = """landmarks: a CSV file with a row for each image and the columns
  path,left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,left_mouth_x,left_mouth_y,right_mouth_x,right_mouth_y
in pixels; left is what is seen on the left. CelebA's column names are accepted as well.

examples:
  relattn align --images photos --landmarks landmarks.csv --out faces
  relattn align --images photos --landmarks landmarks.csv --out faces --template 112x96 --wrong skip
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn align",
        description="Cut the face out of each image of a folder and bring its five landmarks to fixed places, as the\n"
        "public data sets are aligned. Faces are PNGs under the images' relative paths.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=own_path, required=True, help="folder that the table's paths are relative to")
    parser.add_argument(
        "--landmarks", type=own_path, required=True, metavar="FILE.csv", help="five points of each face"
    )
    parser.add_argument("--out", type=own_path, required=True, help="folder to write, which must be new or empty")
    parser.add_argument(
        "--template", choices=["112x112", "112x96", "128x128"], default="112x112", help="height and width of the faces"
    )
    parser.add_argument(
        "--wrong",
        choices=["error", "skip", "keep"],
        default="error",
        help="what to do with images whose landmarks are outside the image or swapped; by default nothing is written",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Align the faces of a folder."""
    options = parse(arguments)
    check_free(options.out)
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    (task,) = catalogue.task_folders("align_folder.py")
    align_folder = importlib.import_module(f"relattn.tasks.{task}.align_folder").align_folder
    console, terminal = Console(), Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=terminal,
        transient=True,
        disable=not terminal.is_terminal,
    ) as bar:
        shown = bar.add_task("Aligning", total=None)
        written, wrong = align_folder(
            options.images,
            options.landmarks,
            options.out,
            template=options.template,
            wrong=options.wrong,
            progress=lambda done, total: bar.update(shown, completed=done, total=total),
        )
    if wrong:
        done = "kept" if options.wrong == "keep" else "left out"
        say(console, f"landmarks of {len(wrong):,} images are wrong, and these are {done}: {'; '.join(wrong)}")
    say(console, f"{options.out}: {written:,} faces of {options.template}")
    return 0
