"""The first epochs of a run can leave the early stages as they are, and save their backward pass."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from relattn.tasks.classification import CIFAR10, Classification


class Watch(Callback):
    """Notes, epoch by epoch, whether early and late weights have changed, and whether early ones have gradients."""

    def __init__(self) -> None:
        self.changed: list[tuple[bool, bool]] = []
        self.with_gradient: list[bool] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Classification) -> None:
        self.before = weights(pl_module)

    def on_after_backward(self, trainer: Trainer, pl_module: Classification) -> None:
        self.with_gradient.append(pl_module.network.conv1.weight.grad is not None)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Classification) -> None:
        now = weights(pl_module)
        self.changed.append(tuple(not torch.equal(*pair) for pair in zip(self.before, now, strict=True)))


def weights(task: Classification) -> tuple[Tensor, Tensor, Tensor]:
    """A copy of a weight and a statistic of the first stage, and of the classifier's weight."""
    network: Any = task.network
    return network.conv1.weight.detach().clone(), network.bn1.running_mean.clone(), network.fc.weight.detach().clone()


def trained(task: Classification, root: Any, epochs: int) -> Watch:
    watch = Watch()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, limit_train_batches=2, enable_checkpointing=False, callbacks=[watch], **quiet)
    trainer.fit(task, datamodule=CIFAR10(root, batch_size=20))
    return watch


def test_early_stages_rest_and_have_no_backward_pass(cifar: Any) -> None:
    watch = trained(Classification("resnet8", frozen_epochs=1), cifar, 2)
    assert watch.changed == [(False, False, True), (True, True, True)]
    assert watch.with_gradient == [False, False, True, True]


def test_a_run_that_ends_frozen_leaves_all_weights_to_the_next_optimizer(cifar: Any) -> None:
    task = Classification("resnet8", frozen_epochs=5)
    assert trained(task, cifar, 1).changed == [(False, False, True)]
    assert all(parameter.requires_grad for parameter in task.parameters())


def test_weights_that_the_task_itself_has_frozen_stay_so(cifar: Any) -> None:
    class Own(Classification):
        def assemble(self, specification: dict[str, Any]) -> None:
            super().assemble(specification)
            self.network.conv1.requires_grad_(False)

    watch = trained(Own("resnet8", frozen_epochs=1), cifar, 2)
    assert watch.changed == [(False, False, True), (False, True, True)]


def test_a_hook_of_the_task_s_own_is_called_when_training_ends_and_not_before(cifar: Any) -> None:
    class Own(Classification):
        ends = 0

        def on_train_end(self) -> None:
            self.ends += 1

    task = Own("resnet8", frozen_epochs=1)
    assert trained(task, cifar, 2).changed == [(False, False, True), (True, True, True)]
    assert task.ends == 1
