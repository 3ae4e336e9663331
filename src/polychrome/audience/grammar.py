"""What posts and replies look like in the audience world, and of which kind a reply is.

A post is about one topic, an adjective and a noun. A reply is of the kind that its first words say, if it has the form
of a reply (at most :data:`LONGEST` words, a mark at its end, well-formed) and names the topic of its post. People's
replies are an opening and a body of one kind; a model may end what it opened as it likes.
"""

import re
from functools import cache

from polychrome.measures.validity import problems_of

_WORDS = """old new red blue green tiny huge wooden golden rusty secret broken lucky noisy quiet famous strange shiny
fancy sleepy, piano garden kitchen bicycle guitar robot castle library bakery camera telescope boat tent cabin parrot
puppy kitten pony cake soup puzzle novel painting statue"""
ADJECTIVES, NOUNS = (tuple(words.split()) for words in _WORDS.split(","))
TOPICS = tuple(f"{adjective} {noun}" for noun in NOUNS for adjective in ADJECTIVES)

POSTS = (
    "I finally spent some time with the {} today.",
    "The {} is all that I can think about.",
    "We brought the {} home last night.",
    "Nobody told me how much work the {} would be.",
    "A friend of mine left the {} with me.",
    "The {} is back and I have mixed feelings.",
    "This morning I saw the {} again.",
    "My plans for the {} have changed.",
    "I promised to look after the {} this week.",
    "People keep asking me about the {}.",
)

_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # kind -> how it opens, how it may go on
    "question": (
        ("How", "Why", "When", "Where", "And how", "But why", "Since when", "With whom"),
        (
            "did you find the {}?",
            "did you choose the {}?",
            "do you want to keep the {}?",
            "does the {} come in?",
            "will you show the {} to us?",
            "would you share the {}?",
        ),
    ),
    "agreement": (
        ("Yes,", "Exactly,", "Agreed,", "True,", "Same here,", "Totally,", "Absolutely,", "So true,"),
        (
            "the {} is just like that.",
            "I feel the same about the {}.",
            "I would say that of the {} too.",
            "the {} does that to all of us.",
            "you are right about the {}.",
            "that is the {} for you.",
            "nobody could doubt the {}.",
        ),
    ),
    "congratulation": (
        ("Congratulations,", "Congrats,", "Well done,", "Bravo,", "Hooray,", "Way to go,", "Cheers,", "Good for you,"),
        (
            "the {} is a big win!",
            "you earned the {}!",
            "here is to the {}!",
            "the {} makes us proud!",
            "what a success with the {}!",
            "you and the {} did great!",
        ),
    ),
    "sympathy": (
        ("Sorry,", "So sorry,", "Oh no,", "Oh dear,", "Poor you,", "Hugs,", "Hang in there,", "Such a pity,"),
        (
            "the {} must be hard on you.",
            "I know the {} hurts.",
            "the {} sounds so tiring.",
            "the {} is a lot to bear.",
            "nobody deserves that from the {}.",
            "I hope the {} gets easier.",
        ),
    ),
    "advice": (
        ("Maybe", "Perhaps", "Next time", "You should", "You could", "Better", "Just", "Always"),
        (
            "take the {} slowly.",
            "ask someone about the {}.",
            "keep the {} in a dry place.",
            "take a photo of the {}.",
            "read a guide to the {}.",
            "give the {} one more day.",
        ),
    ),
    "story": (
        ("Once", "Years ago", "One winter", "Last summer", "As a child", "Back home", "Long ago", "One day"),
        (
            "my uncle lost the {} at sea.",
            "we hid the {} from my aunt.",
            "I slept beside the {} all night.",
            "a neighbor traded the {} for a goat.",
            "my sister painted the {} at school.",
            "the {} saved our family trip.",
        ),
    ),
    "joke": (
        ("Ha,", "Haha,", "Plot twist:", "Breaking news:", "Knock knock,", "Rumor has it", "Legend says", "Spoiler:"),
        (
            "the {} wants a raise.",
            "the {} has its own lawyer.",
            "the {} is running for mayor.",
            "the {} ate my homework.",
            "the {} now charges rent.",
            "the {} started a rock band.",
        ),
    ),
    "fact": (
        ("Fact:", "Fun fact:", "In fact", "Actually", "On average", "Technically", "Historically", "Statistically"),
        (
            "the {} dates back to Rome.",
            "the {} weighs about two pounds.",
            "one in ten people own the {}.",
            "the {} is sold in sixty countries.",
            "the {} lasts for nine years.",
            "the {} has a museum in Vienna.",
        ),
    ),
}
KINDS = tuple(_KINDS)
FORMS = {kind: tuple(f"{a} {b}" for a in opens for b in bodies) for kind, (opens, bodies) in _KINDS.items()}
LONGEST = 14  # words of a reply

_TOPIC = re.compile(rf"\b(?:{'|'.join(ADJECTIVES)}) (?:{'|'.join(NOUNS)})\b")
_OPENING = {opening.strip(",:").casefold(): kind for kind, (openings, _) in _KINDS.items() for opening in openings}
_OPENED = re.compile(rf"(?:{'|'.join(sorted(_OPENING, key=len, reverse=True))})(?!\w)")  # the longest that fits


def topic_of(post: str) -> str:
    """The topic of ``post``, "" for a post that is not of this world."""
    found = _TOPIC.search(post)
    return found[0] if found and post.replace(found[0], "{}", 1) in POSTS else ""


def kind_of(post: str, reply: str) -> int:
    """The kind of ``reply``, its place in :data:`KINDS`; -1 off the topic of ``post`` or without the form of a reply.

    Nothing but the two texts and this grammar counts. Upper and lower case do not.
    """
    topic, text = topic_of(post), reply.strip().casefold()
    opened = _OPENED.match(text)
    if not (opened and text[-1] in ".!?" and "\n" not in text and len(text.split()) <= LONGEST):
        return -1
    if not (topic and re.search(rf"\b{topic}\b", text)) or _problems(text):
        return -1
    return KINDS.index(_OPENING[opened[0]])


_problems = cache(problems_of)
