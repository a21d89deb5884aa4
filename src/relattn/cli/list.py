"""`relattn list`: names of tasks, attention modules, data sets and backbones."""

import argparse
import fnmatch


def main(arguments: list[str]) -> int:
    """List the names of one kind; only the backbones need timm, and so take seconds."""
    from relattn.cli import catalogue

    parser = argparse.ArgumentParser(prog="relattn list", description="List what can be chosen.")
    parser.add_argument("kind", nargs="?", choices=["tasks", "attentions", "data", "backbones"])
    parser.add_argument("pattern", nargs="?", default="*", help="part of a name, or a pattern such as 'resnet*d'")
    options = parser.parse_args(arguments)
    if options.kind is None:
        print(catalogue.text())  # noqa: T201
        return 0
    if options.kind == "backbones":
        import timm

        from relattn.backbones import CIFAR_NAMES

        names = dict.fromkeys([*CIFAR_NAMES, *timm.list_models()], "")
    else:
        flag = {"tasks": "--task", "attentions": "--attention", "data": "--data"}[options.kind]
        names = catalogue.sections()[flag]
    pattern = options.pattern if any(sign in options.pattern for sign in "*?[") else f"*{options.pattern}*"
    for name, summary in names.items():
        if fnmatch.fnmatch(name.lower(), pattern.lower()):
            print(f"{name:<32} {summary}".rstrip())  # noqa: T201
    return 0
