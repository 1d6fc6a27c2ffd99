"""A model folder without processor classes: tokenizer, chat template and pixel settings straight from its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seefar.sequence import VisualSequence
from seefar.vlm.families import Family, check_model_type

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FILES = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Processing:
    """What stands between a film with a question and a model: words to ids, and how its pixels are made.

    Args:
        tokenizer: a fast tokenizer of transformers.
        settings: the video part of the processor files.
        template: the Jinja chat template; None where neither the folder nor the tokenizer has one.
        origin: the folder, or what was passed, for error texts.
    """

    tokenizer: Any
    settings: dict[str, Any]
    template: str | None
    origin: str

    @classmethod
    def of(cls, source: Any) -> Processing:
        """From a folder, from a processor of transformers, or itself.

        Raises:
            ValueError: the folder has no processor or tokenizer files, or the object is none of the three.
        """
        if isinstance(source, Processing):
            return source
        if isinstance(source, (str, Path)):
            return read_processing(source)
        tokenizer = getattr(source, "tokenizer", None)
        pixels = getattr(source, "video_processor", None) or getattr(source, "image_processor", None)
        if tokenizer is None or pixels is None:
            raise ValueError(f"wrap: wanted the folder of the model or its processor, got {type(source).__name__}")
        template = getattr(source, "chat_template", None) or tokenizer.chat_template
        return cls(tokenizer, pixels.to_dict(), template, type(source).__name__)


def read_config(folder: str | Path) -> PreTrainedConfig:
    """The configuration in a folder, of a model type there is an adapter for.

    Raises:
        ValueError: there is no such folder, it has no config.json, or its model type has no adapter.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; give the one that holds config.json and the weights")
    found = _json(folder / "config.json")
    if found is None:
        raise ValueError(f"{folder}: this folder holds no model (no config.json). Save one there with save_pretrained.")
    check_model_type(str(found.get("model_type", "unknown")))
    from transformers import AutoConfig

    config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    return config


def read_processing(folder: str | Path) -> Processing:
    """Tokenizer, chat template and pixel settings of a folder; of the processor files, newer ones win over older ones.

    Raises:
        ValueError: there are no processor files, or no tokenizer.
    """
    folder = Path(folder)
    whole, video, image = (_json(folder / name) for name in FILES)
    settings = (whole or {}).get("video_processor") or video or image or (whole or {}).get("image_processor")
    if settings is None:
        raise ValueError(
            f"{folder}: no processor files (looked for {', '.join(FILES)}). Copy them from where the model came from, "
            "or save them there with processor.save_pretrained."
        )
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{folder}: its tokenizer cannot be read ({error}). Save it there with tokenizer.save_pretrained."
        ) from error
    jinja = folder / "chat_template.jinja"
    older = _json(folder / "chat_template.json") or {}
    template = (
        jinja.read_text() if jinja.is_file() else older.get("chat_template") or (whole or {}).get("chat_template")
    )
    return Processing(tokenizer, settings, template or tokenizer.chat_template, str(folder))


def prompt_ids(processing: Processing, family: Family, seq: VisualSequence, question: str, duration: float) -> Tensor:
    """(1, L) ids of the whole prompt: the chat template, the film as one placeholder for each feature, and the
    question.

    Raises:
        ValueError: the question contains a placeholder, there is no chat template, or the template or tokenizer does
        not
            treat the placeholder as one token.
    """
    tokenizer = processing.tokenizer
    placeholder = tokenizer.convert_ids_to_tokens(family.token_id)
    for reserved in {family.slot, placeholder}:
        if reserved and reserved in question:
            raise ValueError(
                f"the question contains {reserved!r}, which stands for the film in this model's prompts; leave it out"
            )
    template = family.template(processing.template)
    if template is None:
        raise ValueError(
            f"{processing.origin}: no chat template. Copy chat_template.jinja from where the model came from."
        )
    content = [{"type": "video"}, {"type": "text", "text": question}]
    message = [{"role": "user", "content": content}]
    text = tokenizer.apply_chat_template(message, chat_template=template, tokenize=False, add_generation_prompt=True)
    if text.count(family.slot) != 1:
        raise ValueError(
            f"{processing.origin}: its chat template writes {family.slot!r} {text.count(family.slot)} times, wants once"
        )
    text = text.replace(family.slot, family.film_text(seq, placeholder, duration))
    begins = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    ids = torch.tensor([tokenizer(text, add_special_tokens=not begins)["input_ids"]])
    wanted = int(seq.count[0]) + family.tail
    if (got := int((ids == family.token_id).sum())) != wanted:
        raise ValueError(
            f"{processing.origin}: {got} placeholders for {wanted} features; {placeholder!r} (id {family.token_id} in "
            "config.json) must be one special token of the tokenizer"
        )
    return ids


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not readable as JSON ({error}). Copy it again from where the model came from."
        ) from error
    return found
