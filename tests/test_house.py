"""The house: a room imports only rooms below it, heavy libraries stay where they are wanted, and the tools agree."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from bench.choice import choices
from bench.study.sweep.settings import contracts
from tests.commands import TORCHRUN

ROOT = Path(__file__).parents[1]
ROOMS = [
    "__main__",
    "study",
    "engine",
    "record",
    "config",
    "task",
    "rule",
    "plan",
    "choice",
    "origin",
    "system",
    "keys",
]
"""Folders of the package, and its two modules, from top to bottom."""
FLOORS = ["verbs", "tune", "compare", "predict", "sweep", "launcher", "tracking", "report"]
"""The folders of ``study``, likewise."""
SOURCES = sorted((ROOT / "bench").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
STUDY_ALONE = {
    "hydra",
    "omegaconf",
    "mlflow",
    "optuna",
    "pandas",
    "matplotlib",
    "sqlalchemy",
    "tabulate",
    "jinja2",
    "plotly",
}
WITHOUT_TORCH = ("plan", "config", "choice", "origin", "keys")
HEAVY = {*STUDY_ALONE, "sklearn", "torchvision", "PIL"}
TORCHRUN_SAYS = {*TORCHRUN}


Graph = dict[str, set[str]]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in SOURCES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports anywhere, inside functions and for type checking too; ``a.b`` where
    ``from a import b`` takes a module, and ``a`` where it takes what is in one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide their room"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


OF_TORCHS_KIND = "bench.rule.by_parameter"
"""What some choices make, and their keys do without."""
CHOICES = [
    name
    for name in MODULES
    if name.startswith(("bench.rule.", "bench.task.data.", "bench.task.model.")) and name != OF_TORCHS_KIND
]
"""Keys are importable without what they are for."""

IMPORTS = {name: set(imports(path)) for name, path in MODULES.items()}


def violations(room: str, module: str) -> bool:
    """Whether a file in ``room`` may not import ``module``."""
    parts = module.split(".")
    return parts[0] == "bench" and len(parts) > 1 and ROOMS.index(parts[1]) < ROOMS.index(room)


def climbs(module: str, other: str) -> bool:
    """Whether a module of ``study`` imports one of a floor above its own."""
    floors = [name.split(".")[2] for name in (module, other) if name.startswith("bench.study.")]
    return len(floors) == 2 and FLOORS.index(floors[1]) < FLOORS.index(floors[0])


def graph(name: Callable[[str], str]) -> Graph:
    """What imports what, of the suite's own modules, under the names that they are counted by."""
    edges = [(name(importer), name(module)) for importer, found in IMPORTS.items() for module in found & {*MODULES}]
    return {each: {module for importer, module in edges if importer == each != module} for each, _ in edges}


def circle(edges: Graph) -> list[str]:
    """The names on some circle, in its order; nothing if there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def folder_of(module: str) -> str:
    """The folder that a module of a room lies in; a module that lies in the room itself is a floor of its own."""
    parts = module.split(".")
    return ".".join(parts[:3])


def test_every_room_and_floor_is_known() -> None:
    assert {room_of(name) for name in MODULES} - {"bench"} == set(ROOMS)
    assert {name.split(".")[2] for name in MODULES if name.startswith("bench.study.")} == set(FLOORS)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    name = name_of(path)
    if name == "bench":
        assert not IMPORTS[name]
    assert [module for module in IMPORTS[name] if violations(room_of(name), module) or climbs(name, module)] == []


def test_there_is_no_circle() -> None:
    """Files have none anywhere, nor folders in a room: neither lazy imports nor those for type checking hide one."""
    assert circle(graph(lambda module: module)) == []
    assert circle(graph(folder_of)) == []


NAMED_ALIKE = {"contract", "__init__"}
"""Names of files that every group of choices has, or every folder."""


def test_no_name_of_a_file_stands_twice() -> None:
    """A verb is named as what it does, a choice as what is typed; a method's worker lies in a file named as it."""
    typed = {path for path in SOURCES if path.parent.name == "verbs" and path.stem not in NAMED_ALIKE} | {
        Path(str(inspect.getsourcefile(kind))) for contract in contracts() for kind in choices(contract).values()
    }
    files = Counter(path.stem for path in SOURCES if path not in typed and path.stem not in NAMED_ALIKE)
    assert [name for name, count in files.items() if count > 1] == []
    others = {path.stem for path in SOURCES if path not in typed and path.parent.parts[-2:] != ("engine", "method")}
    assert others & {path.stem for path in typed} == set()


def test_no_class_has_the_name_of_another() -> None:
    nodes = (node for path in SOURCES for node in ast.parse(path.read_text()).body)
    classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    assert [name for name, count in Counter(classes).items() if count > 1 and not name.startswith("_")] == []


OF_ITS_FILE = {"main", "options", "report", "draw", "walk"}
"""Functions of one meaning in several files: of every verb, of each picture and of each walk of a clock."""


def test_no_public_function_has_the_name_of_another() -> None:
    nodes = (node for path in SOURCES for node in ast.parse(path.read_text()).body)
    functions = Counter(node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name[0] != "_")
    assert {name for name, count in functions.items() if count > 1} == OF_ITS_FILE


def test_the_layering_tests_can_fail() -> None:
    assert violations("plan", "bench.engine.method.decoupled")
    assert violations("config", "bench.record.folder")
    assert violations("task", "bench.config")
    assert not violations("engine", "bench.plan.grid")
    assert not violations("engine", "bench.engine.method.decoupled")
    assert not violations("study", "bench.config.RunConfig")
    assert climbs("bench.study.report.page", "bench.study.verbs.report")
    assert not climbs("bench.study.verbs.report", "bench.study.report.page")
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    room, modules = room_of(name_of(path)), set(imports(path))
    tops = {module.partition(".")[0] for module in modules}
    if room != "study":
        assert not tops & STUDY_ALONE
    if room in WITHOUT_TORCH:
        assert "torch" not in tops
    if room == "task":
        assert not any(module.startswith("torch.distributed") for module in modules)


def environment_reads(path: Path) -> set[str]:
    """The environment variables that a file looks up, "?" for anything else that it does with the environment."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    lookups = {
        id(node.func.value): str(node.args[0].value)
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    return {lookups.get(id(node), "?") for node in nodes if named(node) in ("environ", "getenv", "putenv")}


def docstrings(source: str) -> Iterator[str]:
    """Every docstring of a module, its classes, functions and attributes: each string that stands alone in a line."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield inspect.cleandoc(text)


def says_nothing(docstring: str) -> bool:
    """Whether a docstring begins without its subject ("Of a stage."), or has no sentence beside its sections."""
    return docstring.startswith(("Of ", "Raises:", "Returns:", "Args:")) or not docstring.strip()


def attributes(path: Path) -> list[ast.Attribute]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]


def named(node: ast.AST) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name):
            return name
    return ""


def test_arguments_and_environment_are_read_at_the_edges() -> None:
    """The command line's words in __main__, the ranks in the engine's seat; below it only where the cache lies,
    what a call hands on, and what variables are put back to."""
    allowed = {
        "bench.engine.seat": TORCHRUN_SAYS,
        "bench.task.cache": {"XDG_CACHE_HOME"},
    }
    allowed |= {"bench.system.call": {"?"}, "bench.system.variables": {"?"}}
    for path in SOURCES:
        name = name_of(path)
        if name != "bench.__main__":
            assert "argv" not in {node.attr for node in attributes(path)}, name
        if room_of(name) != "study":
            assert environment_reads(path) == allowed.get(name, set()), name


def test_every_docstring_has_a_subject() -> None:
    bare = {path: [text for text in docstrings(path.read_text()) if says_nothing(text)] for path in SOURCES + TESTS}
    assert {name_of(path): texts for path, texts in bare.items() if texts} == {}


def test_the_test_of_docstrings_can_fail() -> None:
    bare = ['"""Of it."""', "A = 1", '"""Of 2."""', "class B:", '    """One."""', "    def c():"]
    bare += ['        """', "        Raises:", "            D: no.", '        """']
    found = [text for text in docstrings("\n".join(bare)) if says_nothing(text)]
    assert found == ["Of it.", "Of 2.", "Raises:\n    D: no."]


def loaded_by(modules: list[str]) -> set[str]:
    """Top-level packages that a fresh process holds after these imports."""
    lines = ["import json, sys", *(f"import {module}" for module in modules), "print(json.dumps(list(sys.modules)))"]
    script = "\n".join(lines)
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert answer.stderr == ""
    return {module.partition(".")[0] for module in json.loads(answer.stdout)}


def test_arithmetic_and_configuration_load_no_torch() -> None:
    """The command line answers a wrong configuration before torch is there."""
    modules = [name_of(path) for path in SOURCES if room_of(name_of(path)) in WITHOUT_TORCH] + CHOICES
    assert len(modules) >= 6
    loaded = loaded_by([*modules, "bench.__main__", "bench.study.verbs.run"])
    assert "numpy" in loaded
    assert not loaded & {"torch", *HEAVY}


def test_a_rank_loads_nothing_heavy() -> None:
    loaded = loaded_by(["bench.engine.rank", "bench.engine.train", "bench.task.cache", *CHOICES])
    assert "torch" in loaded
    assert not loaded & HEAVY
