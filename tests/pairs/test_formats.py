"""What people have: any container gives the same replies, every shape is known by its looks, values are as meant."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from polychrome.errors import InputError
from polychrome.pairs.formats.values import tidied
from polychrome.pairs.sources import reader_of
from tests.pairs.containers import CONTAINERS, json_lines, table, write

DATA = Path(__file__).parents[1] / "data"
TEXTS = {"None": "12", "NA": "1.2K", 'a "quoted"\nline': "", "caf\u00e9 \U0001f600 \u4f60\u597d": "0", "nan": "-1"}
ROWS = [
    {
        "post_id": f"12345678901234567{n}",
        "id": f"r{n}",
        "post": f"Post {n}, with a comma",
        "reply": reply,
        "likes": likes,
        "author": "@Bob",
    }
    for n, (reply, likes) in enumerate(TEXTS.items())
]
read = reader_of("replies")


def one(tmp_path, **fields):
    """The candidate of a single row."""
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"post": "A post", "reply": "A reply"} | fields))
    return read(path)[0]


def problem(path):
    """The only problem of a file, as a user reads it."""
    with pytest.raises(InputError) as caught:
        read(path)
    (found,) = caught.value.problems
    return str(found).replace(f"{path}", path.name).replace(f"{path.parent}/", "")


# --- containers ---


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_pairs_are_the_same_candidates_whatever_holds_them(name, tmp_path):
    candidates = read(write(tmp_path, name, ROWS))
    assert [candidate.reply for candidate in candidates] == [row["reply"] for row in ROWS]
    assert [candidate.engagement for candidate in candidates] == [12, 1200, None, 0, None]
    assert {candidate.author for candidate in candidates} == {"bob"}
    expected = read(write(tmp_path, "lines.jsonl", ROWS))
    assert [replace(one, where="") for one in candidates] == [replace(one, where="") for one in expected]


def test_a_folder_gives_what_its_files_hold_and_hidden_ones_and_other_kinds_are_left_alone(tmp_path):
    write(tmp_path, "table.csv.gz", ROWS[2:3])
    write(tmp_path, "rows.parquet", ROWS[:2])
    for name in ("._table.csv", ".rows.jsonl", "notes.txt", "dataset_info.json", "state.json"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07 not data")
    assert [candidate.id for candidate in read(tmp_path)] == ["r0", "r1", "r2"]


def test_places_are_those_of_the_file_also_behind_cells_and_objects_of_several_lines(tmp_path):
    (tmp_path / "a.csv").write_text('post,reply,likes\n"a\nb",c,1\nd,e,many\n')
    assert problem(tmp_path / "a.csv").startswith("a.csv:4:likes: found 'many'; expected a whole number >= 0")
    (tmp_path / "a.json").write_text('[\n {"post": "a",\n  "reply": "b"},\n\n {"post": "c", "reply": "",\n"likes":-7}]')
    assert problem(tmp_path / "a.json").startswith("a.json:5:likes: found -7")
    write(tmp_path, "rows.parquet", [{"post": "a", "reply": "b", "likes": 1}, {"post": "a", "reply": "b", "likes": -7}])
    assert problem(tmp_path / "rows.parquet").startswith("rows.parquet:row 2:likes: found -7")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"post,reply\na,b,c\n", "a.csv:2: found 3 cells; expected 2, as in the header"),
        ("a.csv", b'post,reply\na,"b\nc', "a.csv:2: found a row that cannot be read"),
        ("a.csv", b"post,reply,post\na,b,c\n", "a.csv:1:post: found a second such column; expected one. Rename"),
        ("a.csv", b"post,reply\n", "a.csv: found CSV without a record"),
        ("a.json", b'[{"post": "a", "reply": "b"},\n{"post": }]', "a.json:2: found malformed JSON"),
        ("a.json", b'[{"post": "a", "reply": "b"}', "a.json:1: found an array that does not end"),
        ("a.json", b'[{"post": "a", "post": "b"}]', "a.json:1: found malformed JSON (the key 'post' twice"),
        ("a.jsonl", b'{"post": "a", "post": "b", "reply": "c"}', "found malformed JSON (the key 'post' twice"),
        ("a.jsonl", b'{"talk": {"messages": [[]]}}', "Set data.source: chitchat in params.yaml."),
        ("a.csv", b"headline,remark,when\nOne thing,and another,1\n", "data.columns: {post: headline, reply: remark}"),
        ("a.xlsx", b"PK\x03\x04...", "a.xlsx: found what looks like a ZIP archive or an Excel workbook; expected JSON"),
        ("a.txt", b"Dear diary\ntoday, and again,\n", "a.txt: found what looks like plain text; expected JSON, CSV"),
        ("a.html", b"<!DOCTYPE html><p>", "found what looks like a web page"),
        ("a.db", b"SQLite format 3\x00", "found what looks like an SQLite database"),
        ("a.bin", bytes(range(256)) * 4 + bytes(100), "found a binary file of an unknown kind"),
        ("a.csv.gz", b"\x1f\x8b\x08 cut", "gzip data that cannot be opened"),
        ("a.zst", b"\x28\xb5\x2f\xfd cut", "Decompress it yourself (`unzstd --long=31"),
        ("a.parquet", b"PAR1 cut", "Parquet that does not open"),
        ("a.xml", b"<?xml version='1.0'?><feed><entry/></feed>", "found XML without a <row .../>"),
        ("a.xml", b"<?xml version='1.0'?><posts><row Id='1'></posts>", "a.xml:1: found malformed XML"),
        ("a.xml", b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><posts/>", "found a declaration of entities"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_error_with_what_it_looks_like_and_what_to_do(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert told in problem(tmp_path / name)


@pytest.mark.parametrize("name", ["table.csv", "lines.jsonl", "array.json", "rows.parquet"])
def test_the_source_of_conversations_names_the_source_that_reads_such_a_file(name, tmp_path):
    with pytest.raises(InputError, match=r"found what looks like .*Set data\.source: replies in params\.yaml"):
        reader_of("chitchat")(write(tmp_path, name, ROWS))


def test_a_flood_of_bad_values_is_three_lines_and_a_count(tmp_path):
    (tmp_path / "a.csv").write_bytes(table([ROWS[0] | {"id": n, "likes": "many"} for n in range(5000)]))
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.csv")
    assert len(caught.value.problems) == 5000
    assert len(str(caught.value).splitlines()) == 4
    assert "4,997 more like" in str(caught.value)


# --- columns ---


def test_columns_are_guessed_by_their_usual_names_and_the_guess_is_printed_as_it_goes_into_params(capsys):
    candidates = read(DATA / "columns.csv")
    assert "data.columns: {post: title, reply: body, id: id, author: author, likes: ups}" in capsys.readouterr().out
    assert [candidate.reply for candidate in candidates] == ['Mint; it grows "everywhere".', "NA", None, "None"]
    assert [candidate.engagement for candidate in candidates] == [1200, -1, 3, -4]
    assert [candidate.author for candidate in candidates] == ["bob", "bob", "", "ann"]
    assert candidates[0].id == "1234567890123456789"


def test_columns_that_are_named_come_before_a_guess_and_have_to_be_there(tmp_path):
    (tmp_path / "a.csv").write_text("post,reply,mine,score\na,b,c d e,-2\n")
    (candidate,) = read(tmp_path / "a.csv", columns={"reply": "mine"})
    assert (candidate.post, candidate.reply, candidate.engagement) == ("a", "c d e", -2)
    with pytest.raises(InputError, match=r"columns\.reply: found mime; expected a column of .*Did you mean mine\?"):
        read(tmp_path / "a.csv", columns={"reply": "mime"})


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"post,mine\n", "found no row below the header; expected at least one"),
        (b"\xff\xfe\n\x00", "found an empty file"),
        (b"\x99\x99", "found byte 0x99 at column 1, which is not UTF-8"),
    ],
)
def test_a_file_with_nothing_to_read_is_one_error_about_the_file(tmp_path, content, found):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=found) as caught:
        read(tmp_path / "a.csv", columns={"reply": "mine"})
    assert len(caught.value.problems) == 1


# --- shapes, each from a small file of its kind ---


def test_messages_are_a_pair_for_each_answer_with_what_was_said_before_as_context():
    first, second, scored = read(DATA / "messages.jsonl", context_turns=9)
    assert (first.post, first.reply, first.context) == ("Hello, who is there?", "A friend of yours.", ())
    assert second.context == (("user", "Hello, who is there?"), ("assistant", "A friend of yours."))
    assert first.conversation == second.conversation != scored.conversation
    assert first.engagement > 0  # the user's next turn
    assert (second.engagement, scored.engagement) == (None, 4.5)
    assert (scored.post, scored.reply) == ("What do you eat?", "Soup, as ever.")
    assert [len(each.context) for each in read(DATA / "messages.jsonl", context_turns=1)] == [0, 1, 0]


def test_chosen_is_worth_more_than_rejected_and_a_label_is_a_score():
    found = [(each.post, each.reply, each.engagement) for each in read(DATA / "preferences.jsonl")]
    assert found == [
        ("Is it late?", "Not for an owl.", 1),
        ("Is it late?", "Yes.", 0),
        ("Is it cold?", "Put a hat on.", 1),
        ("Is it far?", "Two songs away.", 1),
        ("Is it far?", "Yes.", 0),
    ]


def test_an_archive_of_x_says_how_many_parents_it_holds_and_is_tidied(capsys):
    own, other = read(DATA / "tweets.js")
    assert "3 messages, 2 of them replies, the posts of 1 found" in capsys.readouterr().out
    assert (own.post, own.reply) == ("Tom & Jerry are <3 on the roof again", "and now they sing")
    assert own.mended == ("HTML entities", "leading @handles", "trailing t.co links")
    assert (own.engagement, own.circumstances["reply_time_diff_seconds"], own.author) == (0.25, 90, "")
    assert other.post is None


def test_a_page_of_xs_api_joins_replies_to_posts_and_authors():
    (reply,) = read(DATA / "x_api.json")
    assert (reply.post, reply.reply, reply.engagement) == ("Does anybody here bake?", "Only on Sundays", 3)
    assert (reply.author, reply.post_author, reply.conversation) == ("bob", "ann", "1600000000000000001")
    expected = {"reply_retweets": 1, "reply_author_followers": 250, "reply_time_diff_seconds": 20}
    assert reply.circumstances == expected


def test_a_dump_of_reddit_joins_comments_to_submissions_and_comments_of_another_file(capsys):
    first, unloved, third, orphan, removed = read(DATA / "reddit", context_turns=5)
    assert (first.post, first.reply, first.engagement) == ("What should a first kitchen have?", "A cast-iron pan.", 2)
    assert (unloved.post, unloved.engagement) == ("A cast-iron pan.", -5 / 40)
    assert third.context == (("user", first.post), ("assistant", first.reply))
    assert (orphan.post, removed.reply, removed.author) == (None, None, "")
    assert {first.conversation, unloved.conversation, third.conversation} == {"t3_s1"}
    assert "the posts of 4 found" in capsys.readouterr().out


def test_posts_of_stack_exchange_are_answers_to_questions_as_text():
    (answer,) = read(DATA / "Posts.xml")
    assert answer.post == "Why does my bread not rise?\nIt is always flat."
    assert (answer.reply, answer.engagement, answer.author) == ("Old yeast & cold water.", -0.5, "12")


@pytest.mark.parametrize(
    ("name", "record", "told"),
    [
        ("tweets.js", 'window.YTD.tweets.part0 = [{"tweet": {"full_text": "a"}}]', "found a record without 'id_str'"),
        ("RC.jsonl", '{"id": "c", "parent_id": "t3_s", "body": "a", "created_utc": "today"}', "record (could not"),
        ("Posts.xml", "<posts><row Id='1' PostTypeId='1' Body='a' CreationDate='May'/></posts>", "record (Invalid"),
        ("a.jsonl", '{"messages": [{"role": "narrator", "content": "a"}]}', "found 'narrator'; expected turns"),
        ("b.jsonl", '{"messages": ["hi"]}', "expected turns {role, content}"),
        ("c.jsonl", '{"prompt": "a", "completion": [{"role": "user", "content": "b"}]}', "found 'no answer of"),
    ],
)
def test_a_record_that_is_not_as_its_shape_has_it_is_reported_with_its_line(name, record, told, tmp_path):
    (tmp_path / name).write_text(record)
    found = problem(tmp_path / name)
    assert found.startswith(f"{name}:1: ")
    assert told in found


# --- values ---


@pytest.mark.parametrize(
    ("likes", "engagement"),
    [("12", 12), ("1.2K", 1200), ("3M", 3e6), ("1,234", 1234), (19.0, 19), (" 7 ", 7), ("", None), (-1, None)],
)
def test_a_count_is_what_people_mean_by_it(likes, engagement, tmp_path):
    assert one(tmp_path, likes=likes).engagement == engagement
    assert one(tmp_path, score=-1).engagement == -1  # a score may be


@pytest.mark.parametrize(
    ("id", "name"), [(17, "17"), (17.0, "17"), ("17.0", "17"), (10**99, str(10**99)), ("5e3", "5e3")]
)
def test_an_id_is_a_name_however_it_is_written(id, name, tmp_path):
    assert one(tmp_path, id=id).id == name


@pytest.mark.parametrize("id", [1.2345678901234568e18, "1.2345678901234568e+18", "1234567890123456768.0"])
def test_an_id_that_has_lost_digits_is_refused(id, tmp_path):
    with pytest.raises(InputError, match=r":1:id: .*with all its digits\. Write ids as text \(pandas: dtype=str\)"):
        one(tmp_path, id=id)


@pytest.mark.parametrize("text", ["[deleted]", "[removed]", None, "[deleted by user]", "This Post is unavailable."])
def test_a_text_that_was_taken_away_is_missing(text, tmp_path):
    assert one(tmp_path, reply=text).reply is None


@pytest.mark.parametrize(
    ("text", "strip", "left"),
    [
        ("@ann @bob: well", ["handles"], "well"),
        ("@ann well https://t.co/x https://t.co/y", ["handles", "links"], "well"),
        ("@ann well https://t.co/x", [], "@ann well https://t.co/x"),
        ("@ann", ["handles"], "@ann"),  # nothing would be left
        ("see https://a.example/b", ["links"], "see https://a.example/b"),
        ("mail me@home @ann", ["handles"], "mail me@home @ann"),
        ("nul\x00 and\x07 bell\ufeff", [], "nul and bell"),
        ("caf&eacute; &#128512; AT&T", [], "caf\u00e9 \U0001f600 AT&T"),
    ],
)
def test_a_text_is_tidied_and_what_was_mended_is_said(text, strip, left):
    assert tidied(text, strip)[0] == left
    assert bool(tidied(text, strip)[1]) == (text != left)


def test_context_is_read_from_a_column_and_bad_turns_are_reported(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(json_lines([{"post": "a", "reply": "b", "context": [["user", "hi &amp; you"]]}]))
    assert read(tmp_path / "a.jsonl", context_turns=1)[0].context == (("user", "hi & you"),)
    with pytest.raises(InputError, match=r":1:context: .*expected turns \[role, text\]"):
        one(tmp_path, context=[["robot", "hi"]])
