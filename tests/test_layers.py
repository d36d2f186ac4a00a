"""The house: six floors, imports only downward, and what each room does without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "latentcy"
FLOORS = (
    ("core",),
    ("pipelines", "stats"),
    ("measure", "store", "remote"),
    ("gates", "report", "faults", "miniature"),
    ("suite", "commands", "studies", "assertions"),
    ("__main__", "fixtures", "perf_tests"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS, 1) for room in rooms}
# Rooms that a laptop can open: a report is built and a history read without torch.
WITHOUT_TORCH = ("core", "stats", "report", "store.history", "commands")

KEPT_FOR_USERS = ("latentcy.generate", "latentcy.generate.variants")  # an old import path

MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for folder in ("latentcy", "fixtures", "perf_tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
}
for _module in KEPT_FOR_USERS:
    del MODULES[_module]


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "latentcy" and len(parts) > 1 else parts[0]


def imports(module: str) -> Iterator[tuple[str, str, int]]:
    """(module, name, line) of each import; a whole module has the name ""."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield one.name, "", node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module:
            # The plugin has two names, "fixtures" here and "latentcy.fixtures" when installed.
            assert node.level <= module.startswith("fixtures"), f"{module}:{node.lineno}"
            home = f"fixtures.{node.module}" if node.level else node.module
            for one in node.names:
                whole = f"{home}.{one.name}"
                yield (
                    (whole if whole in MODULES else home),
                    ("" if whole in MODULES else one.name),
                    node.lineno,
                )


def own(module: str) -> list[tuple[str, str, int]]:
    return [each for each in imports(module) if each[0] in MODULES and each[0] != "latentcy"]


def reached(module: str) -> Iterator[tuple[str, int]]:
    """(name, line) of each attribute of another module of ours that is used."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    modules = {
        one.asname or one.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for one in node.names
        if f"{node.module}.{one.name}" in MODULES
    }
    for node in ast.walk(tree):
        owner = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id in modules:
            yield node.attr, node.lineno


def upward(room: str, imported: str) -> bool:
    """Whether an import leaves its room for one that does not lie below it."""
    return room != imported and FLOOR[imported] >= FLOOR[room]


def test_every_room_stands_on_a_floor():
    assert {room_of(module) for module in MODULES} - {"latentcy"} == set(FLOOR)
    assert len(FLOORS) == 6 and len(set(FLOOR) - {"__main__", "fixtures", "perf_tests"}) <= 14


@pytest.mark.parametrize("module", [each for each in MODULES if each != "latentcy"])
def test_imports_go_down(module):
    room = room_of(module)
    wrong = [f"line {line}: {name}" for name, _, line in own(module) if upward(room, room_of(name))]
    assert not wrong, f"{module}, of floor {FLOOR[room]}, imports {', '.join(wrong)}"


@pytest.mark.parametrize(
    ("room", "imported", "wrong"),
    [
        ("core", "gates", True),
        ("measure", "store", True),
        ("gates", "suite", True),
        ("gates", "gates", False),
        ("suite", "core", False),
        ("fixtures", "perf_tests", True),
    ],
)
def test_an_arrow_that_does_not_go_down_is_seen(room, imported, wrong):
    assert upward(room, imported) is wrong


def test_no_module_imports_itself_by_way_of_others():
    below = {module: {name for name, _, _ in own(module)} for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for each in sorted(below[module]):
                visit(each, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_no_private_name_crosses_a_module():
    wrong = [
        f"{module}:{line} {name}"
        for module in MODULES
        for name, line in [*((name, line) for _, name, line in own(module)), *reached(module)]
        if name.startswith("_") and not name.startswith("__")
    ]
    assert not wrong, wrong


def test_the_engine_never_imports_pytest():
    engine = [module for module in MODULES if module.startswith("latentcy")]
    wrong = [
        f"{module}:{line}"
        for module in engine
        for name, _, line in imports(module)
        if name.split(".")[0] in ("pytest", "_pytest", "pytest_benchmark", "fixtures")
        or name.startswith("latentcy.fixtures")
    ]
    assert not wrong, wrong


def test_the_worker_sees_core_and_pipelines_alone():
    seen, left = set(), ["latentcy.remote.worker"]
    while left:
        module = left.pop()
        if module not in seen:
            seen.add(module)
            left += [name for name, _, _ in own(module)]
    assert {room_of(module) for module in seen} == {"core", "pipelines", "remote"}
    assert {module for module in seen if room_of(module) == "remote"} == {"latentcy.remote.worker"}


def test_a_report_and_a_history_need_no_torch():
    wanted = [
        module
        for module in MODULES
        if any(f"{module}.".startswith(f"latentcy.{room}.") for room in WITHOUT_TORCH)
        and not module.endswith("__main__")
    ]
    assert len(wanted) > 40
    code = (
        "import importlib, sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'diffusers', 'transformers', 'torchmetrics'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"for name in {wanted!r}:\n"
        "    importlib.import_module(name)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
