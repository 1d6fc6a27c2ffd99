"""The front door: a film and a question in; an answer, its moments and its bill out."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from seefar.vlm.answer import Answer, Model, Plan, Progress

if TYPE_CHECKING:
    from seefar.media import Video

BUILT_IN = ("auto", "pico", "reader")

PREFERRED = (
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
)
"""Named models that ``auto`` takes where one is on disk already, best first. It never downloads."""


SETTINGS = ["*.json", "*.txt", "*.jinja", "*.model"]
"""All files of a model on the Hub that are not its weights."""


class ModelNotFound(ValueError):
    """The name leads to no model on this machine, and none could be downloaded."""


@dataclass(frozen=True)
class Choice:
    """What ``auto`` settled on, and why, in words for a person."""

    name: str
    why: str


@overload
def ask(
    video: str | Path | Video,
    question: str,
    *,
    model: str | Model = ...,
    recipe: str | None = ...,
    budget: int = ...,
    fps: float = ...,
    progress: Progress | None = ...,
) -> Answer: ...


@overload
def ask(
    video: str | Path | Video,
    question: list[str] | tuple[str, ...],
    *,
    model: str | Model = ...,
    recipe: str | None = ...,
    budget: int = ...,
    fps: float = ...,
    progress: Progress | None = ...,
) -> list[Answer]: ...


def ask(
    video: str | Path | Video,
    question: str | list[str] | tuple[str, ...],
    *,
    model: str | Model = "auto",
    recipe: str | None = None,
    budget: int = 4096,
    fps: float = 1.0,
    progress: Progress | None = None,
) -> Answer | list[Answer]:
    """Answers one question about a film, or several in one pass over it, and names the moments each answer rests on.

    Args:
        video: a path, or what ``seefar.media.open`` gave back.
        question: in plain words.
        model: "auto", "pico", "reader", a folder, a Hugging Face id, or a model that ``load`` gave back.
        recipe: how frames become tokens, by the model's own names; None means its default.
        budget: visual tokens that may reach the language model, at most.
        fps: frames a second that are looked at; lowered where the film or the model allows fewer.
        progress: called as ``progress(stage, done, total)`` while the work goes on.

    Returns:
        An Answer for a str, a list of them for a sequence. Where the model was chosen by "auto",
        ``answer.sampling["model"]`` says which one and why.

    Raises:
        ValueError: an empty question, a budget or rate out of range, a file that is no film.
        ModelNotFound: no model of that name is on disk and none could be downloaded.
    """
    questions = check_questions([question] if isinstance(question, str) else question)
    check_limits(budget, fps)
    with _opened(video) as film:
        _ = film.info  # a film that cannot be read is refused before any weight is loaded
        chosen = choose(film) if model == "auto" else None
        name = chosen.name if chosen else model
        asked = load(name) if isinstance(name, str) else name
        answers = asked.answer(film, questions, budget=budget, fps=fps, recipe=recipe, progress=progress)
    if chosen is not None:
        reason = {"asked": "auto", "used": chosen.name, "why": chosen.why}
        answers = [replace(answer, sampling={**answer.sampling, "model": reason}) for answer in answers]
    return answers[0] if isinstance(question, str) else answers


def plan(
    video: str | Path | Video,
    model: str = "auto",
    *,
    budget: int = 4096,
    fps: float = 1.0,
    recipe: str | None = None,
) -> Plan:
    """Frames, visual tokens, bytes and seconds that an answer will take; no weight is loaded for it.

    Raises:
        ValueError: a budget or rate out of range, a file that is no film.
        ModelNotFound: no model of that name is on disk, and its settings could not be downloaded (weights never are).
    """
    check_limits(budget, fps)
    with _opened(video) as film:
        name = choose(film).name if model == "auto" else model
        if name == "pico":
            from seefar.vlm.pico import Pico

            return Pico.outline().plan(film.info.duration or 0.0, budget=budget, fps=fps, recipe=recipe)
        if name == "reader":
            from seefar.vlm.reader import plan_reader

            return plan_reader(film, budget=budget, fps=fps, recipe=recipe)
        from seefar.vlm.plan import plan_wrapped

        return plan_wrapped(_folder(name, weights=False), film, budget=budget, fps=fps, recipe=recipe)


def load(name: str) -> Model:
    """The model of that name, ready to answer: "pico", "reader", a folder, or a Hugging Face id.

    An id is looked up on disk first and downloaded only where it is not there.

    Raises:
        ModelNotFound: nothing of that name is on disk and it could not be downloaded; says what to type instead.
    """
    if name == "auto":
        raise ModelNotFound(
            "load: 'auto' needs a film to choose by; use seefar.ask(video, question), or name pico or reader"
        )
    if name == "pico":
        from seefar.vlm.pico import Pico

        return Pico.load()
    if name == "reader":
        from seefar.vlm.reader import Reader

        return Reader()
    from seefar.vlm.wrap import load_folder

    return load_folder(_folder(name, weights=True))


def choose(video: Video) -> Choice:
    """The model for a film, with the reason: a known one on disk, else ``reader`` where words are, else ``pico``."""
    for name in PREFERRED:
        if on_disk(name) is not None:
            return Choice(name, "it is on this disk already")
    if video.info.duration is None:
        return Choice("reader", "a pipe can't be looked at twice, and words are what can be read in any film")
    from seefar.vlm.reader import has_words

    none = "no Hugging Face model is on this disk"
    limit = "it knows rendered worlds, not the real one"
    try:
        words = has_words(video)
    except ImportError as error:  # said in the reason, because what to install is in it
        return Choice("pico", f"{none} and words can't be read here ({error}); {limit}")
    if words:
        return Choice("reader", f"this film shows or carries words, and {none}")
    return Choice("pico", f"this film has no words and {none}; {limit}")


def check_questions(questions: Sequence[str]) -> list[str]:
    """The questions as a list, none of them empty."""
    if not questions:
        raise ValueError("ask: no question was given; type one, in quotes, after the file")
    for question in questions:
        if not isinstance(question, str) or not question.strip():
            raise ValueError(f"ask: {question!r} is no question; type one, in quotes, after the file")
    return list(questions)


def check_limits(budget: int, fps: float) -> None:
    """Refuses a budget or a frame rate that no film could be read with."""
    if budget < 1:
        raise ValueError(f"ask: budget must be at least 1 visual token, got {budget}; 4096 is the usual one")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"ask: fps must be a positive number of frames a second, got {fps}; 1 is the usual one")


def _opened(video: str | Path | Video) -> AbstractContextManager[Video]:
    """The film, closed afterwards only where it was opened here."""
    from seefar import media

    return media.open(video) if isinstance(video, (str, Path)) else nullcontext(video)


def _folder(name: str, *, weights: bool) -> Path:
    """The folder that holds a model: itself, or where the Hugging Face cache has it."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelNotFound(
                f"{name}: this folder holds no model (no config.json). Save one there with save_pretrained."
            )
        return folder
    if name.count("/") != 1 or name.startswith((".", "~", "/")):
        close = difflib.get_close_matches(name, BUILT_IN, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ModelNotFound(
            f"Unknown model {name!r}.{hint} Type auto, pico, reader, a folder that holds a model, "
            "or a Hugging Face id such as Qwen/Qwen2.5-VL-3B-Instruct."
        )
    found = on_disk(name)
    if found is not None:
        return found
    return _download(name, weights)


def on_disk(name: str) -> Path | None:
    """Where the Hugging Face cache holds the whole of a model, or None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    index = folder / "model.safetensors.index.json"
    weights = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    return folder if all((folder / file).is_file() for file in weights) else None


def _download(name: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    instead = "Use a local folder, or seefar demo."
    try:
        return Path(snapshot_download(name, allow_patterns=[*SETTINGS, "*.safetensors"] if weights else SETTINGS))
    except HFValidationError as error:
        raise ModelNotFound(f"Unknown model {name!r}: {error}") from error
    except GatedRepoError as error:
        raise ModelNotFound(
            f"Cannot download {name!r}: its owners ask you to accept their terms first. {instead}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(f"Cannot download {name!r}: the Hub has no model of that name. {instead}") from error
    except OSError as error:
        raise ModelNotFound(f"Cannot download {name!r}: {_reason(error)}. {instead}") from error


def _reason(error: OSError) -> str:
    """In a few words, why a download failed."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in ("ConnectError", "ConnectTimeout", "OfflineModeIsEnabled", "ReadTimeout"):
            return "no network"
        if isinstance(cause, OSError) and cause.errno == 28:
            return "the disk is full"
        cause = cause.__cause__ or cause.__context__
    return str(error).partition("\n")[0].rstrip(".")
