"""What makes a reply malformed, rule by rule, and what must not."""

import pytest

from polychrome.measures.validity import PROBLEMS, problems_of

HUMAN = [
    "haha really? I had 2 open with the same person earlier",
    "yes I am",
    "Ya I'm so excited!",
    "Ha ha ha, you got me there",
    "no no no, that was my brother",
    "Thank you. Thank you.",
    "soooo good!!! :)",
    "see https://example.org/cats for more",
    "I < 3 cats & dogs",
    "Je ne sais pas, et toi ?",
    "你好吗",
    "नमस्ते आप कैसे हैं",
    "well no no no",  # loops start at four words and at three phrases
    "well you know you know",
    "a b c d e a b c d e a",  # 11 words, 10 bigrams, 5 of them distinct: half is enough
]


@pytest.mark.parametrize("reply", HUMAN)
def test_what_people_write_is_well_formed(reply):
    assert problems_of(reply) == []


@pytest.mark.parametrize(
    ("problems", "replies"),
    [
        (["empty"], ["", "   ", "\n\t", "\u200b \ufeff"]),
        (["no_words"], ["2 + 2", "1 2 3", "12:30 99"]),
        (["too_short"], ["Hi", "Yeah . . .", "don't!", "好"]),
        (["no_words", "too_short"], ["!!!", ":)", "\U0001f642\U0001f642"]),
        (
            ["repeated"],
            [
                "I really really really really like it",
                "No, NO, no! no",
                "i know, i know, i know",
                "one by one one by one one by one",
                "We saw the cat. Then we saw the cat. Then we saw the cat",
                "I love dogs. What about you? I love dogs.",
                "the cat and the cat and the cat and a cat",
                "oh heck n" + "o" * 30,
                "that is so ha" + "ha" * 12,
                "well no no no no",
                "well you know you know you know",
                "a b c d e a b c d e a b",  # 12 words, 11 bigrams, 5 of them distinct
            ],
        ),
        (
            ["markup"],
            [
                "<|im_start|>assistant I like cats",
                "I like cats<|im_end|>",
                "I like cats</s>",
                "[INST] I like cats [/INST]",
                "```python\nprint the cats\n```",
                "https://example.org/a/b",
                "https://example.org/a www.example.org/b",
            ],
        ),
        (["repeated", "markup"], ["<|user|> no no no no"]),  # all that is wrong, in the order of the table
    ],
    ids=lambda value: "-".join(value) if value[0] in PROBLEMS else "",
)
def test_what_is_malformed_is_named(problems, replies):
    assert [problems_of(reply) for reply in replies] == [problems] * len(replies)
