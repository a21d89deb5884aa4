"""The catalogue of bad inputs: command lines, and the message that each must produce.

A case is a command line of `relattn`, with `{cifar}`, `{people}`, `{streets}` and `{faces}` for the generated sets, and
`{C}`, `{R}`, `{S}` and `{F}` for a small run of each task on them. `spoil` names a function of `spoilt_inputs` that
creates the files that the line names, in the folder in which the case runs.
"""

from typing import NamedTuple

from small_runs import small

RUNS = {
    name: f"{' '.join(small(task, task))} --data.root {{{root}}}"
    for name, task, root in (
        ("C", "classification", "cifar"),
        ("R", "reid", "people"),
        ("S", "segmentation", "streets"),
        ("F", "face", "faces"),
    )
}


class Case(NamedTuple):
    """A bad input."""

    name: str
    line: str
    message: str
    """A regular expression for the message; `.` also matches line ends."""
    spoil: str = ""


CONFIGURATION = (
    Case("unknown command", "fitt", r"no command 'fitt'. Closest: fit"),
    Case("no task", "fit --backbone resnet8", r"Choose what to run: --task classification"),
    Case("unknown task", "fit --task clasification", r"no task 'clasification'. Closest: classification"),
    Case("unknown data set", "{C} --data CIFAR1000", r"no data set 'CIFAR1000'. Closest: CIFAR100"),
    Case("unknown attention", "{C} --attention rga-sc", r"no attention 'rga-sc'. Closest: rga_sc"),
    Case("unknown backbone", "{C} --backbone resnt20", r"resnt20.*Closest: resnet20"),
    Case("unknown overlay", "{C} --trainer gpu", r"no trainer 'gpu'. Closest: gpu_fast"),
    Case("unknown logger", "{C} --logger wanbd", r"no logger 'wanbd'. Closest: wandb"),
    Case("unknown figure", "{C} --figures mask", r"no figure 'mask'"),
    Case("unknown option", "{C} --batch_size 3", r"no option --batch_size. Closest: --data.batch_size"),
    Case(
        "misspelt data option", "{C} --data.batchsize 3", r"--data.batchsize of .*CIFAR10. Closest: --data.batch_size"
    ),
    Case("misspelt model option", "{C} --model.optimizr.lr 1", r"--model.optimizr.lr of .* Closest: --model.optimizer"),
    Case("option of another data set", "{C} --data.image_size 32", r"no option --data.image_size of .*CIFAR10"),
    Case(
        "misspelt attention option",
        "{C} --attention rga_sc --model.attention.embeding_ratio 2",
        r"no option --model.attention.embeding_ratio of .*RGA. Closest: --model.attention.embedding_ratio",
    ),
    Case("stray word", "{C} extra", r"'extra' is not an option"),
    Case("flag without value", "{C} --data", r"--data needs a value"),
    Case("text for a number", "{C} --data.batch_size many", r"--data.batch_size is 'many', expected a whole number"),
    Case("fraction for a whole number", "{C} --data.batch_size 1.5", r"batch_size is '1.5', expected a whole number"),
    Case("text for a list", "{C} --model.stages abc", r"--model.stages is 'abc', expected a list such as"),
    Case("number for a pair", "{R} --data.image_size 32", r"--data.image_size is '32', expected a list"),
    Case("none of the choices", "{C} --model.compile_mode fast", r"compile_mode is 'fast', expected default, reduce-o"),
    Case("none of two choices", "{R} --model.last_stride 3", r"--model.last_stride is '3', expected 1 or 2"),
    Case(
        "unknown schedule",
        "{C} --model.schedule relattn.tasks.schedules.Cosine",
        r"Cosine', expected the path of a class",
    ),
    Case("unknown optimizer", "{C} --model.optimizer torch.optim.SDG", r"optimizer is 'torch.optim.SDG', expected the"),
    Case("unknown module", "{C} --attention nothing.Here", r"--model.attention is 'nothing.Here'.*No module named"),
    Case("class of another kind", "{C} --attention torch.nn.Linear", r"--model.attention is 'torch.nn.Linear', exp"),
    Case("missing argument", "{S} --data Folders", r"--data.classes is not given, and .*Folders needs it"),
    Case(
        "data of another task",
        "{R} --data CIFAR10",
        r"CIFAR10 does not fit ReID, which is trained on .*Choose one of CUHK03, DukeMTMC",
    ),
    Case(
        "task of other data",
        "{F} --data Cityscapes",
        r"Cityscapes does not fit Face, which is trained on .*Choose one of FaceFolders, Faces",
    ),
    Case("missing configuration", "fit --config nowhere.yaml", r"--config .*nowhere.yaml: there is no such file"),
    Case("missing recipe", "fit --task nowhere.yaml", r"--task nowhere.yaml: no such file"),
    Case("empty configuration", "fit --config bad.yaml", r"bad.yaml is empty, expected options", "empty_yaml"),
    Case("broken configuration", "fit --config bad.yaml", r"bad.yaml cannot be read as YAML: .*line 1", "broken_yaml"),
    Case("configuration of a list", "fit --config bad.yaml", r"bad.yaml is a list, expected options", "list_yaml"),
    Case("configuration in Latin-1", "fit --config bad.yaml", r"bad.yaml cannot be read as YAML", "latin_yaml"),
    Case("misspelt in a file", "{C} --config bad.yaml", r"no option --trainer.max_epoch. Clos", "misspelt_yaml"),
    Case("attention at no stage", "{C} --attention rga_cs --model.stages [4]", r"stages 1 to 3"),
    Case("name that is none", "{C} --name ..", r"--name is '..', expected the name of a folder"),
    Case(
        "runs in a file", "{C} --runs file.txt", r"file.txt/.* cannot be made: Not a directory. Choose --runs", "text"
    ),
    Case(
        "margin without one", "{F} --model.loss relattn.heads.Softmax --model.loss.m 0.1", r"no option --model.loss.m"
    ),
)

NUMBERS = (
    Case("infinite learning rate", "{C} --model.optimizer.lr .inf", r"--model.optimizer.lr is inf, expected a finite"),
    Case("learning rate NaN", "{C} --model.optimizer.lr .nan", r"--model.optimizer.lr is nan, expected a finite"),
    Case(
        "learning rate in words",
        "{C} --model.optimizer.lr inf",
        r"--model.optimizer.lr is 'inf', expected a finite number",
    ),
    Case("negative learning rate", "{C} --model.optimizer.lr -0.1", r"torch.optim.SGD: Invalid learning rate: -0.1"),
    Case("negative momentum", "{C} --model.optimizer.momentum -1", r"torch.optim.SGD: Invalid momentum value: -1"),
    Case("negative decay", "{C} --model.optimizer.weight_decay -1", r"Invalid weight_decay value: -1"),
    Case(
        "loss NaN", "{C} --model.optimizer.lr 1e30", r"diverged: the loss is not a number at step 2 of epoch 1. The le"
    ),
    Case("infinite scale", "{F} --model.loss.s .inf", r"--model.loss.s is inf, expected a finite number"),
    Case("no scale", "{F} --model.loss.s 0", r"s is 0.0, expected a positive scale"),
    Case("batch of none", "{C} --data.batch_size 0", r"CIFAR10: batch_size is 0, expected at least 1"),
    Case("no epochs", "{C} --trainer.max_epochs 0", r"max_epochs is 0: nothing would be trained"),
    Case("negative epochs", "{C} --trainer.max_epochs -5", r"max_epochs.*non-negative.*-5"),
    Case("no steps", "{C} --trainer.max_steps 0", r"max_steps is 0: nothing would be trained"),
    Case(
        "validation never", "{C} --trainer.check_val_every_n_epoch 0", r"check_val_every_n_epoch is 0, expected at lea"
    ),
    Case(
        "no accumulation", "{C} --trainer.accumulate_grad_batches 0", r"accumulate_grad_batches is 0, expected at lea"
    ),
    Case("negative clipping", "{C} --trainer.gradient_clip_val -1", r"gradient_clip_val is -1.*expected 0 or more"),
    Case("negative seed", "{C} --seed_everything -1", r"--seed_everything is -1, expected 0 to 4294967295"),
    Case("negative workers", "{R} --data.workers -1", r"Market1501: workers is -1, expected at least 0"),
    Case("image of no size", "{R} --data.image_size [0,16]", r"image_size is 0, expected at least 16"),
    Case("window of no size", "{S} --data.crop [8,8]", r"crop is 8, expected at least 16"),
    Case("smoothing of 2", "{R} --model.label_smoothing 2", r"label_smoothing is 2.0, expected from 0 to below 1"),
    Case("negative weight", "{R} --model.loss_weight -1", r"loss_weight is -1.0, expected 0 or more"),
    Case("negative pictures", "{R} --model.pictures -1", r"pictures is -1, expected 0 or more"),
    Case("no probability", "{R} --data.augmentation.erasing 2", r"erasing is 2.0, expected a probability"),
    Case("dropout of 2", "{F} --model.dropout 2", r"dropout is 2.0, expected a probability"),
    Case("no dimensions", "{F} --model.dimensions 0", r"dimensions 0, expected at least 1"),
    Case("head of no width", "{S} --model.width 0", r"width is 0, expected at least 1"),
    Case("scales of nothing", "{S} --model.inference.scales [0]", r"scales is .*expected at least one, all above 0"),
    Case(
        "milestone after the end", "{C} --model.schedule.milestones [2.0]", r"milestones are \[2.0\], expected between"
    ),
    Case("negative gamma", "{C} --model.schedule.gamma -1", r"gamma is -1.0.*expected none below 0"),
    Case("ratio of nothing", "{C} --attention rga_sc --model.attention.embedding_ratio 0", r"embedding_ratio is 0"),
    Case("depth that there is not", "{C} --backbone resnet21", r"6n \+ 2"),
)

DEVICES = (
    Case("more GPUs than there are", "{C} --gpus 99", r"GPUs.*(none is visible|there are \d)"),
    Case("GPUs in words", "{C} --gpus x", r"--gpus is 'x', expected a count such as 2"),
    Case("no device", "{C} --trainer.devices 0", r"devices='0'"),
    Case("unknown accelerator", "{C} --trainer.accelerator gpuu", r"accelerator='gpuu'.*cpu"),
    Case("unknown strategy", "{C} --trainer.strategy ddpp", r"strategy='ddpp'"),
    Case("unknown precision", "{C} --trainer.precision 12", r"precision is '12', expected .*bf16-mixed"),
)
