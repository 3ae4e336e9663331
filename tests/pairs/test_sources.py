import json
import math

import pytest

from polychrome.errors import InputError
from polychrome.pairs.sources import reader_of
from polychrome.pairs.sources.chitchat import HABIT_PRIOR_TURNS, relative_effort

TWEET = {"tweet": "What is for lunch?", "reply": "Soup, as ever.", "tweet_likes": 4, "reply_likes": 2}
WRONG = {  # what a field may not be
    "tweet": ["3"],
    "reply": ['["a"]', '"half a pair: \\ud83d"'],
    "tweet_id": ["1.5", "true"],
    "reply_id": ['" "'],
    "reply_author": ["{}"],
    "tweet_likes": ['"twelve"', "true", "2.5"],
    "reply_likes": ["NaN", "-2", "Infinity", "1e400", "1" + "0" * 400],
    "reply_retweets": ["-3"],
    "reply_author_followers": ["NaN"],
    "reply_time_diff_seconds": ["-0.5", "NaN"],
}


def read_tweets(tmp_path, *lines):
    path = tmp_path / "tweets.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return reader_of("tweets")(path)


def problems_of_tweets(tmp_path, *lines):
    with pytest.raises(InputError) as caught:
        read_tweets(tmp_path, *lines)
    assert all(problem.expected and problem.remedy for problem in caught.value.problems)
    path = str(tmp_path / "tweets.jsonl")
    return [(problem.where.removeprefix(path), problem.found) for problem in caught.value.problems]


def read_chitchat(tmp_path, conversations):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(conversations))
    return reader_of("chitchat")(path)


def turn(sender, *texts):
    return [{"text": text, "timestamp": "2018-05-02T19:38:15Z", "sender": sender} for text in texts]


# --- which source ---


def test_a_source_has_to_be_known():
    with pytest.raises(InputError, match=r"data\.source: found 'twits'; expected one of chitchat, replies"):
        reader_of("twits")


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        ("chitchat", None, "found no such file; .*data\\.path"),
        ("tweets", None, "found no such file; .*data\\.path"),
        ("chitchat", '{"a":\n nonsense}', "2: found malformed JSON"),
        ("chitchat", "[]", r"found \[\]; expected an object of conversations"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_with_its_line_and_what_to_do(source, content, message, tmp_path):
    path = tmp_path / "data.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=rf"data\.json:\s?{message}"):
        reader_of(source)(path)


# --- chitchat ---


def test_a_pair_is_a_turn_and_the_partners_next_turn_with_messages_joined(tmp_path):
    turns = [turn("ann", "Hello", "how are you?"), turn("bob", "Fine."), turn("ann", "Good to hear.")]
    first, second = read_chitchat(tmp_path, {"talk": {"messages": turns}})
    assert (first.id, first.conversation, first.post, first.reply) == ("talk:0", "talk", "Hello how are you?", "Fine.")
    assert (first.author, first.post_author) == ("bob", "ann")
    assert (second.post, second.reply) == ("Fine.", "Good to hear.")


def test_engagement_is_the_receivers_next_turn_and_absent_where_nobody_or_somebody_else_follows(tmp_path):
    start = [turn("ann", "Hello there"), turn("bob", "Hi!")]
    ends = {"short": ("ann", "Yes"), "long": ("ann", "Yes and so much more to say"), "other": ("bob", "Anybody?")}
    conversations = {name: {"messages": [*start, turn(*end)]} for name, end in ends.items()}
    engagement = {candidate.id: candidate.engagement for candidate in read_chitchat(tmp_path, conversations)}
    assert engagement["long:0"] > engagement["short:0"] > 0
    assert engagement["long:1"] is None
    assert engagement["other:0"] is None


def test_the_last_turns_before_a_post_are_its_context_and_those_of_who_answers_are_the_assistants(tmp_path):
    turns = [turn("ann", "1"), turn("bob", "2"), turn("ann", "3"), turn("bob", "4")]
    (tmp_path / "dataset.json").write_text(json.dumps({"talk": {"messages": turns}}))
    contexts = [candidate.context for candidate in reader_of("chitchat")(tmp_path, context_turns=2)]
    assert contexts == [(), (("assistant", "1"),), (("user", "1"), ("assistant", "2"))]


def test_relative_effort_is_effort_over_the_habit_of_the_other_turns_by_hand():
    words = {"ann": [1, 3], "bob": [7]}
    log = math.log
    prior = HABIT_PRIOR_TURNS * (log(2) + log(4) + log(8)) / 3
    habit = (log(4) + prior) / (1 + HABIT_PRIOR_TURNS)
    efforts = relative_effort(words)
    assert efforts["ann"][0] == pytest.approx(2 / math.exp(habit))
    assert efforts["bob"][0] == pytest.approx(8 / math.exp(prior / HABIT_PRIOR_TURNS))  # no other turn: everybody's


@pytest.mark.parametrize(
    ("conversation", "where"),
    [
        ([], "messages"),
        ({}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [[]]}, "messages[0]"),
        ({"messages": [["hi"]]}, "messages[0][0]"),
        ({"messages": [[{"sender": "ann"}]]}, "messages[0][0].text"),
        ({"messages": [[{"text": "hi"}]]}, "messages[0][0].sender"),
        ({"messages": [[{"text": 3, "sender": "ann"}]]}, "messages[0][0].text"),
        ({"messages": [turn("ann", "hi") + turn("bob", "hi")]}, "messages[0]"),
    ],
)
def test_a_malformed_conversation_is_reported_by_id_and_place(conversation, where, tmp_path):
    good = {"messages": [turn("ann", "Hello"), turn("bob", "Hi!")]}
    with pytest.raises(InputError) as caught:
        read_chitchat(tmp_path, {"good": good, "odd": conversation})
    assert [problem.where for problem in caught.value.problems] == [f"{tmp_path / 'dataset.json'}:odd:{where}"]


# --- tweets ---


@pytest.mark.parametrize(
    ("likes", "engagement"),
    [
        ({}, None),
        ({"tweet_likes": 4, "reply_likes": 2}, 0.5),
        ({"tweet_likes": 0, "reply_likes": 3}, 3.0),
        ({"tweet_likes": 1, "reply_likes": 0}, 0.0),
        ({"tweet_likes": 3, "reply_likes": None}, None),
    ],
)
def test_engagement_is_reply_likes_over_at_least_one_tweet_like(likes, engagement, tmp_path):
    (candidate,) = read_tweets(tmp_path, {"tweet": "Hello?", "reply": "Here!"} | likes)
    assert (candidate.post, candidate.reply, candidate.author) == ("Hello?", "Here!", "")
    assert candidate.engagement == engagement


def test_likes_count_as_they_are_only_where_no_line_has_tweet_likes(tmp_path):
    without = {"tweet": "What is for lunch?", "reply": "Soup.", "reply_likes": 6}
    assert read_tweets(tmp_path, without)[0].engagement == 6
    assert [candidate.engagement for candidate in read_tweets(tmp_path, without, TWEET)] == [None, 0.5]


def test_replies_to_one_tweet_share_a_conversation_by_id_or_else_by_text(tmp_path):
    rows = [
        {"tweet": "Hello", "reply": "a", "tweet_id": 17},
        {"tweet": "hello ", "reply": "b"},  # the same text, whose id another line gives
        {"tweet": "Bye", "reply": "c"},
        {"tweet": "BYE", "reply": "d"},
        {"tweet": "Later", "reply": "e"},
    ]
    names = [candidate.conversation for candidate in read_tweets(tmp_path, *rows)]
    assert names[0] == names[1] == "17"
    assert names[2] == names[3]
    assert len(set(names)) == 3


def test_ids_authors_and_circumstances_are_taken_over_and_null_is_absent(tmp_path):
    row = TWEET | {"reply_id": 5, "reply_author": "mia", "tweet_author": "bob"}
    circumstances = {"reply_retweets": 1, "reply_author_followers": 20, "reply_time_diff_seconds": 1.5}
    (candidate,) = read_tweets(tmp_path, row | circumstances)
    assert (candidate.id, candidate.author, candidate.post_author) == ("5", "mia", "bob")
    assert dict(candidate.circumstances) == circumstances
    # nor are unknown fields, blank lines and blank texts a fault
    row = TWEET | {"reply_id": None, "reply_retweets": None, "language": "en"}
    assert len(read_tweets(tmp_path, row, "", TWEET | {"reply": None}, TWEET | {"tweet": " "})) == 3


def test_a_folder_is_read_by_name_and_has_to_hold_jsonl(tmp_path):
    with pytest.raises(InputError, match=r"no \.jsonl file"):
        reader_of("tweets")(tmp_path)
    for name, text in (("b.jsonl", "second"), ("a.jsonl", "first"), ("notes.txt", "no")):
        (tmp_path / name).write_text(json.dumps({"tweet": "Hello", "reply": text}))
    assert [candidate.reply for candidate in reader_of("tweets")(tmp_path)] == ["first", "second"]


@pytest.mark.parametrize(
    ("line", "where", "found"),
    [
        ("nonsense", "", "malformed JSON (Expecting value at column 1)"),
        ('{"tweet": ' + "9" * 5000 + "}", "", "malformed JSON (Exceeds the limit"),
        ('"text"', "", "'text'"),
        ('{"tweet": "a"}', ":reply", "no such field"),
        ('{"reply": "a"}', ":tweet", "no such field"),
        *(
            (json.dumps(TWEET | {name: "it"}).replace('"it"', literal), f":{name}", "")
            for name, literals in WRONG.items()
            for literal in literals
        ),
    ],
)
def test_a_line_that_lacks_a_text_or_has_a_wrong_type_or_an_impossible_number_is_reported(line, where, found, tmp_path):
    ((place, what),) = problems_of_tweets(tmp_path, TWEET, line)
    assert (place, what[: len(found)]) == (f":2{where}", found)


def test_all_bad_lines_of_all_files_are_reported_and_a_repeated_id_with_its_first_place(tmp_path):
    bad = [
        {"tweet": "a"},
        TWEET | {"reply_likes": -2, "tweet_likes": "x"},
        "{",
        TWEET | {"reply_id": "1"},
        TWEET | {"reply_id": 1},
    ]
    wheres = [where for where, _ in problems_of_tweets(tmp_path, *bad)]
    assert wheres == [":1:reply", ":2:tweet_likes", ":2:reply_likes", ":3", ":5:reply_id"]
    (tmp_path / "unlike.jsonl").write_text(json.dumps(TWEET | {"reply_id": 1}))
    with pytest.raises(InputError) as caught:
        reader_of("tweets")(tmp_path)
    assert len(caught.value.problems) == 6
    assert caught.value.problems[-1].where == f"{tmp_path}/unlike.jsonl:1:reply_id"
    assert "tweets.jsonl:4 has it already" in caught.value.problems[-1].expected
