"""EAD, distinct words that the length of a set does not bias (Liu et al. 2022, arXiv 2202.13587)."""

from polychrome.measures.sets import ReplySet
from polychrome.measures.words import bleu_tokens

SHOWN = ("ead",)
# V, chosen so that human sets have one value whatever their length: of ten human chat replies at a time, EAD correlates
# with the number of tokens by +0.06, distinct-1 by -0.52. With the vocabulary of a language (30,522 in the authors'
# code) the correction of so few tokens is lost in the third digit, and EAD is distinct-1, bias and all.
VOCABULARY = 200


def metrics(of: ReplySet) -> dict[str, float | None]:
    """Different tokens over those that C draws from V equally likely words would show; people are near 1.

    N / (V (1 - ((V - 1) / V)^C)), N different ones of the C tokens of the set. None when no reply has a token.
    """
    tokens = [token for reply in of.replies for token in bleu_tokens(reply)]
    expected = VOCABULARY * (1 - ((VOCABULARY - 1) / VOCABULARY) ** len(tokens))
    return {"ead": len(set(tokens)) / expected if tokens else None}
