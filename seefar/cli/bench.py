"""``seefar bench NAME``: figures to a file, a table to the terminal."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from seefar.cli.terminal import aside, out, progress_bars
from seefar.evals.readme import MODULES
from seefar.papers._parts import fingerprint

TELLS = ("ask", "needle", "read", "mixers")
"""Benches that report their progress; the others take seconds, and a bar would disturb what they time."""
RESUMES = ("mixers",)
"""Benches that keep what took them minutes under ``build``, and go on from there when they were stopped, unless
their code has changed."""


def run(name: str, folder: Path, quick: bool) -> None:
    """Runs one bench of ``seefar.evals`` and writes ``bench_<name>.json``; ``needle`` also paints its heat map.

    A quick run goes to ``bench_<name>_quick.json``, so that it never stands where the real figures do.
    """
    module = import_module(f"seefar.evals.{MODULES[name]}")
    folder.mkdir(parents=True, exist_ok=True)
    given = small(name) if quick else {}
    end = "_quick" if quick else ""
    kept = None
    if name in RESUMES:
        kept = given["folder"] = Path("build/benches") / f"{name}{end}-{fingerprint(Path(str(module.__file__)))}"
    if name in TELLS:
        with progress_bars() as progress:
            result = module.run(**given, progress=progress)
    else:
        result = module.run(**given)
    file = folder / f"bench_{name}{end}.json"
    file.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    out().print(module.table(result), soft_wrap=True)
    if name == "needle":
        picture = folder / f"needle{end}.png"
        module.heatmap(result, picture)
        aside().print(f"picture: {picture}", style="dim", soft_wrap=True)
    aside().print(f"figures: {file}", style="dim", soft_wrap=True)


def small(name: str) -> dict[str, Any]:
    """Arguments with which a bench takes about a minute."""
    from seefar.evals.race import Probe

    probe = Probe(copy_mib=16, product=256)
    if name == "ops":
        from seefar.evals.bench_ops import Sizes

        return {"repeats": 1, "sizes": Sizes(tokens=512, channels=64, attention_tokens=(256,), probe=probe)}
    if name == "forms":
        from seefar.evals.bench_forms import FormSizes

        return {"repeats": 1, "sizes": FormSizes(widths=(16,), far=8192, near=(512, 1024, 2048)), "probe": probe}
    quick: dict[str, dict[str, Any]] = {
        "ask": {"films": 1, "minutes": 3, "memory": False},
        "needle": {"lengths": (60, 120), "films": 1, "extra": ()},
        "read": {"films": (("lecture", 201),), "minutes": 2},
        "ingest": {"minutes": 0.5},
        "layers": {"repeats": 1, "tokens": 512, "probe": probe},
        "convs": {"repeats": 1, "tokens": 1024, "probe": probe},
        "decode": {"repeats": 1, "lengths": (1024, 4096), "heads": 2, "probe": probe},
        "mixers": {
            "seeds": 1,
            "steps": 20,
            "pairs": (2, 4, 8),
            "lengths": (256, 512, 1024),
            "ages": (256, 1024, 4096),
            "far": 16384,
        },
    }
    return quick[name]
