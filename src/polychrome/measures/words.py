"""What a word is: the readings of a text that this project has, by name, and why one does not do for all.

ROUGE has the tokens of its own package (:mod:`polychrome.measures.rouge`), to report what others report.
"""

import re
from functools import cache
from itertools import pairwise

import regex

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"  # every character a word
_WORD = regex.compile(rf"{_UNSPACED}|(?:(?!{_UNSPACED})[\p{{L}}\p{{N}}]\p{{M}}*)+(?:'(?:[\p{{L}}\p{{N}}]\p{{M}}*)+)*")
_RUN = re.compile(r"[^\W_]\S*")  # from the first letter or digit of a run to the run's end: one match a word
_WORD_OR_MARK = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Runs of letters, marks and digits with inner apostrophes, case-folded, the apostrophes straight.

    What is said, however it is written and in any script (in those without spaces every character is a word): so
    validity, failures and the heuristic reward read.
    """
    return _WORD.findall(text.casefold().replace("\u2019", "'"))


def bigrams_of(text: str) -> list[tuple[str, str]]:
    """Every two of :func:`words_of` in a row."""
    return list(pairwise(words_of(text)))


def count_words(text: str) -> int:
    """How many runs without white space hold at least one letter or digit: ``":) ok 2nd -"`` has two words.

    A link or "e-mail" is one: so cleaning and split, which keep texts as they are written, measure length.
    """
    return len(_RUN.findall(text))


def spaced_words(text: str) -> list[str]:
    """Whatever stands between white space: the plain length that is reported, and that predictions must beat."""
    return text.split()


def words_and_marks(text: str) -> list[str]:
    """Words and punctuation marks in order, in lower case, apostrophes straight: the judge learns from marks, too."""
    return _WORD_OR_MARK.findall(text.lower().replace("\u2019", "'"))


def bleu_tokens(text: str) -> list[str]:
    """Tokens by sacrebleu's 13a rules (mteval-v13a), case kept: self-BLEU and distinct-n are what others report."""
    return _tokenizer_13a()(text).split()


@cache
def _tokenizer_13a():  # type: ignore[no-untyped-def]
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a  # here, since semantic diversity does without sacrebleu

    return Tokenizer13a()
