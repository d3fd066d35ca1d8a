"""YAML files that override config dataclasses: every key known, every type right, no code run, one line an error.

A config is a frozen dataclass whose fields are bool, int, float, str, Path, Literal, `X | None`, `tuple[X, ...]` or
another config.
"""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import yaml

from seq2seq_asr.errors import UsageError

T = TypeVar("T")

MAX_FILE_BYTES: Final = 2**20
_TAG: Final = "tag:yaml.org,2002:"
# YAML 1.1 reads 010 as 8, 1:30 as 90 and 1e-3 as text: numbers are spelled here as Python spells them.
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT: Final = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_INFINITY: Final = re.compile(r"[-+]?\.(inf|Inf|INF)")
_LINE_BREAK: Final = re.compile("[\x85\u2028\u2029]")
_NAMES: Final = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}


@dataclasses.dataclass(frozen=True)
class Overrides:
    """The checked values of one mapping: field name to value, nested configs as `Overrides` again."""

    values: dict[str, Any]
    place: str
    """Where the mapping stands, as the start of an error message: ``file:line: model.encoder: ``."""


def load_yaml(path: Path, cls: type[T]) -> T:
    """Read a YAML file over the defaults of ``cls``.

    Args:
        path: The file; an empty one changes nothing.
        cls: Config dataclass.

    Raises:
        UsageError: ``file:line: key: why`` for an unreadable file, an unknown or doubled key or a wrong type or value.
    """
    return apply(cls, read_overrides(path, cls), None)


def from_mapping(cls: type[T], mapping: Mapping[str, Any]) -> T:
    """Build a config from plain values, as strictly as from a file; the inverse of `to_mapping`.

    Raises:
        UsageError: ``key: why``.
    """
    try:
        node = yaml.SafeDumper(None).represent_data(dict(mapping))  # type: ignore[arg-type]
        return apply(cls, _Reader(None).overrides(node, cls, ""), None)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"not a mapping of plain values: {_one_line(error)}") from error


def override(config: T, settings: Mapping[str, str]) -> T:
    """A config with some settings replaced; only the result is checked, not what lies in between.

    Args:
        config: The config.
        settings: Dotted name to value as a file would have it, such as ``{"model.encoder.reductions": "[2, 2]"}``.

    Raises:
        UsageError: ``key: why``.
    """
    root = _branch()
    for name, text in settings.items():
        *path, last = name.split(".")
        node = root
        for key in path:
            node = _child(node, key)
        try:
            value = yaml.compose(text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UsageError(f"{name}: {text!r:.60} is not YAML") from error
        node.value.append((yaml.ScalarNode(f"{_TAG}str", last), value or yaml.ScalarNode(f"{_TAG}null", "")))
    return apply(type(config), _Reader(None).overrides(root, type(config), ""), config)


def to_mapping(config: Any) -> dict[str, Any]:
    """A config as plain nested values: dicts, lists, strings, numbers, booleans and None."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def to_yaml(config: Any) -> str:
    """A config as a YAML file that `load_yaml` reads back to an equal config."""
    return yaml.dump(to_mapping(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def read_overrides(path: Path, cls: type) -> Overrides:
    """Read and check a file without building the config yet, so that flags may still change it.

    Raises:
        UsageError: As `load_yaml`, but for values that only the config's own checks refuse.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB, not a config")
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise UsageError(f"{path}:{line}: {problem or 'not YAML'}") from error
    # PyYAML lets a few plain Python errors escape on garbage, such as an escape beyond Unicode.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML ({_one_line(error)})") from error
    if root is None:
        return Overrides({}, f"{path}: ")
    return _Reader(path).overrides(root, cls, "")


def apply(cls: type[T], overrides: Overrides, base: T | None) -> T:
    """Build a config from checked values over ``base``, or over the defaults of ``cls``.

    Raises:
        UsageError: A field without default has no value, or the config's own checks fail.
    """
    arguments: dict[str, Any] = {}
    for name, (kind, field) in config_fields(cls).items():
        default = default_of(field) if base is None else getattr(base, name)
        value = overrides.values.get(name, default)
        if isinstance(value, Overrides):
            value = apply(_config_class(kind), value, default if dataclasses.is_dataclass(default) else None)
        if value is dataclasses.MISSING:
            raise UsageError(f"{overrides.place}{name}: is required")
        arguments[name] = value
    try:
        return cls(**arguments)
    except UsageError as error:
        raise UsageError(f"{overrides.place}{error}") from error


def config_fields(cls: type) -> dict[str, tuple[Any, dataclasses.Field[Any]]]:
    """Fields of a config by name, with their types resolved and without annotations for the command line."""
    hints = typing.get_type_hints(cls)
    return {field.name: (hints[field.name], field) for field in dataclasses.fields(cls) if field.init}


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Default value of a field, or `dataclasses.MISSING`."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


class _Dumper(yaml.SafeDumper):
    """Writes a list on one line, and escapes Unicode line breaks, which PyYAML would write and read back as others."""

    def represent_inline(self, items: list[Any]) -> yaml.Node:
        return self.represent_sequence(f"{_TAG}seq", items, flow_style=True)

    def represent_text(self, text: str) -> yaml.Node:
        return self.represent_scalar(f"{_TAG}str", text, style='"' if _LINE_BREAK.search(text) else None)


_Dumper.add_representer(list, _Dumper.represent_inline)
_Dumper.add_representer(str, _Dumper.represent_text)


class _Reader:
    """Turns YAML nodes into typed values; knows the file only to name it in errors."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def overrides(self, node: yaml.Node, cls: type, key: str) -> Overrides:
        """The settings that a mapping gives to a dataclass; every key must be one of its fields, once."""
        self.check_tag(node, key)
        if not isinstance(node, yaml.MappingNode) or node.tag != f"{_TAG}map":
            raise self.error(node, key, f"expected a mapping of settings, got {_shown(node)}")
        fields = config_fields(cls)
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else _shown(name_node)
            inner = f"{key}.{name}" if key else name
            if name not in fields:
                raise self.error(name_node, inner, f"unknown key{_suggestion(name, list(fields))}")
            if name in values:
                raise self.error(name_node, inner, "given twice")
            values[name] = self.value(value_node, fields[name][0], inner)
        return Overrides(values, self.place(node, key))

    def value(self, node: yaml.Node, kind: Any, key: str) -> Any:
        """A node as a value of the type that its field declares."""
        self.check_tag(node, key)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return self.optional(node, arguments, key)
        if origin is Literal:
            return self.choice(node, arguments, key)
        if origin is tuple:
            return self.items(node, arguments, key)
        if dataclasses.is_dataclass(kind):
            return self.overrides(node, typing.cast(type, kind), key)
        return self.scalar(node, kind, key)

    def optional(self, node: yaml.Node, kinds: Sequence[Any], key: str) -> Any:
        if node.tag == f"{_TAG}null" and types.NoneType in kinds:
            return None
        (kind,) = [kind for kind in kinds if kind is not types.NoneType]
        return self.value(node, kind, key)

    def choice(self, node: yaml.Node, choices: Sequence[Any], key: str) -> Any:
        for choice in choices:
            # By the text as written: YAML 1.1 would read a choice named `off` as a boolean.
            if isinstance(node, yaml.ScalarNode) and node.value == _literal_text(choice):
                return choice
        listed = ", ".join(map(_literal_text, choices))
        raise self.error(node, key, f"expected one of {listed}, got {_shown(node)}")

    def items(self, node: yaml.Node, kinds: Sequence[Any], key: str) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode) or node.tag != f"{_TAG}seq":
            raise self.error(node, key, f"expected a list, got {_shown(node)}")
        if kinds[-1] is Ellipsis:
            kinds = [kinds[0]] * len(node.value)
        if len(kinds) != len(node.value):
            raise self.error(node, key, f"expected a list of {len(kinds)}, got {len(node.value)}")
        return tuple(
            self.value(item, kind, f"{key}[{index}]")
            for index, (item, kind) in enumerate(zip(node.value, kinds, strict=True))
        )

    def scalar(self, node: yaml.Node, kind: type, key: str) -> Any:
        value = _parse_scalar(node, kind) if isinstance(node, yaml.ScalarNode) else None
        if value is None:
            hint = " (write it in quotes)" if kind in (str, Path) and isinstance(node, yaml.ScalarNode) else ""
            raise self.error(node, key, f"expected {_NAMES.get(kind, kind)}, got {_shown(node)}{hint}")
        return value

    def check_tag(self, node: yaml.Node, key: str) -> None:
        if not node.tag.startswith(_TAG) or node.tag.startswith(f"{_TAG}python"):
            raise self.error(node, key, f"tag {node.tag[:60]!r} is not allowed")

    def place(self, node: yaml.Node, key: str) -> str:
        where = f"{self.path}:{node.start_mark.line + 1}: " if self.path and node.start_mark else ""
        return f"{where}{key}: " if key else where

    def error(self, node: yaml.Node, key: str, problem: str) -> UsageError:
        return UsageError(f"{self.place(node, key)}{problem}")


def _branch() -> yaml.MappingNode:
    return yaml.MappingNode(f"{_TAG}map", [])


def _child(node: yaml.MappingNode, name: str) -> yaml.MappingNode:
    """The mapping under this name, made where there is none."""
    for key, value in node.value:
        if key.value == name and isinstance(value, yaml.MappingNode):
            return value
    made = _branch()
    node.value.append((yaml.ScalarNode(f"{_TAG}str", name), made))
    return made


def _parse_scalar(node: yaml.ScalarNode, kind: type) -> Any:
    """The value of a scalar as ``kind``, or None when it is of another type."""
    tag, text = node.tag.removeprefix(_TAG), node.value
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower()) if tag == "bool" else None
    if kind in (str, Path):
        return kind(text) if tag == "str" and (kind is str or "\0" not in text) else None
    # Quotes make a number text; a plain 1e-3 is text to YAML 1.1, but a number here.
    if tag not in ("int", "float", "str") or node.style in ("'", '"', "|", ">"):
        return None
    try:
        if kind is int:
            return int(text) if _INTEGER.fullmatch(text) else None
        if _INFINITY.fullmatch(text):
            return float(text.replace(".", ""))
        number = float(text) if kind is float and _FLOAT.fullmatch(text) else math.inf
    except ValueError:
        return None
    return None if math.isinf(number) else number


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _config_class(kind: Any) -> type:
    """The config class of a field's type, which may be optional."""
    candidates = [kind, *typing.get_args(kind)]
    return next(
        candidate for candidate in candidates if isinstance(candidate, type) and dataclasses.is_dataclass(candidate)
    )


def _literal_text(choice: Any) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _suggestion(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name[:100], names, n=1)
    return f', did you mean "{close[0]}"?' if close else f" (known: {', '.join(names)})"


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "nothing" if node.tag == f"{_TAG}null" else repr(node.value[:40])
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
