"""The identity of a run: the options that define it, its differences from another run, and their short description."""

import copy
from typing import Any

import pytest

from relattn.runs.identity import changes, decisive, identity, label, shown

CONFIG: dict[str, Any] = {
    "seed_everything": 3,
    "trainer": {
        "max_epochs": 6,
        "precision": None,
        "accelerator": "gpu",
        "logger": {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"name": "a"}},
        "callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}],
        "limit_val_batches": 3,
    },
    "model": {
        "class_path": "relattn.tasks.reid.ReID",
        "init_args": {
            "backbone": "resnet8",
            "attention": {"class_path": "relattn.attention.RGA", "init_args": {"relation": True, "size": None}},
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1, "fused": True}},
            "channels_last": True,
        },
    },
    "data": {
        "class_path": "relattn.tasks.reid.Market1501",
        "init_args": {"root": "/data", "workers": 4, "batch_size": 16},
        "dict_kwargs": {"extra": [1, 2]},
    },
    "ckpt_path": "last.ckpt",
}
OPTIONS = {
    "data": "relattn.tasks.reid.Market1501",
    "data.batch_size": 16,
    "data.extra": [1, 2],
    "model": "relattn.tasks.reid.ReID",
    "model.attention": "relattn.attention.RGA",
    "model.attention.relation": True,
    "model.backbone": "resnet8",
    "model.optimizer": "torch.optim.Adam",
    "model.optimizer.lr": 0.1,
    "trainer.max_epochs": 6,
}


def with_option(path: str, value: Any) -> dict[str, Any]:
    """The configuration with one option changed."""
    config = copy.deepcopy(CONFIG)
    *parts, last = path.split(".")
    holder = config
    for part in parts:
        holder = holder.setdefault(part, {})
    holder[last] = value
    return config


def test_options_that_change_a_number_decide_and_no_others() -> None:
    assert decisive(CONFIG) == OPTIONS
    assert decisive({}) == {}
    assert decisive({"model": None, "trainer": {"callbacks": None}}) == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed_everything", 4),
        ("trainer.devices", 2),
        ("trainer.check_val_every_n_epoch", 5),
        ("trainer.logger", None),
        ("data.init_args.root", "/elsewhere"),
        ("data.init_args.workers", 0),
        ("model.init_args.compile_mode", "default"),
        ("model.init_args.recompute_attention", "all"),
        ("model.init_args.optimizer.init_args.fused", False),
        ("model.init_args.attention.init_args.size", None),
    ],
)
def test_seeds_places_and_speed_are_the_same_experiment(path: str, value: Any) -> None:
    assert identity(decisive(with_option(path, value))) == identity(OPTIONS)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("trainer.max_epochs", 7),
        ("trainer.limit_train_batches", 3),
        ("trainer.max_time", "00:01:00:00"),
        ("trainer.precision", "bf16-mixed"),
        ("data.init_args.boxes", "labeled"),
        ("model.init_args.optimizer.init_args.lr", 0.2),
        ("model.init_args.attention.init_args.relation", False),
        ("model.init_args.attention", None),
    ],
)
def test_whatever_changes_training_is_another_experiment(path: str, value: Any) -> None:
    assert identity(decisive(with_option(path, value))) != identity(OPTIONS)


def test_callbacks_decide_if_they_change_training() -> None:
    averaging = {"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging", "init_args": {"swa_lrs": 0.1}}
    options = decisive(with_option("trainer.callbacks", [*CONFIG["trainer"]["callbacks"], averaging]))
    assert changes(OPTIONS, options) == {"trainer.callbacks": (None, [averaging])}


def test_an_identity_does_not_depend_on_the_order_of_options() -> None:
    assert identity(dict(reversed(OPTIONS.items()))) == identity(OPTIONS)
    assert len(identity(OPTIONS)) == 12


def test_changes_name_what_differs_and_leave_arguments_of_other_classes_out() -> None:
    assert changes(OPTIONS, OPTIONS) == {}
    other = {**OPTIONS, "data.batch_size": 8, "model.feature": "paper"}
    del other["trainer.max_epochs"]
    assert changes(OPTIONS, other) == {
        "data.batch_size": (16, 8),
        "model.feature": (None, "paper"),
        "trainer.max_epochs": (6, None),
    }
    plain = {name: value for name, value in OPTIONS.items() if not name.startswith("model.attention")}
    assert changes(OPTIONS, plain) == {"model.attention": ("relattn.attention.RGA", None)}
    sgd = {**OPTIONS, "model.optimizer": "torch.optim.SGD", "model.optimizer.lr": 0.5}
    assert changes(OPTIONS, sgd) == {"model.optimizer": ("torch.optim.Adam", "torch.optim.SGD")}
    own = {**OPTIONS, "model": "my.ReID", "model.backbone": "resnet14t"}
    assert set(changes(OPTIONS, own)) == {"model", "model.backbone"}, "tasks share arguments"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("model.attention.relation", False, "w/o relation"),
        ("model.attention.relation", True, "relation"),
        ("model.attention", None, "w/o attention"),
        ("model.attention.heads", 16, "16 heads"),
        ("model.attention.heads", 1, "1 head"),
        ("trainer.max_epochs", 1, "1 epoch"),
        ("trainer.precision", "bf16-mixed", "precision bf16-mixed"),
        ("model.optimizer.lr", 0.0008, "optimizer.lr 0.0008"),
        ("data.batch_size", 16, "batch_size 16"),
        ("data.image_size", [32, 16], "image_size 32,16"),
        ("model.optimizer", "torch.optim.SGD", "SGD"),
        ("model.attention.norm.kind", "torch.nn.BatchNorm2d", "kind BatchNorm2d"),
        ("model.backbone", "resnet50.tv_in1k", "backbone resnet50.tv_in1k"),
    ],
)
def test_options_are_said_in_a_few_words(name: str, value: Any, text: str) -> None:
    assert shown(name, value) == text


def test_a_label_is_recipes_and_overrides() -> None:
    assert label(["RGA-SC", ""], {"model.attention.heads": 2, "model.flip": False}) == "RGA-SC, 2 heads, w/o flip"
    assert label([], {}) == ""
