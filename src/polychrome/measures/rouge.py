"""ROUGE: how much of the human reply the replies repeat, and how much of them the human reply (Lin 2004, W04-1013)."""

import numpy as np

from polychrome.measures.sets import ReplySet
from polychrome.measures.words import rouge_tokens

CONTRASTED, SHOWN = ("rouge_l",), ("rouge_1", "rouge_2")
BOUNDED = (*CONTRASTED, *SHOWN)
THEIRS = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
TOKENS_NEEDED = {"rouge_1": 1, "rouge_2": 2, "rouge_l": 1}  # tokens a human reply needs to be matched at all


def metrics(of: ReplySet) -> dict[str, float | None]:
    """ROUGE-1, ROUGE-2 and ROUGE-L F-measures against the human reply, each the mean over the replies, in [0, 1].

    The mean, not the best of n, so that a wide set is not favoured for its luck. None where the human reply has too
    few tokens for any reply to match.
    """
    from rouge_score.rouge_scorer import RougeScorer  # here: it loads nltk, which only `evaluate` should wait for
    from rouge_score.tokenizers import Tokenizer

    class ForEveryScript(Tokenizer):
        tokenize = staticmethod(rouge_tokens)

    scorer = RougeScorer(list(THEIRS.values()), tokenizer=ForEveryScript())
    scores = [scorer.score(of.human, reply) for reply in of.replies]
    tokens = len(rouge_tokens(of.human))
    return {
        ours: float(np.mean([score[theirs].fmeasure for score in scores])) if tokens >= TOKENS_NEEDED[ours] else None
        for ours, theirs in THEIRS.items()
    }
