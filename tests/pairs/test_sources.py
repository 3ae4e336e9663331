import json
import math

import pytest

from polychrome.errors import InputError
from polychrome.pairs.sources import HABIT_PRIOR_TURNS, relative_effort, source_named, source_path

TWEET = {"tweet": "What is for lunch?", "reply": "Soup, as ever.", "tweet_likes": 4, "reply_likes": 2}


def read_tweets(tmp_path, *lines):
    path = tmp_path / "tweets.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return list(source_named("tweets")(path))


def problems_of_tweets(tmp_path, *lines):
    with pytest.raises(InputError) as told:
        read_tweets(tmp_path, *lines)
    for problem in told.value.problems:
        assert problem.where.startswith(str(tmp_path / "tweets.jsonl"))
        assert problem.expected
        assert problem.remedy
    return [
        (problem.where.removeprefix(str(tmp_path / "tweets.jsonl")), problem.found) for problem in told.value.problems
    ]


def read_chitchat(tmp_path, conversations):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(conversations))
    return list(source_named("chitchat")(path))


def turn(sender, *texts):
    return [{"text": text, "timestamp": "2018-05-02T19:38:15Z", "sender": sender} for text in texts]


# --- which source ---


def test_an_unknown_source_is_told_with_those_there_are():
    with pytest.raises(InputError, match=r"data\.source: found 'twits'; expected one of chitchat, tweets"):
        source_named("twits")


def test_chitchat_has_a_path_of_its_own_and_tweets_must_be_given_one():
    assert source_path("chitchat", "").as_posix() == "assets/chitchat/dataset.json"
    assert source_path("tweets", "my.jsonl").as_posix() == "my.jsonl"
    with pytest.raises(InputError, match=r"data\.path"):
        source_path("tweets", "")


@pytest.mark.parametrize("source", ["chitchat", "tweets"])
def test_a_missing_file_is_told(source, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json.*no such file"):
        source_named(source)(tmp_path / "nowhere.json")


@pytest.mark.parametrize("source", ["chitchat", "tweets"])
@pytest.mark.parametrize("content", ["", " \n\n", "\ufeff"])
def test_an_empty_file_is_told(source, content, tmp_path):
    path = tmp_path / "data.json"
    path.write_text(content)
    with pytest.raises(InputError, match="an empty file"):
        source_named(source)(path)


@pytest.mark.parametrize("source", ["chitchat", "tweets"])
def test_every_line_that_is_not_utf8_is_told(source, tmp_path):
    path = tmp_path / "data.json"
    path.write_bytes(b'{"a":\n"caf\xe9"\n}\n\xff\n')
    with pytest.raises(InputError) as told:
        source_named(source)(path)
    not_utf8 = [problem.where for problem in told.value.problems if "not UTF-8" in problem.found]
    assert not_utf8 == [f"{path}:2", f"{path}:4"]


# --- chitchat ---


def test_a_pair_is_a_turn_and_the_partners_next_turn_with_messages_joined(tmp_path):
    turns = [turn("ann", "Hello", "how are you?"), turn("bob", "Fine."), turn("ann", "Good to hear.")]
    first, second = read_chitchat(tmp_path, {"talk": {"messages": turns}})
    assert (first.id, first.conversation, first.post, first.reply) == ("talk:0", "talk", "Hello how are you?", "Fine.")
    assert (first.author, first.post_author) == ("bob", "ann")
    assert (second.post, second.reply) == ("Fine.", "Good to hear.")


def test_engagement_is_the_receivers_next_turn_and_absent_where_nobody_answers(tmp_path):
    short = [turn("ann", "Hello there"), turn("bob", "Hi!"), turn("ann", "Yes")]
    long = [turn("ann", "Hello there"), turn("bob", "Hi!"), turn("ann", "Yes and so much more to say")]
    candidates = read_chitchat(tmp_path, {"short": {"messages": short}, "long": {"messages": long}})
    engagement = {candidate.id: candidate.engagement for candidate in candidates}
    assert engagement["long:0"] > engagement["short:0"] > 0
    assert engagement["long:1"] is None


def test_a_turn_by_somebody_else_after_the_reply_does_not_measure_the_receiver(tmp_path):
    turns = [turn("ann", "Hello there"), turn("bob", "Hi!"), turn("bob", "Anybody?")]
    assert read_chitchat(tmp_path, {"talk": {"messages": turns}})[0].engagement is None


def test_relative_effort_is_effort_over_the_habit_of_the_other_turns_by_hand():
    words = {"ann": [1, 3], "bob": [7]}
    log = math.log
    prior = HABIT_PRIOR_TURNS * (log(2) + log(4) + log(8)) / 3
    habit = (log(4) + prior) / (1 + HABIT_PRIOR_TURNS)
    efforts = relative_effort(words)
    assert efforts["ann"][0] == pytest.approx(2 / math.exp(habit))
    assert efforts["bob"][0] == pytest.approx(8 / math.exp(prior / HABIT_PRIOR_TURNS))  # no other turn: everybody's


def test_the_same_turn_counts_more_from_a_terse_person_than_from_a_verbose_one():
    efforts = relative_effort({"terse": [2] * 20 + [10], "verbose": [30] * 20 + [10]})
    assert efforts["terse"][-1] > 1 > efforts["verbose"][-1]


def test_a_turn_does_not_enter_its_own_habit():
    low, high = (relative_effort({"ann": [5, 5, words], "all": [5] * 10_000})["ann"][2] for words in (1, 63))
    assert high / low == pytest.approx(64 / 2, rel=1e-2)  # the mean of everybody hardly moves


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
def test_a_malformed_conversation_is_told_by_id_and_place(conversation, where, tmp_path):
    good = {"messages": [turn("ann", "Hello"), turn("bob", "Hi!")]}
    with pytest.raises(InputError) as told:
        read_chitchat(tmp_path, {"good": good, "odd": conversation})
    assert [problem.where for problem in told.value.problems] == [f"{tmp_path / 'dataset.json'}:odd:{where}"]


def test_chitchat_that_is_not_json_is_told_by_line(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text('{"a":\n nonsense}')
    with pytest.raises(InputError, match=r"dataset\.json:2: found malformed JSON"):
        source_named("chitchat")(path)


# --- tweets ---


def test_a_minimal_line_has_texts_and_no_engagement(tmp_path):
    (candidate,) = read_tweets(tmp_path, {"tweet": "Hello?", "reply": "Here!"})
    assert (candidate.post, candidate.reply, candidate.engagement, candidate.author) == ("Hello?", "Here!", None, "")


@pytest.mark.parametrize(
    ("tweet_likes", "reply_likes", "engagement"), [(4, 2, 0.5), (0, 3, 3.0), (1, 0, 0.0), (3, None, None)]
)
def test_engagement_is_reply_likes_over_at_least_one_tweet_like(tweet_likes, reply_likes, engagement, tmp_path):
    row = TWEET | {"tweet_likes": tweet_likes, "reply_likes": reply_likes}
    assert read_tweets(tmp_path, row)[0].engagement == engagement


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


def test_ids_authors_and_circumstances_are_taken_over(tmp_path):
    row = TWEET | {"reply_id": 5, "reply_author": "mia", "tweet_author": "bob"}
    row |= {"reply_retweets": 1, "reply_author_followers": 20, "reply_time_diff_seconds": 1.5}
    (candidate,) = read_tweets(tmp_path, row)
    assert (candidate.id, candidate.author, candidate.post_author) == ("5", "mia", "bob")
    assert dict(candidate.circumstances) == {
        "reply_retweets": 1,
        "reply_author_followers": 20,
        "reply_time_diff_seconds": 1.5,
    }


def test_null_is_absent_and_unknown_fields_and_blank_lines_are_no_fault(tmp_path):
    row = TWEET | {"reply_id": None, "reply_retweets": None, "language": "en"}
    assert len(read_tweets(tmp_path, row, "", TWEET)) == 2


def test_a_folder_is_read_by_name(tmp_path):
    for name, text in (("b.jsonl", "second"), ("a.jsonl", "first"), ("notes.txt", "no")):
        (tmp_path / name).write_text(json.dumps({"tweet": "Hello", "reply": text}))
    assert [candidate.reply for candidate in source_named("tweets")(tmp_path)] == ["first", "second"]


def test_a_folder_without_jsonl_is_told(tmp_path):
    with pytest.raises(InputError, match=r"no \.jsonl file"):
        source_named("tweets")(tmp_path)


@pytest.mark.parametrize("line", ['{"tweet": "a", ', "nonsense", "[" * 100_000, '{"tweet": ' + "9" * 5000 + "}"])
def test_malformed_json_is_told_by_line(line, tmp_path):
    ((where, found),) = problems_of_tweets(tmp_path, TWEET, line)
    assert where == ":2"
    assert "malformed JSON" in found


@pytest.mark.parametrize("line", ["[]", "3", "null", '"text"'])
def test_a_line_that_is_no_object_is_told(line, tmp_path):
    assert problems_of_tweets(tmp_path, TWEET, line) == [(":2", line.replace('"', "'").replace("null", "None"))]


@pytest.mark.parametrize("name", ["tweet", "reply"])
def test_a_required_field_that_is_not_there_is_told(name, tmp_path):
    row = {key: value for key, value in TWEET.items() if key != name}
    assert problems_of_tweets(tmp_path, TWEET, row) == [(f":2:{name}", "no such field")]


@pytest.mark.parametrize("text", [None, "", "  "])
def test_a_required_field_without_text_is_left_to_cleaning(text, tmp_path):
    assert len(read_tweets(tmp_path, TWEET | {"reply": text})) == 1


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        ("tweet", "3"),
        ("reply", '["a"]'),
        ("reply", '"half a pair: \\ud83d"'),
        ("tweet_id", "1.5"),
        ("tweet_id", "true"),
        ("reply_id", '" "'),
        ("reply_author", "{}"),
        ("tweet_likes", '"12"'),
        ("tweet_likes", "true"),
        ("tweet_likes", "2.5"),
        ("reply_likes", "NaN"),
        ("reply_likes", "-1"),
        ("reply_likes", "Infinity"),
        ("reply_likes", "1e400"),
        ("reply_likes", "1" + "0" * 400),
        ("reply_retweets", "-3"),
        ("reply_author_followers", "NaN"),
        ("reply_time_diff_seconds", "-0.5"),
        ("reply_time_diff_seconds", "NaN"),
    ],
)
def test_a_wrong_type_or_impossible_number_is_told_by_line_and_field(name, literal, tmp_path):
    row = json.dumps({key: value for key, value in TWEET.items() if key != name})
    ((where, _),) = problems_of_tweets(tmp_path, TWEET, f'{row[:-1]}, "{name}": {literal}}}')
    assert where == f":2:{name}"


def test_a_repeated_reply_id_is_told_with_the_line_that_had_it_first(tmp_path):
    rows = [TWEET | {"reply_id": name} for name in ("5", "6", 5)]
    with pytest.raises(InputError) as told:
        read_tweets(tmp_path, *rows)
    (problem,) = told.value.problems
    assert problem.where.endswith(":3:reply_id")
    assert "tweets.jsonl:1 has it already" in problem.expected


def test_all_bad_lines_are_told_not_only_the_first(tmp_path):
    bad = [
        {"tweet": "a"},
        TWEET | {"reply_likes": -1, "tweet_likes": "x"},
        "{",
        TWEET | {"reply_id": 1},
        TWEET | {"reply_id": 1},
    ]
    told = [where for where, _ in problems_of_tweets(tmp_path, *bad)]
    assert told == [":1:reply", ":2:tweet_likes", ":2:reply_likes", ":3", ":5:reply_id"]
