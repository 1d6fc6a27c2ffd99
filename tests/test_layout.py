"""The house stands: a room imports only from floors below it, and the door stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import seefar

HOUSE = Path(seefar.__file__).parent
FLOORS = (
    "sequence ops",
    "media synthetic positions decoding hf testing",
    "embed mixers",
    "backbones compress memory distributed",
    "vlm synthesis brain",
    "training analysis",
    "evals",
    "papers",
    "cli serve",
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
DOOR = {"__init__", "__main__"}  # seefar/__init__.py is the front door: lazy, and may name every room


def imports(tree):
    """(line, dotted name) of every import that runs, wherever it stands; those for the type checker do not run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            assert node.level == 0, f"line {node.lineno}: a relative import hides its room; write seefar.<room>"
        else:
            yield from imports(node)


def broken(path, source):
    """What a file imports from its own floor or above, outside of its room."""
    room = path.parts[0].removesuffix(".py")
    targets = [(line, name.split(".")[1]) for line, name in imports(ast.parse(source)) if name.startswith("seefar.")]
    return [
        f"{path}:{line} (floor {FLOOR[room]}) imports {target} (floor {FLOOR.get(target, 'none')})"
        for line, target in targets
        if target != room and FLOOR.get(target, 99) >= FLOOR[room]
    ]


def test_rooms_import_only_from_floors_below():
    files = {path.relative_to(HOUSE): path.read_text() for path in HOUSE.rglob("*.py")}
    files = {path: text for path, text in files.items() if path.stem not in DOOR or len(path.parts) > 1}
    assert len(files) > 20
    assert not [path for path in files if path.parts[0].removesuffix(".py") not in FLOOR], "a room without a floor"
    assert not [breach for path, text in files.items() for breach in broken(path, text)]


def test_the_floor_test_sees_a_breach_wherever_it_hides():
    path = Path("ops/scan.py")
    assert broken(path, "from seefar.vlm.ask import ask")
    assert broken(path, "def f():\n    try:\n        import seefar.media\n    except ImportError: ...")
    assert broken(path, "from seefar import memory")
    assert broken(Path("compress/merge.py"), "from seefar.memory.bank import Bank"), (
        "rooms of one floor meet by argument"
    )
    assert not broken(Path("compress/merge.py"), "from seefar.compress.base import x\nfrom seefar.sequence import y")
    assert not broken(path, "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from seefar.vlm import Answer")


def test_importing_seefar_loads_nothing_heavy():
    heavy = (
        "transformers fastapi uvicorn numba av matplotlib skimage sklearn rapidocr_onnxruntime sentence_transformers"
    )
    code = f"import sys, seefar; print(*set({heavy.split()}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], "imported at the door"


def test_rooms_import_without_transformers():
    rooms = [
        f"seefar.{room}" for room in FLOOR if FLOOR[room] <= 3 and (HOUSE / room).is_dir() and room != "distributed"
    ]
    code = f"import sys, importlib; [importlib.import_module(r) for r in {rooms}]; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
