"""Paths in a configuration mean the same in any working directory."""

from argparse import Namespace
from pathlib import Path

from relattn.cli.lightning.paths import with_absolute_paths


class Section(Namespace):
    """A part of a configuration, as jsonargparse makes it."""

    def get(self, name: str) -> object:
        return getattr(self, name, None)


def test_paths_in_lists_become_absolute_and_names_of_classes_stay() -> None:
    for folder in ("packs/casia", "cat"):
        Path(folder).mkdir(parents=True)
    arguments = Namespace(
        root="data", train=["packs/casia", "packs/none"], classes=["cat", "dog"], image_size=[112, 96]
    )
    data = Section(class_path="relattn.tasks.face.Faces", init_args=arguments)
    model = Section(class_path="relattn.tasks.face.Face", init_args=Namespace(stages=[1, 2], pretrained=False))
    with_absolute_paths(Namespace(data=data, model=model))
    assert arguments.root == str(Path("data").absolute())
    assert arguments.train == [str(Path("packs/casia").absolute()), "packs/none"]
    assert (arguments.classes, arguments.image_size) == (["cat", "dog"], [112, 96])
