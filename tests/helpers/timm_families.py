"""One small network of every timm family, and what each task can do with it.

A family is a timm module (`timm.models.<family>`). `attempt` builds a task's network and makes one training step with
it. `benchmarks/families.py` makes the documentation's table with it, and the tests check that table.
"""

import re
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
import yaml

from relattn.attention import RGA
from relattn.errors import InputError
from relattn.tasks.base import Task

FAMILIES = {
    "beit": "beit_base_patch16_224",
    "byoanet": "botnet26t_256",
    "byobnet": "mobileone_s0",
    "cait": "cait_xxs24_224",
    "coat": "coat_lite_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_1024_20_ks9_p14",
    "convnext": "convnext_atto",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_distilled_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "mobilenetv2_050",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_a",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "hieradet_small",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "mambaout_femto",
    "maxxvit": "coatnet_pico_rw_224",
    "metaformer": "poolformer_s12",
    "mlp_mixer": "mixer_s32_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "nf_regnet_b0",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnety_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9",
    "res2net": "res2net50_48w_2s",
    "resnest": "resnest14d",
    "resnet": "resnet18",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_ns_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "vit_tiny_patch16_224",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "vit_relpos_small_patch16_224",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41",
    "xcit": "xcit_nano_12_p16_224",
}
"""A small network of each family of timm 1.0.31."""

TASKS = ("classification", "reid", "segmentation", "face")

SIZES = {"classification": (64, 64), "reid": (128, 64), "segmentation": (97, 97), "face": (112, 112)}
"""Height and width of each task's images; segmentation has crops of 8n + 1 pixels, as on Cityscapes."""

CLASSES = 5


@dataclass(frozen=True)
class Attempt:
    """The outcome of building and training a network for a task."""

    trained: bool
    reason: str = ""
    """The reason if it failed; begins with `InputError: ` if the suite itself refused."""
    advice: tuple[str, ...] = ()
    """Options that were refused at first, with an error that named the alternative."""


def task_for(name: str, backbone: str, *, attention: bool, **arguments: Any) -> Task:
    """A task whose network is not built yet."""
    from relattn.tasks.classification import Classification
    from relattn.tasks.face import Face
    from relattn.tasks.reid import ReID
    from relattn.tasks.segmentation import Segmentation

    module = partial(RGA, mode="spatial_channel") if attention else None
    if name == "classification":
        return Classification(backbone, attention=module, **arguments)
    if name == "reid":
        return ReID(backbone, attention=module, **arguments)
    if name == "segmentation":
        return Segmentation(backbone, attention=module, attention_at="backbone", width=16, **arguments)
    return Face(backbone, attention=module, dimensions=32, **arguments)


def specification(task: str) -> dict[str, Any]:
    """A specification as the task's data would give it."""
    names = [str(number) for number in range(CLASSES)]
    common = {"num_classes": CLASSES, "image_size": SIZES[task], "class_names": names}
    return {**common, "feature": "before_norm", "class_weights": None, "palette": [[0, 0, 0]] * CLASSES}


def step(task: Task, device: str) -> None:
    """Make one training step without an optimizer, on random images; without computation, only the forward pass.

    Raises:
        ValueError: If the loss is not finite, or a trained weight has no gradient, which distributed runs refuse.
    """
    batch = 4
    task.train()
    height, width = task.specification["image_size"]
    images = torch.randn(batch, 3, height, width, device=device)
    if device == "meta":
        with mock.patch.object(torch, "autocast", return_value=nullcontext()):  # which meta tensors do not support
            features = task.network(images)
            if task.name in ("reid", "face"):
                task.head(features)
        return
    task.log_training = lambda *_: None  # type: ignore[method-assign]
    shape = (batch, height, width) if task.name == "segmentation" else (batch,)
    labels = torch.zeros(shape, dtype=torch.int64)
    labels.view(-1)[::2] = 1
    loss = task.training_step({"image": images, "label": labels, "index": torch.arange(batch)}, 0)
    loss.backward()
    if not loss.isfinite():
        raise ValueError(f"the loss is {loss.item()}")
    trained = {name: weight for name, weight in task.named_parameters() if weight.requires_grad}
    if without := [name for name, weight in trained.items() if weight.grad is None]:
        raise ValueError(f"weights have no gradient: {', '.join(without[:3])}")
    if any(weight.grad is None for attention in task.attentions for weight in attention.parameters()):
        raise ValueError("attention has weights that are not trained")


ADVICE = re.compile(r"--model\.(?P<option>last_stride|stem|first_dilation|stages) (?P<value>\[[\d,]+\]|\w+)")
SIZE = re.compile(r"image_size \[(?P<height>\d+),(?P<width>\d+)\]")


def attempt(task: str, backbone: str, *, attention: bool, device: str = "meta") -> Attempt:
    """Build a task's network and make one training step with it; the advice of refusals is followed.

    Args:
        task: One of `TASKS`.
        backbone: A network of timm.
        attention: Whether RGA-SC follows each of its stages.
        device: On `meta`, the step is a forward pass in which only shapes are computed.
    """
    options: dict[str, Any] = {}
    said = specification(task)
    advice: list[str] = []
    while True:
        try:
            with warnings.catch_warnings(), torch.device(device):
                warnings.simplefilter("ignore")
                module = task_for(task, backbone, attention=attention, **options)
                module.assemble(said)
                step(module, device)
            return Attempt(True, advice=tuple(advice))
        except InputError as error:
            option, size = ADVICE.search(str(error)), SIZE.search(str(error))
            if option and option["option"] not in options:
                options[option["option"]] = yaml.safe_load(option["value"])
                advice.append(f"{option['option']} {option['value']}")
            elif size and "".join(advice).count("size") < 2:
                said["image_size"] = (int(size["height"]), int(size["width"]))
                advice.append(f"image size {size['height']}x{size['width']}")
            else:
                return Attempt(False, f"InputError: {error}", tuple(advice))
        except Exception as error:  # the table reports whatever a network raises
            return Attempt(False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", tuple(advice))
