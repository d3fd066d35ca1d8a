"""Imports run one way: entry points → commands → recognizer → training → search, evaluation → nn; training → data."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "seq2seq_asr"
FLOOR = {"errors", "vocabulary", "console", "strict_yaml", "command_line", "whole_file", "version", "unspaced"}
MAY_IMPORT = {
    "kernels": set(),
    "cpu": set(),
    "floor": {"floor"},
    "nn": {"kernels", "cpu", "floor"},
    "data": {"floor"},
    "evaluation": {"floor"},
    "search": {"nn", "kernels", "cpu", "floor"},
    "training": {"search", "evaluation", "nn", "kernels", "data", "floor"},
    "config": {"training", "search", "evaluation", "nn", "kernels", "data", "floor"},
    "recognizer": {"config", "training", "search", "evaluation", "nn", "kernels", "data", "floor"},
    "commands": {"recognizer", "config", "training", "search", "evaluation", "nn", "kernels", "data", "floor"},
}


def import_graph(package: Path) -> dict[str, set[str]]:
    """The package's modules, each with those of its own package that it imports, wherever in the file."""
    files = {_module_name(path, package): path for path in package.rglob("*.py")}
    return {name: set(_imports(path, name, files)) for name, path in files.items()}


def _module_name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, name: str, files: dict[str, Path]) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # "from x import y" takes the module x.y where there is one, otherwise a name out of x.
            found += [f"{origin}.{a.name}" if f"{origin}.{a.name}" in files else origin for a in node.names]
    return [module for module in found if module.split(".")[0] == name.split(".")[0] and module != name]


def room(module: str) -> str:
    """The room of a module; what stands at the top and has no rule of its own is an entry point."""
    top = module.split(".")[1] if "." in module else "entry points"
    return "floor" if top in FLOOR else top if top in MAY_IMPORT else "entry points"


def wrong_steps(graph: dict[str, set[str]]) -> list[str]:
    """Imports that the order of the rooms forbids."""
    steps = [(a, b) for a, imported in graph.items() for b in imported]
    return [f"{a} → {b}" for a, b in steps if room(a) in MAY_IMPORT and room(b) not in MAY_IMPORT[room(a)] | {room(a)}]


def test_imports_run_in_the_direction_of_the_house() -> None:
    graph = import_graph(PACKAGE)
    assert len(graph) > 10
    assert wrong_steps(graph) == []


def test_no_import_circle() -> None:
    graph = import_graph(PACKAGE)
    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(graph)  # CycleError names a circle


@pytest.mark.parametrize(
    "line",
    [
        "from p.data.audio import read",
        "import p.data.audio",
        "from ..data import audio",
        "def f():\n    from p.data import audio",
        "from p.training import module",
        "import p.fit",
        "from p import Recognizer",
    ],
)
def test_a_wrong_step_is_seen(line: str, tmp_path: Path) -> None:
    files = {"__init__.py": "", "data/audio.py": "", "training/__init__.py": "", "fit.py": "import p.nn.encoder"}
    graph = _graph_of(tmp_path, files | {"nn/encoder.py": f"from p.errors import E\n{line}", "errors.py": ""})
    assert [step.split(" → ")[0] for step in wrong_steps(graph)] == ["p.nn.encoder"]


def test_a_circle_is_seen(tmp_path: Path) -> None:
    graph = _graph_of(tmp_path, {"nn/a.py": "from .b import x", "nn/b.py": "def f():\n    import p.nn.a"})
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()


def _graph_of(folder: Path, files: dict[str, str]) -> dict[str, set[str]]:
    for name, text in files.items():
        path = folder / "p" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return import_graph(folder / "p")
