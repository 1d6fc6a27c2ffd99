"""What ``import seefar`` promises: these names, and almost no time."""

import subprocess
import sys
from importlib import metadata, resources

import pytest

import seefar

NAMES = ["Clip", "VisualSequence", "__version__", "ask", "load", "plan", "wrap"]


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()


def test_these_are_the_names():
    assert sorted(seefar.__all__) == NAMES
    assert set(NAMES) <= set(dir(seefar))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_leads_somewhere(name):
    assert getattr(seefar, name) is not None


def test_a_name_is_the_object_of_its_room():
    from seefar.sequence import Clip
    from seefar.vlm.ask import ask

    assert seefar.Clip is Clip
    assert seefar.ask is ask


def test_the_version_is_that_of_the_installation():
    assert seefar.__version__ == metadata.version("seefar")


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(AttributeError, match=r"no 'aks'; it has Clip.*ask.*wrap"):
        _ = seefar.aks


def test_importing_seefar_imports_nothing_else():
    loaded = python("import sys; before = set(sys.modules); import seefar; print(*set(sys.modules) - before)")
    assert not {"torch", "numpy", "transformers", "av", "typer", "rich", "fastapi"} & {
        m.partition(".")[0] for m in loaded
    }
    assert len(loaded) < 40


def test_asking_does_not_import_transformers_or_a_server():
    loaded = python("import sys, seefar; seefar.ask, seefar.plan, seefar.Clip; print(*sys.modules)")
    assert not {"transformers", "numba", "sklearn", "skimage", "matplotlib", "fastapi", "typer"} & set(loaded)


def test_the_package_is_typed():
    assert resources.files("seefar").joinpath("py.typed").is_file()


@pytest.mark.slow
def test_a_wheel_holds_the_weights_the_page_and_the_types(tmp_path):
    import zipfile
    from pathlib import Path

    root = Path(__file__).parent.parent
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(root)]
    subprocess.run(pip, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        held = {info.filename: info.file_size for info in file.infolist()}
    for name in ("py.typed", "vlm/report.html", "vlm/report.css", "vlm/report.js", "vlm/weights/pico.safetensors"):
        assert held.get(f"seefar/{name}", -1) >= 0, name
    weights = sum(size for name, size in held.items() if name.endswith(".safetensors"))
    assert 1_000_000 < weights <= 25_000_000
    assert not [name for name in held if name.startswith(("tests/", "demo/", "results/"))]
