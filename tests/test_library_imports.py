"""The library needs only torch, torchvision, timm and NumPy; code that needs more names the extra that installs it."""

import subprocess
import sys

ROOMS = "attention backbones heads losses metrics figures costs export released synthetic"
MODULES = "preprocessing errors extras cores"
HIDDEN = "lightning jsonargparse torchmetrics albumentations wandb h5py scipy cv2 rich matplotlib "
HIDDEN += "onnx onnxscript onnxruntime"

PROGRAM = f'''
import importlib, pkgutil, sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    """Finds none of the packages of the extras, as if they were not installed."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {HIDDEN.split()} else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]

import relattn.attention
print("early", sorted({{"timm", "torchvision"}} & sys.modules.keys()))  # each takes seconds

for room in {ROOMS.split()}:
    package = importlib.import_module(f"relattn.{{room}}")
    for module in pkgutil.walk_packages(package.__path__, f"relattn.{{room}}."):
        importlib.import_module(module.name)
for module in {MODULES.split()}:
    importlib.import_module(f"relattn.{{module}}")
print("imported", sum(name.startswith("relattn.") for name in sys.modules))

import tempfile
from pathlib import Path

import numpy as np
import torch

from relattn.attention import RGA
from relattn.backbones import build
from relattn.errors import InputError
from relattn.export import export
from relattn.figures.masks import masks_figure
from relattn.metrics import ReRanked
from relattn.preprocessing import Preprocessing
from relattn.synthetic.people.layouts import write_market1501

attended = RGA(8, size=(4, 2))(torch.randn(2, 8, 4, 2))
features = build("test_resnet", attention=RGA, size=(64, 32))(torch.randn(2, 3, 64, 32))
print("computed", tuple(attended.shape), tuple(features.shape))

pixels = np.zeros((8, 4, 3), np.uint8)
about = {{"input": {{"size": [8, 8]}}, "output": {{"name": "logits", "layout": "NC"}}}}
folder = Path(tempfile.mkdtemp())
calls = {{
    "cv2": lambda: Preprocessing((4, 4))(pixels),
    "cv2, for another module": lambda: write_market1501(folder, train_identities=1, test_identities=2),
    "scipy": lambda: ReRanked(torch.randn(3, 4), torch.randn(5, 4)),
    "matplotlib": lambda: masks_figure([pixels], {{"a": {{"attention.stage1": torch.rand(1, 1, 4, 2)}}}}),
    "onnx": lambda: export(torch.nn.Identity(), folder / "a.onnx", format="onnx", metadata=about),
}}
for package, call in calls.items():
    try:
        call()
    except InputError as error:
        print("refused", package.partition(",")[0], str(error))
'''


def test_every_module_of_the_library_imports_without_the_packages_of_the_extras() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    early, imported, computed, *refused = done.stdout.splitlines()
    assert early == "early []"
    assert int(imported.split()[1]) > 80
    assert computed == "computed (2, 8, 4, 2) (2, 96)"
    for line, (package, extra) in zip(
        refused,
        [("cv2", "suite"), ("cv2", "suite"), ("scipy", "suite"), ("matplotlib", "suite"), ("onnx", "export")],
        strict=True,
    ):
        assert line.startswith(f"refused {package} This needs the package {package}, which cannot be imported"), line
        assert f"pip install '.[{extra}]'" in line
