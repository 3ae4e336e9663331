"""Whether a reply is well-formed at all, from its text alone.

A gate, not a grade: rewards give nothing to a malformed reply, diversity does not count it as different, and
evaluation does not let it pass. It knows no post, no model and no threshold from data, so that it means the same
everywhere it is used.

The rules, each with the name that :func:`problems_of` gives it:

==============  ======================================================================================
``empty``       nothing but white space and invisible characters
``no_words``    something, but not one letter of any script
``too_short``   fewer than 2 words
``repeated``    a loop: one word 4 times running, 2 or 3 words 3 times running, a sentence of 3 words or
                more said twice, fewer than half of the bigrams distinct in 8 words or more, or one to
                four characters repeated over 24 characters or more
``markup``      a chat-template token, a code fence, or nothing but links
==============  ======================================================================================

``empty`` stands alone; the others may come together, in the order of the table. Words are those of
:func:`~polychrome.measures.words.words_of`, so that laughter ("hahaha", 哈哈哈, ははは) is one.
"""

from itertools import pairwise

import regex

from polychrome.measures.words import length_of, words_of

PROBLEMS = ("empty", "no_words", "too_short", "repeated", "markup")

_LETTER = regex.compile(r"\p{L}")
_VISIBLE = regex.compile(r"[^\s\p{C}\p{Z}\p{M}]")
_SENTENCE_END = regex.compile(r"[.!?\n\p{STerm}]+")
_CHARACTER_LOOP = regex.compile(r"(\S{1,4}?)\1{5,}")
_LINK = regex.compile(r"(?:https?://|www\.)\S+")
_MARKUP = regex.compile(
    r"<\|[^|<>]{1,40}\|>"  # <|im_start|>, <|endoftext|>, <|eot_id|>
    r"|</?(?:s|pad|unk|bos|eos|think|start_of_turn|end_of_turn)>"
    r"|\[/?INST\]|<</?SYS>>|```"
)

_MIN_WORDS = 2
_RUNS = ((1, 4), (2, 3), (3, 3))  # (words, times that they may not stand in a row)
_SENTENCE_WORDS = 3  # shorter sentences may be said twice ("Thank you. Thank you.")
_BIGRAM_WORDS, _BIGRAM_SHARE = 8, 0.5  # words from which, and share below which, distinct bigrams are too few
_CHARACTER_RUN = 24  # characters


def problems_of(reply: str) -> list[str]:
    """What is malformed about ``reply``: names from :data:`PROBLEMS`; ``[]`` means well-formed."""
    if not _VISIBLE.search(reply):
        return ["empty"]
    words = words_of(reply)
    without_links, links = _LINK.subn("", reply)
    found = {
        "no_words": not _LETTER.search(reply),
        "too_short": len(words) < _MIN_WORDS,
        "repeated": _repeats(reply, words),
        "markup": _MARKUP.search(reply) or (links and not words_of(without_links)),
    }
    return [name for name in PROBLEMS if found.get(name)]


def _repeats(reply: str, words: list[str]) -> bool:
    bigrams = list(pairwise(words))
    sentences = [tuple(words_of(part)) for part in _SENTENCE_END.split(reply)]
    sentences = [sentence for sentence in sentences if length_of(sentence) >= _SENTENCE_WORDS]
    loops = (
        words[start : start + size * times] == words[start : start + size] * times
        for size, times in _RUNS
        for start in range(len(words) - size * times + 1)
    )
    return (
        any(loops)
        or (len(words) >= _BIGRAM_WORDS and len(set(bigrams)) < _BIGRAM_SHARE * len(bigrams))
        or len(set(sentences)) < len(sentences)
        or any(len(loop.group()) >= _CHARACTER_RUN for loop in _CHARACTER_LOOP.finditer(reply))
    )
