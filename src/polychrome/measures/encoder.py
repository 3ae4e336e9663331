"""The sentence encoder: texts in, unit vectors out (MiniLM: mean pooling, then L2 normalisation).

Sentence-BERT, Reimers and Gurevych 2019 (arXiv 1908.10084), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from polychrome.errors import bad

BATCH = 64  # texts a forward pass
MAX_TOKENS = 128  # longer texts are cut: the length the encoder was trained at


class Encoder:
    """Embeds texts; within a call, equal texts cost one forward pass.

    Nothing is remembered from call to call unless asked for: a vector's last bits depend on the texts it is embedded
    with, so with a memory what training computes would depend on what it computed before, and a resumed run would
    differ from an undisturbed one. A stage that always runs in one piece may remember.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dimension: int, remember: bool = False
    ):
        self._model, self._tokenizer, self.dimension = model, tokenizer, dimension
        self._memory: dict[str, np.ndarray] | None = {} if remember else None

    @classmethod
    def open(cls, directory: str | Path, *, remember: bool = False) -> Encoder:
        """Open an encoder directory (config, safetensors, tokenizer). Raises InputError when it is not there."""
        directory = Path(directory)
        if not (directory / "config.json").is_file():
            raise bad(str(directory), "no encoder", "a directory with config.json", "Run `dvc repro assets`.")
        model = AutoModel.from_pretrained(directory, use_safetensors=True, dtype=torch.float32).eval()
        return cls(model, AutoTokenizer.from_pretrained(directory), model.config.hidden_size, remember)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed ``texts``. Returns float32 (len(texts), dimension) with rows of unit length."""
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        known = {} if self._memory is None else self._memory
        new = sorted(set(texts) - known.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            known.update(zip(batch, self._forward(batch), strict=True))
        return np.stack([known[text] for text in texts])

    @torch.inference_mode()
    def _forward(self, texts: list[str]) -> np.ndarray:
        inputs = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        hidden = self._model(**inputs).last_hidden_state  # (n, tokens, dimension)
        mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=-1).float().cpu().numpy()
