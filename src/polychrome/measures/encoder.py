"""The sentence encoder: texts in, unit vectors out (MiniLM: mean pooling, then L2 normalisation).

Sentence-BERT, Reimers and Gurevych 2019 (arXiv 1908.10084), section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from polychrome.errors import bad
from polychrome.measures.words import script_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 64  # texts per forward pass
MAX_TOKENS = 128  # longer texts are cut: the length the encoder was trained at
PIECES = 1000  # of a script in the vocabulary, from which on the encoder knows it
ENOUGH = (
    30  # pairs in scripts that the encoder knows, without which no threshold of cosines is set where there are others
)


class TextEncoder(Protocol):
    """Whatever embeds texts, such as :class:`Encoder`."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed n texts as float32 (n, d), each row of length 1."""
        ...


class Encoder:
    """Embeds texts; within a call, equal texts cost one forward pass.

    Nothing is remembered from call to call unless asked for: a vector's last bits depend on the texts it is embedded
    with, so with a memory what training computes would depend on what it computed before, and a resumed run would
    differ from an undisturbed one. A stage that always runs in one piece may remember.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, remember: bool = False):
        self._model, self._tokenizer, self.dimension = model, tokenizer, model.config.hidden_size
        self._memory: dict[str, np.ndarray] | None = {} if remember else None
        self._scripts: Counter[str] | None = None  # pieces of the vocabulary by script, counted when first asked for

    @classmethod
    def open(cls, directory: str | Path, *, remember: bool = False) -> Encoder:
        """Open an encoder directory (config, safetensors, tokenizer). Raises InputError when it is not there."""
        import torch  # here, since those who only pass an encoder on should not wait seconds for its import
        from transformers import AutoModel, AutoTokenizer

        directory = Path(directory)
        if not (directory / "config.json").is_file():
            raise bad(str(directory), "no encoder", "a directory with config.json", "Run `dvc repro assets`.")
        model = AutoModel.from_pretrained(directory, use_safetensors=True, dtype=torch.float32).eval()
        return cls(model, AutoTokenizer.from_pretrained(directory), remember)

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

    def knows(self, text: str) -> bool:
        """Whether the vocabulary has words of the script of ``text``, not just its letters: :data:`PIECES` pieces.

        Latin script is always known: which of its languages is another matter. A vocabulary of English alone has up
        to 500 pieces of other scripts (BERT's: 494 of Han), a multilingual one thousands.
        """
        if (script := script_of(text)) == "Latin":
            return True
        if self._scripts is None:
            pieces = self._tokenizer.batch_decode([[number] for number in range(len(self._tokenizer))])
            self._scripts = Counter(script_of(piece) for piece in pieces)
        return self._scripts[script] >= PIECES

    def _forward(self, texts: list[str]) -> np.ndarray:
        import torch

        inputs = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        with torch.inference_mode():
            hidden = self._model(**inputs).last_hidden_state  # (n, tokens, dimension)
            mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(mean, dim=-1).float().cpu().numpy()


def known(encoder: TextEncoder, *texts: Sequence[str]) -> np.ndarray:
    """Whether ``encoder`` knows the scripts of the i-th of all ``texts``, each (n,): bool (n,). Who cannot say does."""
    knows = getattr(encoder, "knows", lambda text: True)
    return np.array([all(map(knows, each)) for each in zip(*texts, strict=True)], dtype=bool)


def calibrating(encoder: TextEncoder, posts: Sequence[str], replies: Sequence[str]) -> np.ndarray:
    """Places, ascending, of the pairs that set thresholds of cosines: those whose scripts ``encoder`` knows.

    None where these are fewer than :data:`ENOUGH` beside others.
    """
    places = np.flatnonzero(known(encoder, posts, replies))
    return places if len(places) >= min(ENOUGH, len(posts)) else places[:0]


def relevance(posts: Sequence[str], replies: Sequence[str], encoder: TextEncoder) -> np.ndarray:
    """Cosine (n,) of each post and its reply, float64; NaN where ``encoder`` does not know the script of either."""
    p, r = encoder.embed(posts).astype(np.float64), encoder.embed(replies).astype(np.float64)
    return np.where(known(encoder, posts, replies), np.einsum("nd,nd->n", p, r), np.nan)


def cosines(texts: Sequence[str], encoder: TextEncoder) -> np.ndarray:
    """Cosine of every two of n ``texts``: float64 (n, n); NaN where ``encoder`` does not know the script of either."""
    vectors, seen = np.asarray(encoder.embed(texts), dtype=np.float64), known(encoder, texts)
    return np.where(seen[:, None] & seen, vectors @ vectors.T, np.nan)


class PairVectors:
    """Vectors of posts and of the replies to them, as a reward reads them: distinct replies together, posts alone.

    Alone and once for good, not in a batch: padding moves the last bits, and a run that goes on from a checkpoint with
    an empty memory has to score as one that was never stopped.
    """

    def __init__(self, encoder: TextEncoder):
        self._encoder = encoder
        self._posts: dict[str, np.ndarray] = {}

    def __call__(self, posts: Sequence[str], replies: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of n >= 1 posts and of their replies: two float64 (n, d)."""
        distinct = sorted(set(replies))
        of_reply = dict(zip(distinct, np.asarray(self._encoder.embed(distinct), dtype=np.float64), strict=True))
        for post in dict.fromkeys(posts):
            if post not in self._posts:
                self._posts[post] = np.asarray(self._encoder.embed([post])[0], dtype=np.float64)
        return np.stack([self._posts[post] for post in posts]), np.stack([of_reply[reply] for reply in replies])
