"""What differs between the vision-language models of transformers that seefar wraps: one class each.

T temporal steps, h rows and w columns of tokens, D width of the language model, N tokens.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from seefar.positions.mrope import FilmPlaces, mrope, time_offsets
from seefar.sequence import VisualSequence
from seefar.vlm.hf_pixels import fit_area, longest_edge, normalise, patchify, resize
from seefar.vlm.hf_words import number_words

if TYPE_CHECKING:
    from transformers import PreTrainedConfig
    from transformers.modeling_outputs import BaseModelOutputWithPooling

CLIP = {"image_mean": (0.48145466, 0.4578275, 0.40821073), "image_std": (0.26862954, 0.26130258, 0.27577711)}
HALF = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}


class Family(ABC):
    """One model type: its pixels, its call into the vision tower, its prompt and its positions.

    Args:
        config: the configuration of the whole model.
        settings: the video part of the processor files; what it leaves out is the family's published default.
    """

    model_type: ClassVar[str]
    modality: ClassVar[str]
    """Key of ``mm_encoder_outputs`` under which the features are passed."""
    slot: ClassVar[str]
    """What the chat template writes where the film goes."""
    vision: ClassVar[str]
    language: ClassVar[str] = "language_model"
    """Where the vision tower and the language model hang on the base model."""
    defaults: ClassVar[dict[str, Any]]
    step: int = 1
    """Frames that share one temporal step of tokens."""
    tail: int = 0
    """Tokens after those of the film that the model always wants; they count against the budget."""

    def __init__(self, config: PreTrainedConfig, settings: Mapping[str, Any]):
        self.config = config
        self.settings = {**self.defaults, **{name: value for name, value in settings.items() if value is not None}}

    @property
    def token_id(self) -> int:
        """Id of the placeholder token that features replace."""
        return int(self.config.video_token_id if self.modality == "video" else self.config.image_token_id)

    @abstractmethod
    def frame_size(self, height: int, width: int, frames: int) -> tuple[int, int]:
        """The size at which this model takes ``frames`` frames of a film of that size."""

    @abstractmethod
    def token_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens that one temporal step of frames of that size becomes."""

    @abstractmethod
    def patch_count(self, size: tuple[int, int]) -> int:
        """Tokens inside the vision tower for one temporal step of frames of that size."""

    @abstractmethod
    def encode(self, base: Any, pixels: Tensor) -> Tensor:
        """(T, h * w, D) features of (T * step, 3, H, W) pixels, through the model's own vision tower and projector."""

    @abstractmethod
    def outputs(self, rows_ND: Tensor) -> BaseModelOutputWithPooling:
        """The features in the container that this model's ``mm_encoder_outputs`` takes."""

    def template(self, own: str | None) -> str | None:
        """The chat template to use for a film, given the one in the folder."""
        return own

    def pixels(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        """(T, 3, H, W) float32 as the tower takes them, of (T, 3, ., .) uint8 frames."""
        return self._normalised(resize(frames, size, int(self.settings["resample"])))

    def steps(self, frames: int) -> int:
        """Temporal steps that so many frames become."""
        return -(-frames // self.step)

    def tail_rows(self, base: Any) -> Tensor | None:
        """(tail, D) features after those of the film, or None."""
        return None

    def film_text(self, seq: VisualSequence, placeholder: str, duration: float) -> str:
        """What replaces the slot in the prompt: the placeholders, and the words that this family puts around frames."""
        return placeholder * (int(seq.count[0]) + self.tail)

    def positions(self, ids: Tensor, seq: VisualSequence, shown: Shown, compat: str) -> Tensor | None:
        """Position ids to pass with (1, L) input ids; None where the model's own (one after the other) are right."""
        return None

    def _normalised(self, frames: Tensor) -> Tensor:
        wants = self.settings
        mean, std = (wants["image_mean"], wants["image_std"]) if wants["do_normalize"] else (None, None)
        return normalise(frames, float(wants["rescale_factor"]) if wants["do_rescale"] else 1.0, mean, std)


class Shown:
    """The film as it was encoded, whole: when each temporal step begins, and its rows and columns of tokens."""

    def __init__(self, starts: Tensor, rows: int, columns: int):
        self.starts, self.rows, self.columns = starts, rows, columns


class QwenVL25(Family):
    """Qwen2.5-VL (arXiv 2502.13923): frames in pairs, native aspect, positions in time, row and column."""

    model_type = "qwen2_5_vl"
    modality = "video"
    slot = "<|video_pad|>"
    vision = "visual"
    defaults: ClassVar[dict[str, Any]] = {
        **CLIP,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
        "cap_pixels_per_frame": False,
        "max_video_tokens": 128000,
    }

    def __init__(self, config: PreTrainedConfig, settings: Mapping[str, Any]):
        super().__init__(config, settings)
        self.step = int(self.settings["temporal_patch_size"])
        self.patch, self.merge = int(self.settings["patch_size"]), int(self.settings["merge_size"])
        size = self.settings["size"]
        self.least = int(self.settings.get("min_pixels", size["shortest_edge"]))
        self.most = int(self.settings.get("max_pixels", size["longest_edge"]))

    def frame_size(self, height: int, width: int, frames: int) -> tuple[int, int]:
        unit, most = self.patch * self.merge, self.most
        if self.settings["cap_pixels_per_frame"]:
            whole = int(self.settings["max_video_tokens"] * unit * unit * 0.9)
            most = max(min(most, whole * self.step // frames), int(self.least * 1.05))
        return fit_area(height, width, unit, self.least, most)

    def token_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // (self.patch * self.merge), size[1] // (self.patch * self.merge)

    def patch_count(self, size: tuple[int, int]) -> int:
        return size[0] // self.patch * (size[1] // self.patch)

    def encode(self, base: Any, pixels: Tensor) -> Tensor:
        patches, grid = patchify(pixels, self.patch, self.merge, self.step)
        where = base.device
        out = base.get_video_features(
            patches.to(where), video_grid_thw=torch.tensor([grid], device=where), return_dict=True
        )
        rows: Tensor = torch.cat(tuple(out.pooler_output))
        return rows.reshape(grid[0], -1, rows.shape[-1])

    def outputs(self, rows_ND: Tensor) -> BaseModelOutputWithPooling:
        return _pooled((rows_ND,))

    def positions(self, ids: Tensor, seq: VisualSequence, shown: Shown, compat: str) -> Tensor | None:
        """Tokens keep the time, row and column that they had in the whole film; a merged one takes its first second and
        the middle of its box. The published rule counts true seconds; that of transformers has one mean step for the
        whole film.
        """
        film = ids[0] == self.token_id
        before = int(film.to(torch.int8).argmax())
        count = int(film.sum())
        if not bool(film[before : before + count].all()):
            raise ValueError(
                "the placeholders of the film must stand together in the prompt; the chat template splits them"
            )
        starts = shown.starts
        if compat == "transformers":
            starts = torch.arange(len(starts), dtype=torch.float64) * seconds_per_step(starts)
        steps = time_offsets(starts, self.config.vision_config.tokens_per_second)
        box, first = seq.box[0].double(), seq.span[0, :, 0].contiguous()
        middle = [(box[:, axis] + box[:, axis + 2]) / 2 for axis in (0, 1)]
        rows, columns = (
            (m * n - 1e-4).floor().clamp(0, n - 1).long()
            for m, n in zip(middle, (shown.rows, shown.columns), strict=True)
        )
        at = torch.searchsorted(shown.starts.contiguous(), first.to(shown.starts.device)).clamp(max=len(steps) - 1)
        places = FilmPlaces(steps[at].cpu(), rows.cpu(), columns.cpu(), (int(steps[-1]) + 1, shown.rows, shown.columns))
        return mrope([before, places, ids.shape[1] - before - count], compat=compat).to(ids.device)


class LlavaOnevision(Family):
    """LLaVA-OneVision (arXiv 2408.03326): square frames, pooled 2 x 2, and one ``image_newline`` after the film."""

    model_type = "llava_onevision"
    modality = "video"
    slot = "<video>"
    vision = "vision_tower"
    tail = 1
    defaults: ClassVar[dict[str, Any]] = {
        **CLIP,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "size": {"height": 384, "width": 384},
    }

    def frame_size(self, height: int, width: int, frames: int) -> tuple[int, int]:
        size = self.settings["size"]
        if "height" not in size or "width" not in size:
            raise ValueError(
                f"llava_onevision takes frames of one size; its processor file gives {size}, wanted height and width"
            )
        return int(size["height"]), int(size["width"])

    def token_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        vision = self.config.vision_config
        side = math.ceil(vision.image_size // vision.patch_size / 2)
        return side, side

    def patch_count(self, size: tuple[int, int]) -> int:
        return int(self.config.vision_config.image_size // self.config.vision_config.patch_size) ** 2

    def encode(self, base: Any, pixels: Tensor) -> Tensor:
        out = base.get_video_features(pixels[None].to(base.device, base.dtype), return_dict=True)
        rows: Tensor = out.pooler_output[0, : -self.tail]
        return rows.reshape(len(pixels), -1, rows.shape[-1])

    def tail_rows(self, base: Any) -> Tensor | None:
        newline: Tensor = base.image_newline
        return newline.detach()[None]

    def outputs(self, rows_ND: Tensor) -> BaseModelOutputWithPooling:
        return _pooled(rows_ND[None])


class SmolVLM(Family):
    """SmolVLM2 (arXiv 2504.05299): each frame is an image after its time in words; one without tokens loses both."""

    model_type = "smolvlm"
    modality = "image"
    slot = "<video>"
    vision = "vision_model"
    language = "text_model"
    defaults: ClassVar[dict[str, Any]] = {
        **HALF,
        "resample": 1,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "max_image_size": {"longest_edge": 364},
    }

    def __init__(self, config: PreTrainedConfig, settings: Mapping[str, Any]):
        super().__init__(config, settings)
        sampling = self.settings.get("video_sampling") or {}
        self.edge = int(
            (self.settings.get("size") or sampling.get("video_size") or {"longest_edge": 4 * 364})["longest_edge"]
        )
        self.side = int(self.settings["max_image_size"]["longest_edge"])

    def template(self, own: str | None) -> str | None:
        """The one that its processor uses wherever a film is in the conversation, whatever the folder says."""
        from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

        return str(DEFAULT_CHAT_TEMPLATE)

    def frame_size(self, height: int, width: int, frames: int) -> tuple[int, int]:
        return self.side, self.side

    def token_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        side = size[0] // self.config.vision_config.patch_size // self.config.scale_factor
        return side, side

    def patch_count(self, size: tuple[int, int]) -> int:
        return int(size[0] // self.config.vision_config.patch_size) ** 2

    def pixels(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        """Twice resized, as it was trained: to the longest edge with the aspect kept, then to the square."""
        kind = int(self.settings["resample"])
        inner = longest_edge(frames.shape[-2], frames.shape[-1], min(self.edge, 4096))
        return self._normalised(
            torch.cat([resize(resize(frame, inner, kind), size, kind) for frame in frames.split(1)])
        )

    def encode(self, base: Any, pixels: Tensor) -> Tensor:
        out = base.get_image_features(pixels[None].to(base.device), return_dict=True)
        rows = torch.cat(list(out.pooler_output))
        return rows.reshape(len(pixels), -1, rows.shape[-1])

    def outputs(self, rows_ND: Tensor) -> BaseModelOutputWithPooling:
        return _pooled([rows_ND])

    def film_text(self, seq: VisualSequence, placeholder: str, duration: float) -> str:
        from transformers.models.smolvlm import processing_smolvlm as words

        seconds, counts = seq.span[0, seq.mask[0], 0].unique_consecutive(return_counts=True)
        length = timedelta(seconds=int(duration))
        text = words.DEFAULT_VIDEO_INTRO.format(frame_count=number_words(len(seconds)), video_duration=str(length))
        for second, count in zip(seconds.tolist(), counts.tolist(), strict=True):
            stamp = f"{int(second // 60):02d}:{int(second % 60):02d}"
            text += words.FRAME_TIMESTAMP_MESSAGE.format(timestamp=stamp)
            text += "<fake_token_around_image><global-img>" + placeholder * count + "<fake_token_around_image>"
        return text + str(words.DEFAULT_MEDIA_OUTTRO)


FAMILIES: dict[str, type[Family]] = {kind.model_type: kind for kind in (LlavaOnevision, QwenVL25, SmolVLM)}


def family_of(config: PreTrainedConfig, settings: Mapping[str, Any]) -> Family:
    """The adapter for a configuration, or a ValueError that lists the model types there are adapters for."""
    return check_model_type(getattr(config, "model_type", "unknown"))(config, settings)


def check_model_type(model_type: str) -> type[Family]:
    """The class for a model type, or a ValueError that lists those there are."""
    if model_type not in FAMILIES:
        raise ValueError(f"Model type {model_type!r} has no seefar adapter. Works with: {', '.join(sorted(FAMILIES))}.")
    return FAMILIES[model_type]


def seconds_per_step(starts: Tensor) -> float:
    """Mean seconds from one temporal step to the next; 1 for a single one."""
    return float((starts[-1] - starts[0]) / (len(starts) - 1)) if len(starts) > 1 else 1.0


def _pooled(pooler_output: Any) -> BaseModelOutputWithPooling:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(pooler_output=pooler_output)
