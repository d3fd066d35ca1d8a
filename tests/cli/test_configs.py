"""Every file of configs/ is read as the program reads it, and every setting has a line of help."""

import ast
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.config import FitConfig
from seq2seq_asr.strict_yaml import config_fields, from_mapping, load_yaml, to_mapping

ROOT = Path(__file__).parents[2]
WHERE = ("*.y*ml", "classify/*.y*ml", "recognition/*.y*ml")
CONFIGS = sorted(path for where in WHERE for path in (ROOT / "configs").glob(where))


def test_there_are_configs() -> None:
    assert len(CONFIGS) >= 5


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_read(path: Path) -> None:
    config = parse(FitConfig, ["--config", str(path)], "fit")
    assert config == load_yaml(path, FitConfig) == from_mapping(FitConfig, to_mapping(config))
    assert config.name == path.stem and path.read_text().startswith("# "), "named by its file, and says what it is"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_survives_print_config(path: Path, tmp_path: Path, call: Callable[..., Any]) -> None:
    from seq2seq_asr.fit import main

    printed = call(main, "--config", path, "--print_config")
    assert printed.code == 0
    (tmp_path / "printed.yaml").write_text(printed.out)
    assert load_yaml(tmp_path / "printed.yaml", FitConfig) == load_yaml(path, FitConfig)


def documented(path: Path) -> Iterator[tuple[str, str, str | None]]:
    """Class, field and the docstring below it, of every config dataclass in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
            for statement, below in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    yield node.name, statement.target.id, _text(below)


def _text(node: ast.stmt | None) -> str | None:
    value = node.value if isinstance(node, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def test_every_setting_has_a_one_line_docstring() -> None:
    found = [entry for path in (ROOT / "seq2seq_asr").rglob("*.py") for entry in documented(path)]
    names = {name for name, _, _ in found}
    assert {"FitConfig", "DecodeConfig", "BeamConfig", "EncoderConfig"} <= names and len(found) > 80
    assert [entry for entry in found if not entry[2] or "\n" in entry[2] or not entry[2].endswith(".")] == []


@pytest.mark.parametrize("cls", [FitConfig, DecodeConfig])
def test_every_config_is_frozen_and_has_only_keywords(cls: type) -> None:
    assert cls.__doc__ and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    kinds = {parameter.kind for parameter in inspect.signature(cls).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    for kind, _ in config_fields(cls).values():
        if dataclasses.is_dataclass(kind):
            test_every_config_is_frozen_and_has_only_keywords(kind)  # type: ignore[arg-type]
