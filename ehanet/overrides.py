"""YAML as people write it in profiles and in SET="key=value ...", read without surprises."""

from __future__ import annotations

import difflib
import re

import yaml


class _Loader(yaml.SafeLoader):
    """1e-3 is a number; a key given twice is an error, and so is an alias (a few lines of them stand for gigabytes)."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"*{self.peek_event().anchor}: write the value out, aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key!r} is given twice")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def read_yaml(text: str, where: str):
    """The value of ``text``.

    Raises:
        ValueError: no valid YAML; one line that begins with ``where``.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, AttributeError, LookupError) as error:  # a wrong tag, such as !!int x, raises any of them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{where}: no valid YAML ({reason})") from None


def parse_overrides(text: str, known: list[str]) -> dict:
    """"epochs=3 methods=[ehanet, lanet] title='my run'" -> {"epochs": 3, "methods": ["ehanet", "lanet"], "title": "my run"}; values are YAML, and
    a list or mapping goes on to its last bracket.

    Raises:
        ValueError: no ``key=value``, a key given twice, or none of ``known``; a quote or bracket that is not closed.
    """
    changes = {}
    for word in _words(text):
        key, sign, value = word.partition("=")
        if not sign:
            raise ValueError(f"SET: {word!r} is not of the form key=value")
        check_known(key, known, "SET")
        if key in changes:
            raise ValueError(f"SET: {key} is given twice")
        if value.endswith(","):
            raise ValueError(f"SET: {word!r} ends with a comma; separate settings by spaces")
        changes[key] = _value(value, f"SET: {key}")
    return changes


def _value(text: str, where: str):
    """The YAML of ``text``; in quotes, what YAML takes for text or a mapping is the text as it stands, as in title='run #2: ten epochs'."""
    quoted = len(text) > 1 and text[0] in "'\"" and text.find(text[0], 1) == len(text) - 1
    if not quoted:
        return read_yaml(text, where)
    inner = text[1:-1]
    if inner.lstrip()[:1] in ("[", "{"):
        return read_yaml(inner, where)
    try:
        value = yaml.load(inner, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError):
        return inner
    return value if isinstance(value, (bool, int, float, type(None))) and inner else inner


def _words(text: str) -> list[str]:
    """The settings of ``text``: parted by white space outside quotes and brackets. A quote opens at the start of a value or of an entry; elsewhere it is a letter."""
    words, word, quote, depth = [], "", "", 0
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and word.rstrip()[-1:] in ("=", "[", "{", ",", ":"):
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
        if letter.isspace() and not quote and depth <= 0:
            words, word = [*words, word], ""
        else:
            word += letter
    if quote or depth > 0:
        raise ValueError(f"SET: {text!r} cannot be read ({'a quote' if quote else 'a bracket'} is not closed)")
    return [word for word in [*words, word] if word]


def check_known(key, known: list[str], where: str) -> None:
    """Refuse a key that is none of ``known``, with a ``ValueError`` that begins with ``where`` and names the nearest."""
    if key not in known:
        near = difflib.get_close_matches(str(key), known, 1)
        raise ValueError(f"{where}: unknown key {key!r}{f' (did you mean {near[0]}?)' if near else ''}; known: {', '.join(known)}")
