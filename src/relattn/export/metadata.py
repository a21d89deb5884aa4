"""The metadata of an exported file, as one JSON object.

In ONNX it is the metadata property `relattn`, which onnxruntime returns as
`session.get_modelmeta().custom_metadata_map["relattn"]`; in a file of `torch.export` it is the extra file
`relattn.json`.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from relattn.errors import InputError, MissingFileError
from relattn.extras import required

KEY = "relattn"
FILE = "relattn.json"


def read_metadata(file: Path | str) -> dict[str, Any]:
    """Read the metadata of a file that `relattn export` wrote; the network in it is not loaded.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If the file is of another kind or has no such metadata, or is ONNX and onnx is not installed.
    """
    path = Path(file)
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file.")
    text = from_archive(path) if zipfile.is_zipfile(path) else from_onnx(path)
    if text is None:
        raise InputError(f"{path} has no metadata of relattn: it was not written by `relattn export`.")
    found: dict[str, Any] = json.loads(text)
    return found


def from_archive(path: Path) -> str | None:
    """The metadata text in a file of `torch.export`, a zip archive."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(f"extra/{FILE}")]
        return archive.read(names[0]).decode() if names else None


def from_onnx(path: Path) -> str | None:
    """The metadata text in an ONNX file.

    Raises:
        InputError: If the file cannot be read as ONNX, or onnx is not installed.
    """
    onnx = required("onnx", "export")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's error class is private
        raise InputError(f"{path} can be read neither as ONNX nor as a file of torch.export: {error}") from error
    texts: list[str] = [entry.value for entry in model.metadata_props if entry.key == KEY]
    return texts[0] if texts else None
