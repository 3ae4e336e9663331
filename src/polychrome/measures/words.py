"""What a word is, in any script, and the readings of a text that this project has, by name.

Some scripts put no spaces between words: Han, kana, and those of Unicode's line breaking class SA (Thai, Lao, Khmer,
Burmese, ...). There a *unit*, a character with its marks, stands in for a word. Where their words end is a matter of
dictionaries, one for each language, which a short reply does not give away; units are what sacrebleu's ``zh`` and
``char`` count, too. Where length is measured, two units are a word, about what these languages have. One or two units
said three times or more are one word (哈哈哈, ははは, ああああ), as "hahaha" is.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import regex

LANGUAGE = "not defined for this language"  # said of what does not know the script of a text

_ONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{LB=SA}][\p{M}\u30FC\uFF70\uFF9E\uFF9F]*"  # a unit; with kana's long mark
_SAID = rf"(?P<said>(?:{_ONE}){{1,2}}?)(?P=said){{2,}}"
_LETTER = rf"(?!{_ONE})[\p{{L}}\p{{N}}][\p{{M}}\u200C\u200D]*"  # with the joiners inside words of Persian or Hindi
_SIGN = rf"(?:{_LETTER}|_)+"
_WORD = regex.compile(rf"{_SAID}|{_ONE}|(?:{_LETTER})+(?:'(?:{_LETTER})+)*")
_WORD_OR_MARK = regex.compile(rf"{_SAID}|{_ONE}|{_SIGN}(?:'{_SIGN})?|[^\p{{L}}\p{{N}}_\s]")
_RUN = regex.compile(rf"\p{{Ps}}*(?:{_SAID}|(?:{_ONE}){{1,2}})\p{{P}}*|(?:(?!{_ONE})\S)+")
_UNIT = regex.compile(_ONE)
_UNITS = regex.compile(rf"{_SAID}|{_ONE}")
_LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")
_LATIN, _OTHER = regex.compile(r"\p{Latin}"), regex.compile(r"[^\P{L}\p{Latin}]")
_LATIN_WITH_MARKS = regex.compile(r"\p{Latin}\p{M}*")
_MARK = regex.compile(r"\p{M}")
_EMOJI = regex.compile(r"\p{Extended_Pictographic}")


def words_of(text: str) -> list[str]:
    """Runs of letters, marks and digits with inner apostrophes, case-folded, the apostrophes straight; units.

    What is said, however it is written and in any script: so validity, failures and the heuristic reward read.
    """
    return [match.group() for match in _WORD.finditer(text.casefold().replace("\u2019", "'"))]


def bigrams_of(text: str) -> list[tuple[str, str]]:
    """Every two of :func:`words_of` in a row."""
    return list(pairwise(words_of(text)))


def length_of(words: Sequence[str]) -> float:
    """How many words those of :func:`words_of` amount to, a unit being half of one."""
    return len(words) - 0.5 * sum(_UNIT.fullmatch(word) is not None for word in words)


def spaced_words(text: str) -> list[str]:
    """Whatever stands between white space, of units two: the plain length that is reported and is to be beaten."""
    return [match.group() for match in _RUN.finditer(text)] if _UNIT.search(text) else text.split()


def count_words(text: str) -> int:
    """How many of :func:`spaced_words` hold at least one letter or digit: ``":) ok 2nd -"`` has two words.

    A link or "e-mail" is one: so cleaning and split, which keep texts as they are written, measure length.
    """
    return sum(_LETTER_OR_DIGIT.search(word) is not None for word in spaced_words(text))


def words_and_marks(text: str) -> list[str]:
    """Words and punctuation marks in order, in lower case, apostrophes straight: the judge learns from marks, too."""
    return [match.group() for match in _WORD_OR_MARK.finditer(text.lower().replace("\u2019", "'"))]


def bleu_tokens(text: str) -> list[str]:
    """Tokens by sacrebleu's rules, case kept: self-BLEU and distinct-n are what others report.

    ``13a`` (mteval-v13a) for Latin script, ``intl``, which knows everybody's marks, for others and for bare emoji; each
    unit is a token.
    """
    plain = is_latin(text) and (_LATIN.search(text) or not _EMOJI.search(text))
    return _tokenizer("13a" if plain else "intl")(_UNITS.sub(r" \g<0> ", text)).split()


def rouge_tokens(text: str) -> list[str]:
    """What ROUGE's own package makes of [a-z0-9], for every script: :func:`words_of`, parted at apostrophes.

    Accents are folded in Latin script (``été`` is ``ete``) and nowhere else, where marks make other letters or vowels.
    """
    folded = _LATIN_WITH_MARKS.sub(lambda letter: _MARK.sub("", unicodedata.normalize("NFD", letter.group())), text)
    return [part for word in words_of(folded) for part in word.split("'")]


def is_latin(text: str) -> bool:
    """Whether at least half of the letters are Latin. What knows English words alone has no opinion of other texts.

    Script is all that a short text shows for certain: French counts as known.
    """
    return text.isascii() or len(_LATIN.findall(text)) >= len(_OTHER.findall(text))


def script_of(text: str) -> str:
    """The script of most letters of ``text``, by its name in Unicode: Latin if :func:`is_latin`; kana count as Han."""
    if is_latin(text):
        return "Latin"
    found = Counter(_script(letter) for letter in _OTHER.findall(text))
    return max(sorted(found), key=found.__getitem__)


@cache
def _script(letter: str) -> str:
    first = (
        unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]
    )  # "HIRAGANA LETTER A", "CJK UNIFIED IDEOGRAPH-"
    return "Han" if first in ("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH") else first.capitalize()


@cache
def _tokenizer(name: str):  # type: ignore[no-untyped-def]
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a  # here, since semantic diversity does without sacrebleu
    from sacrebleu.tokenizers.tokenizer_intl import TokenizerV14International

    return Tokenizer13a() if name == "13a" else TokenizerV14International()
