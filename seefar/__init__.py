"""seefar gives vision a long memory: it answers questions about hours of video inside a budget of tokens.

>>> import seefar
>>> callable(seefar.ask)
True

The names below are imported when they are first used, so that ``import seefar`` costs nothing, not even torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seefar.sequence import Clip, VisualSequence
    from seefar.vlm.ask import ask, load, plan
    from seefar.vlm.wrap import wrap

    __version__: str

__all__ = ["Clip", "VisualSequence", "__version__", "ask", "load", "plan", "wrap"]

_HOMES = {
    "Clip": "seefar.sequence",
    "VisualSequence": "seefar.sequence",
    "ask": "seefar.vlm.ask",
    "load": "seefar.vlm.ask",
    "plan": "seefar.vlm.ask",
    "wrap": "seefar.vlm.wrap",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("seefar")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"seefar has no {name!r}; it has {', '.join(__all__)}, and rooms such as seefar.mixers")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
