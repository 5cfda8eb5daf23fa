"""The shape of the engine: imports only go down, torch comes from one place, and nothing grows out of hand.

A *room* is a module or a package directly under `latome`; a *floor* is a number, and an import may only go
to the same floor or a lower one. The three rooms of floor 4 do not know each other.
"""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "latome"

FLOORS = {
    "kernels": 0, "errors": 0, "backend": 0,
    "distributions": 1, "nn": 1,
    "data": 2,
    "protocol": 3,
    "modules": 4, "training": 4, "analysis": 4,
    "fit": 5, "describe": 5,
    "io": 6, "surgery": 6, "compose": 6,
    "bridge": 7, "cli": 7, "jobs": 7, "criticism": 7, "faces": 7, "model": 7, "external": 7,
}  # fmt: skip
SIDE_BY_SIDE = {"modules", "training", "analysis"}

MAX_FILE_LINES = 360
MAX_FUNCTION_LINES = 40         # without its docstring
FORBIDDEN_WORDS = ("TODO", "FIXME", "raise NotImplementedError")

#: Imports inside functions, each with its reason: {(file, what is imported): why}.
LATE_IMPORTS = {
    ("analysis/differential/outliers.py", "sklearn.covariance"): "an optional package, and slow to load",
    ("analysis/markers.py", "scipy.stats"): "slow to load, and the comparison of markers alone needs it",
    ("analysis/zero_inflation.py", "scipy.special"): "slow to load, and this table alone needs it",
    ("compose/solo.py", "anndata"): "half a second to load, and scores alone need none",
    ("data/lazy.py", "anndata"): "half a second to load, and most counts do not come from a file",
    ("data/lazy.py", "h5py"): "comes with anndata, for those who read files",
    ("data/lazy.py", "zarr"): "half a second to load, for those who have such files",
    ("data/registry.py", "anndata"): "half a second to load, which whoever holds an AnnData has spent already",
    ("data/sources.py", "anndata"): "half a second to load, and most counts do not come from a file",
    ("surgery/genes.py", "anndata"): "half a second to load, which whoever holds an AnnData has spent already",
}


@dataclass(frozen=True)
class Import:
    """One import statement: the module it names, the names it takes from it, the line, and whether it is late."""

    module: str
    names: tuple
    line: int
    in_function: bool


def sources(package):
    """Every file of the package: {path relative to it: syntax tree}."""
    return {
        path.relative_to(package).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    }


def imports_of(file, tree):
    """All imports of a file, relative ones resolved, `import_module("...")` included."""
    parent = ["latome", *file.split("/")[:-1]]
    found = []

    def visit(node, in_function):
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, (), node.lineno, in_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parent[: len(parent) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            found.append(Import(module, tuple(a.name for a in node.names), node.lineno, in_function))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module", "__import__"
        ):  # fmt: skip
            if node.args and isinstance(node.args[0], ast.Constant):
                found.append(Import(str(node.args[0].value), (), node.lineno, in_function))
        inside = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(tree, False)
    return found


def room_of(file):
    """The room that a file belongs to: "data/registry.py" is in "data", "fit.py" in "fit"."""
    return file.split("/")[0].removesuffix(".py")


def rooms_named(imported):
    """The rooms of latome that an import reaches; "" stands for the root package."""
    parts = imported.module.split(".")
    if parts[0] != "latome":
        return []
    if len(parts) > 1:
        return [parts[1]]
    return [name if name in FLOORS else "" for name in imported.names] or [""]


def broken_floors(package):
    """Every import that goes uphill, sideways on floor 4, or to the root package."""
    broken = []
    for file, tree in sources(package).items():
        room = room_of(file)
        if room in ("__init__", "__main__"):
            continue
        if room not in FLOORS:
            broken.append(f"{file}: the room '{room}' has no floor")
            continue
        for imported in imports_of(file, tree):
            for target in rooms_named(imported):
                where = f"{file}:{imported.line}: {room} imports {target or 'the root package'}"
                if target == "":
                    if set(imported.names) != {"__version__"}:       # a constant: loads nothing
                        broken.append(where)
                elif target not in FLOORS:
                    broken.append(f"{where}, which has no floor")
                elif FLOORS[target] > FLOORS[room]:
                    broken.append(f"{where}, uphill from floor {FLOORS[room]} to {FLOORS[target]}")
                elif {room, target} <= SIDE_BY_SIDE and room != target:
                    broken.append(f"{where}, its neighbour on floor 4")
    return broken


def circles(package):
    """Rooms that import each other, directly or through others."""
    arrows = {}
    for file, tree in sources(package).items():
        room = room_of(file)
        if room == "__init__":
            continue
        targets = {t for i in imports_of(file, tree) for t in rooms_named(i) if t and t != room}
        arrows.setdefault(room, set()).update(targets)

    def reaches(start):
        seen, waiting = set(), list(arrows.get(start, ()))
        while waiting:
            room = waiting.pop()
            if room not in seen:
                seen.add(room)
                waiting.extend(arrows.get(room, ()))
        return seen

    return sorted(room for room in arrows if room in reaches(room))


def stray_torch(package):
    """Every import of torch outside backend.py."""
    return [
        f"{file}:{i.line}: write `from latome.backend import torch`"
        for file, tree in sources(package).items()
        for i in imports_of(file, tree)
        if i.module.split(".")[0] == "torch" and file != "backend.py"
    ]


def late_imports(package):
    """Imports inside functions: [(file, module, line)]. Those of backend.py and the lazy root are their purpose."""
    return [
        (file, i.module, i.line)
        for file, tree in sources(package).items()
        for i in imports_of(file, tree)
        if i.in_function and file not in ("backend.py", "__init__.py")
    ]


def own_lines(function):
    """Lines of a function, its docstring not counted."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def too_large(package):
    """Files and functions beyond the sizes of the house."""
    found = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        n_lines = text.count("\n")
        if n_lines > MAX_FILE_LINES:
            found.append(f"{path.name}: {n_lines} lines, more than {MAX_FILE_LINES}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and own_lines(node) > MAX_FUNCTION_LINES:
                found.append(
                    f"{path.name}:{node.lineno}: {node.name}() has {own_lines(node)} lines, "
                    f"more than {MAX_FUNCTION_LINES}"
                )
    return found


def undocumented(package):
    """Files, public functions and public classes without a docstring."""
    found = []
    for file, tree in sources(package).items():
        if ast.get_docstring(tree) is None and tree.body:
            found.append(file)
        for node in tree.body:
            public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if public and ast.get_docstring(node) is None:
                found.append(f"{file}:{node.lineno}: {node.name}")
    return found


def forbidden_words(folder, pattern):
    """Lines that promise more than they do."""
    return [
        f"{path.name}:{number}: {word}"
        for path in sorted(folder.rglob(pattern))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for word in FORBIDDEN_WORDS
        if word in line
    ]


def report(found):
    """One finding a line, so that a failed assertion reads well."""
    return "\n".join(str(f) for f in found)


def test_imports_only_go_down():
    found = broken_floors(PACKAGE)
    assert not found, report(found)


def test_no_rooms_in_a_circle():
    assert circles(PACKAGE) == []


def test_torch_comes_from_the_backend_only():
    found = stray_torch(PACKAGE)
    assert not found, report(found)


def test_imports_inside_functions_have_a_reason():
    found = late_imports(PACKAGE)
    unexplained = [f"{file}:{line}: {module}" for file, module, line in found if (file, module) not in LATE_IMPORTS]
    assert not unexplained, report(unexplained)
    assert set(LATE_IMPORTS) <= {(file, module) for file, module, _ in found}, "an entry of LATE_IMPORTS is unused"


def test_sizes():
    found = too_large(PACKAGE)
    assert not found, report(found)


def test_what_is_public_is_documented():
    found = undocumented(PACKAGE)
    assert not found, report(found)


@pytest.mark.parametrize("folder, pattern", [("python/latome", "*.py"), ("R", "*.R"), ("benchmarks", "*.py")])
def test_no_promises(folder, pattern):
    assert any((ROOT / folder).rglob(pattern)), f"no {pattern} in {folder}: has it moved?"
    found = forbidden_words(ROOT / folder, pattern)
    assert not found, report(found)


def test_importing_the_root_loads_nothing_heavy():
    code = f"""
import sys
sys.path.insert(0, {str(PACKAGE.parent)!r})
import latome
heavy = {{"torch", "anndata", "numpy", "scipy", "pandas", "h5py"}} & set(sys.modules)
rooms = [name for name in sys.modules if name.startswith("latome.")]
print(sorted(heavy), rooms)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


@pytest.fixture
def small_tree(tmp_path):
    """A tiny package to break: {file: source} -> its folder."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / "latome" / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "latome"

    return write


@pytest.mark.parametrize(
    "file, line, caught",
    [
        ("data__sources", "from latome.training import loop", "uphill from floor 2 to 4"),
        ("data__sources", "from ..fit import Fit", "uphill from floor 2 to 5"),
        ("kernels__sparse", "import latome.protocol.module", "uphill from floor 0 to 3"),
        ("training__loop", "from latome.modules import scvi", "its neighbour on floor 4"),
        ("fit", "import importlib\nimportlib.import_module('latome.bridge')", "uphill from floor 5 to 7"),
        ("nn__blocks", "def f():\n    from latome.data import registry", "uphill from floor 1 to 2"),
        ("io__archive", "import latome", "the root package"),
        ("io__archive", "from latome import bridge", "uphill from floor 6 to 7"),
        ("io__archive", "from latome import fit_anything", "the root package"),
        ("attic", "x = 1", "has no floor"),
        ("fit", "from latome.data.registry import Registry", None),
        ("data__sources", "from .registry import Registry", None),
        ("io__archive", "from latome import __version__", None),
    ],
)
def test_the_checker_sees_a_broken_floor(small_tree, file, line, caught):
    found = broken_floors(small_tree(**{file: line}))
    if caught is None:
        assert found == []
    else:
        assert len(found) == 1 and caught in found[0], found


def test_the_checker_sees_everything_else(small_tree):
    long_function = "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES
    folder = small_tree(
        data__sources="import torch.nn\nfrom latome.protocol import terms\n",
        protocol__terms="def public():\n    import json\n    from latome.data import sources\n# TODO: more\n",
        fit=long_function + "y = 2\n" * MAX_FILE_LINES,
        nn__blocks='"""Fine."""\n\n\ndef f():\n    """' + "words\n" * MAX_FUNCTION_LINES + '"""\n',
    )
    assert circles(folder) == ["data", "protocol"]
    assert [f.split(":")[0] for f in stray_torch(folder)] == ["data/sources.py"]
    assert [(file, module) for file, module, _ in late_imports(folder)] == [
        ("protocol/terms.py", "json"), ("protocol/terms.py", "latome.data")
    ]  # fmt: skip
    assert [f.split(":")[0] for f in too_large(folder)] == ["fit.py", "fit.py"]
    assert "protocol/terms.py:1: public" in undocumented(folder)
    assert not [f for f in undocumented(folder) if f.startswith("nn/")]
    assert forbidden_words(folder, "*.py") == ["terms.py:4: TODO"]
