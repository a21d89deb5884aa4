"""Keeps keys, tokens and passwords, recognised by their names at any depth, out of all files of a run.

A value under such a name is replaced as a whole, whatever its type: text, bytes, a number, a list, a dictionary.
Exceptions are None, truth values and empty text, which reveal nothing (timm's `class_token: true` is an option of a
network), and `${envvar:NAME}`, with which a sweep refers to a variable.
"""

import re
from argparse import Namespace
from collections.abc import Mapping, Set
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import yaml

HIDDEN = "***"

WORDS = (
    r"(?:api_?keys?|access_?key(?:_id)?|private_?key|secrets?(?:_\w+)?|credentials?|authorization|bearer"
    r"|(?:auth_?|access_?|refresh_?|bearer_?)?token|passwords?|passwd|passphrase|pwd|cookies?)"
)
SECRET = re.compile(rf"(?:^|_){WORDS}$", re.IGNORECASE)
"""Names of secrets, in the form that `name_of` returns."""

VARIABLE = re.compile(r"\$\{envvar:\w+\}")
"""A reference to an environment variable, which does not reveal its value."""

OPTION = re.compile(r"--?([\w.-]+)")
"""An option on a command line whose value is the next word."""

ASSIGNED = re.compile(
    rf"(?<![A-Za-z0-9])([\w.-]*{WORDS})(\s*=\s*)(?!(?:true|false|none|null)\b)(?:'[^'\n]+'|\"[^\"\n]+\"|[^&\s'\"]+)",
    re.IGNORECASE,
)
"""A name and its value inside a text: `--logger.api_key=abc`, `?token=abc&x=1`, `Client(token='abc')`."""

QUOTED = re.compile(
    rf"([\"'][\w.-]*{WORDS}[\"']\s*:\s*)(?!(?:true|false|none|null)\b)(?!['\"]?\$\{{envvar:)"
    r"(?:'[^'\n]+'|\"[^\"\n]+\"|[^\s,}}\]'\"]+)",
    re.IGNORECASE,
)
"""The same in JSON and in Python's dictionaries: `{"api_key": "abc"}`."""

USER_OF_URL = re.compile(r"(?<=://)(?!git@)[^/\s]+(?=@)")
"""The user in an address, with or without a password: `https://user:password@host`, `https://token@host`."""


def hidden(value: Any) -> Any:
    """Replace keys, tokens and passwords in a configuration, or any part of one, by `***`.

    Sets and tuples become lists; paths and bytes with something to hide become text.
    """
    if isinstance(value, Namespace):
        return hidden(vars(value))
    if isinstance(value, Mapping):
        return {key: HIDDEN if is_secret(key, part) else hidden(part) for key, part in value.items()}
    if isinstance(value, Set):
        return [hidden(part) for part in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        options = [OPTION.fullmatch(part) if isinstance(part, str) else None for part in value]
        before = [None, *options][: len(value)]
        return [
            HIDDEN if option is not None and is_secret(option[1], part) else hidden(part)
            for option, part in zip(before, value, strict=True)
        ]
    if isinstance(value, str):
        return hidden_in_text(value)
    if isinstance(value, bytes | bytearray | PurePath):
        text = value.decode("latin1") if isinstance(value, bytes | bytearray) else str(value)
        without = hidden_in_text(text)
        return value if text == without else without
    return value


def hidden_in_text(text: str) -> str:
    """Remove from a text the users in addresses, and values assigned to names of secrets."""
    assigned = ASSIGNED.sub(lambda found: f"{found[1]}{found[2]}{HIDDEN}", text)
    quoted = QUOTED.sub(lambda found: f'{found[1]}"{HIDDEN}"', assigned)
    return USER_OF_URL.sub(HIDDEN, quoted)


def hidden_in_yaml(text: str) -> str:
    """Remove secrets from a configuration as YAML; the text stays the same if there are none.

    A value may span several lines, so the YAML is parsed and written again.
    """
    content = yaml.safe_load(text)
    without = hidden(content)
    return text if without == content else str(yaml.safe_dump(without, sort_keys=False, allow_unicode=True))


def secrets_of(value: Any) -> set[str]:
    """The keys, tokens and passwords of a configuration, or of the words of a command line.

    Args:
        value: A configuration or any part of one; words of a command line may be configurations in text form.
    """
    if isinstance(value, dict):
        here = {str(part) for key, part in value.items() if is_secret(key, part) and not isinstance(part, dict | list)}
        return here.union(*map(secrets_of, value.values()))
    if isinstance(value, list | tuple):
        words = [part for part in value if isinstance(part, str)]
        assigned = [word.partition("=") for word in words if word.startswith("-")]
        here = {text for name, _, text in assigned if is_secret(name, text)}
        here |= {text for name, text in pairwise(words) if name.startswith("-") and is_secret(name, text)}
        return here.union(*map(secrets_of, value))
    if isinstance(value, str) and value.partition("=")[2][:1] in ("{", "["):
        value = value.partition("=")[2]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return secrets_of(yaml.safe_load(value))
        except yaml.YAMLError:  # invalid YAML is reported elsewhere
            return set()
    return set()


def without_secrets(text: str, value: Any) -> str:
    """Replace the secrets of a configuration or command line in a text, such as an error message, by `***`.

    Args:
        text: The text.
        value: As in `secrets_of`.
    """
    for secret in sorted(secrets_of(value), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text


def is_secret(name: Any, value: Any) -> bool:
    """Whether a name is that of a secret and has a value."""
    if value is None or isinstance(value, bool) or value in ("", b""):
        return False
    if isinstance(value, str) and VARIABLE.fullmatch(value):
        return False
    return bool(SECRET.search(name_of(name)))


def name_of(name: Any) -> str:
    """A name with words separated by underscores: `apiKey`, `X-Api-Key` and `logger.api_key` end alike."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).lower())
