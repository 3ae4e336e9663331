"""X: ``tweets.js`` of one's own archive, and what its API (v2) answers, a page or a tweet a record.

An archive holds nothing but its owner's tweets: a reply finds its post only in a thread of their own, or in another
file of the folder. So the author of an archive's tweets is left open, else every pair would be a reply to oneself.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from polychrome.pairs.formats.rows import Record, Rows
from polychrome.pairs.formats.threads import Message, joined, messages_of

WRITTEN = "%a %b %d %H:%M:%S %z %Y"  # how an archive writes when


def fits(record: Mapping[str, Any]) -> bool:
    """Whether it is a tweet of an archive, one of the API, or a page of those."""
    if isinstance(record.get("tweet"), dict) or {"id_str", "full_text"} <= set(record):
        return True
    return _is_tweet(record) or (isinstance(record.get("data"), list) and all(map(_is_tweet, record["data"])))


def rows(files: Sequence[tuple[Path, list[Record]]], columns: Mapping[str, str]) -> list[Rows]:
    """Every tweet that answers one, as a reply to it."""
    named = {"reply": "text", "post": "text", "likes": "like_count", "reposts": "retweet_count"}
    return [joined(messages_of(files, _messages), named, "X")]


def _is_tweet(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and {"id", "text"} <= set(record)
        and not {"title", "body"} & set(record)
        and ("public_metrics" in record or "referenced_tweets" in record or "author_id" in record)
    )


def _messages(where: str, record: Mapping[str, Any]) -> Iterator[Message]:
    if isinstance(record.get("tweet"), dict) or "full_text" in record:
        yield _archived(where, record.get("tweet", record))
        return
    included = record.get("includes") or {}
    users = {str(user.get("id")): user for user in included.get("users", ())}
    tweets = record["data"] if isinstance(record.get("data"), list) else [record]
    for tweet in (*tweets, *included.get("tweets", ())):
        yield _answered(where, tweet, users)
        for other in tweet.get("referenced_tweets") or ():
            if "text" in other:  # as flattened files have it
                yield _answered(where, other, users)


def _archived(where: str, tweet: Mapping[str, Any]) -> Message:
    return Message(
        where,
        id=str(tweet["id_str"]),
        text=tweet.get("full_text"),
        likes=tweet.get("favorite_count"),
        parent=str(tweet.get("in_reply_to_status_id_str") or ""),
        seconds=_time(tweet.get("created_at"), lambda when: datetime.strptime(when, WRITTEN)),
        reposts=tweet.get("retweet_count"),
    )


def _answered(where: str, tweet: Mapping[str, Any], users: Mapping[str, Any]) -> Message:
    numbers, by = tweet.get("public_metrics") or {}, str(tweet.get("author_id") or "")
    user = users.get(by) or tweet.get("author") or {}
    answered = [other["id"] for other in tweet.get("referenced_tweets") or () if other.get("type") == "replied_to"]
    return Message(
        where,
        id=str(tweet["id"]),
        text=(tweet.get("note_tweet") or {}).get("text") or tweet.get("text"),
        author=str(user.get("username") or by),
        likes=numbers.get("like_count"),
        parent=str(answered[0]) if answered else "",
        thread=str(tweet.get("conversation_id") or ""),
        seconds=_time(tweet.get("created_at"), datetime.fromisoformat),
        reposts=numbers.get("retweet_count"),
        followers=(user.get("public_metrics") or {}).get("followers_count"),
    )


def _time(when: Any, read: Any) -> float | None:
    try:
        return read(when).timestamp() if when else None
    except ValueError:
        return None
