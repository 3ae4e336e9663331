"""Every measure of words in scripts other than Latin, and that Latin script reads as it does everywhere else."""

# ruff: noqa: RUF001
import json
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import regex
from rouge_score.tokenize import tokenize
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from polychrome.engagement import fitting, judge
from polychrome.engagement.judge import n_grams
from polychrome.engagement.ranks import ranked
from polychrome.engagement.ruler import FittedRuler
from polychrome.engagement.settings import FitSettings
from polychrome.errors import InputError
from polychrome.measures import ead, rouge, words
from polychrome.measures.copying import copied_share, repeated_share
from polychrome.measures.encoder import ENOUGH, PIECES, Encoder, calibrating, cosines, known, relevance
from polychrome.measures.genericness import genericness
from polychrome.measures.sets import ReplySet, distinct_n, self_bleu
from polychrome.measures.validity import problems_of
from polychrome.pairs.cleaning import prepare
from polychrome.pairs.schema import Pair, read_pairs
from polychrome.pairs.settings import DataSettings
from polychrome.rewards.heuristic import HeuristicReward, build, valence
from polychrome.rewards.interface import Setting
from polychrome.rewards.settings import PARTS
from tests.encoders import Letters

ALIKE = {  # five replies that differ in how they end
    "English": [f"I am so happy today, my dear {end}" for end in ("friend", "Tom", "Ann", "Bob", "Eve")],
    "Japanese": [f"今日はとても嬉しいです{end}" for end in ("よ", "ね", "な", "わ", "")],
    "Chinese": [f"我今天很开心{end}" for end in ("啊", "呢", "吧", "呀", "")],
    "Thai": [f"วันนี้ฉันมีความสุขมาก{end}" for end in ("ครับ", "ค่ะ", "จ้า", "นะ", "")],
    "Arabic": [f"أنا سعيد جدا اليوم يا {end}" for end in ("صديقي؟", "أحمد", "أمي", "أخي", "عزيزي")],
    "Hindi": [f"मैं आज बहुत खुश हूँ {end}" for end in ("दोस्त।", "राम", "भाई", "माँ", "जी")],
    "Russian": [f"я сегодня очень рад, мой {end}" for end in ("друг", "брат", "сын", "кот", "дед")],
    "emoji": [f"😂😂❤️🎉{end}" for end in ("🙂", "🚀", "🌧", "🍕", "")],
}
VARIED = {  # five ways to answer "what will you do at the weekend?"
    "English": ["We hike up north", "Nothing, sleep!", "my mother visits", "Cinema with Bob?", "reading all day"],
    "Japanese": ["友達と映画を見ます", "海に行くつもり！", "家で寝てます", "仕事だよ、残念", "カレー作ろうかな"],
    "Chinese": ["跟朋友看电影", "去海边玩！", "在家睡觉", "可惜要上班", "想做咖喱吃"],
    "Thai": ["ไปดูหนังกับเพื่อน", "นอนอยู่บ้าน", "ทำงานครับ", "เที่ยวทะเล!", "เขียนรูป"],
    "Arabic": ["سأذهب إلى السينما", "لا شيء، النوم!", "أمي ستزورني", "نتنزه في الجبل", "قراءة طوال اليوم"],
    "Hindi": ["दोस्तों संग फिल्म देखूँगा", "घर पर सोना!", "माँ आ रही हैं", "काम करना पड़ेगा", "किताब पढ़ेंगे"],
    "Russian": ["пойдём в горы", "ничего, буду спать!", "мама приедет", "кино с Борисом?", "читать весь день"],
    "emoji": ["😂🎬🍿", "🏖🌊☀️!", "😴🛏", "💼😭", "🍛🔥"],
}
SENTENCES = {  # "I am very happy because the weather is nice today", in words of a dictionary
    "English": ("I am very happy because the weather is nice today.", 10),
    "Japanese": ("今日は天気がいいので、とても嬉しいです。", 11),
    "Chinese": ("今天天气很好，所以我很开心。", 9),
    "Thai": ("ฉันมีความสุขมากเพราะวันนี้อากาศดี", 9),
    "Arabic": ("أنا سعيد جدا لأن الطقس جميل اليوم.", 7),
    "Hindi": ("मैं बहुत खुश हूँ क्योंकि आज मौसम अच्छा है।", 9),
    "Russian": ("Я очень рад, потому что сегодня хорошая погода.", 8),
}
OTHERS = [name for name in SENTENCES if name != "English"]
JAPANESE = (
    "映画 音楽 料理 旅行 仕事 写真 散歩 野球 読書 温泉 電車 猫 犬 花火 祭り /"
    "東京 大阪 京都 札幌 福岡 名古屋 沖縄 神戸 仙台 金沢 /"
    "楽しかった すごく良かった 少し疲れた 面白そう 懐かしい 羨ましい 最高だった /"
    "です。 ですね！ かも。 よ〜 ですか？ って本当ですか？ ww"
)
EXAMPLES = Path(__file__).parents[2] / "data/example_tweets.jsonl"


# --- variety ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ALIKE)
def test_near_identical_replies_measure_alike_and_different_ones_varied(language):
    alike, varied = ALIKE[language], VARIED[language]
    assert 0.6 < self_bleu(alike) < 0.95
    assert 0.2 < distinct_n(alike, 1) < 0.4
    assert self_bleu(varied) < 0.3
    assert distinct_n(varied, 1) > 0.6
    assert ead.metrics(ReplySet("", "", varied, None))["ead"] > 1.5 * ead.metrics(ReplySet("", "", alike, None))["ead"]


def test_a_unit_of_a_script_without_spaces_is_one_token():
    """Five replies of six shared units, four with one of their own: 10 different among 34."""
    assert distinct_n(ALIKE["Chinese"], 1) == 10 / 34
    assert words.bleu_tokens("iPhoneを買った！") == ["iPhone", "を", "買", "っ", "た", "！"]
    assert words.bleu_tokens("может, быть؟") == ["может", ",", "быть", "؟"]


# --- ROUGE ------------------------------------------------------------------------------------------------------------


def rouge_l(human, reply):
    return rouge.metrics(ReplySet("", human, [reply], None))["rouge_l"]


def test_rouge_reads_every_script_and_is_undefined_where_there_is_no_word():
    assert rouge_l("да, я тоже хочу новый телефон", "да, я тоже хочу новый iPhone") == pytest.approx(5 / 6)
    assert rouge_l("🎉🎉", "🎉🎉") is None


@pytest.mark.parametrize("language", OTHERS)
def test_rouge_orders_replies_by_what_they_share(language):
    human, other = ALIKE[language][0], VARIED[language][0]
    assert rouge_l(human, human) == 1
    assert rouge_l(human, ALIKE[language][1]) > 0.7 > 0.4 > rouge_l(human, other)


def test_accents_are_folded_in_latin_script_and_nowhere_else():
    assert rouge_l("été à la montagne, déjà prêt", "ete a la montagne, deja pret") == 1
    assert rouge_l("naïve", "nai\u0308ve") == 1
    for one, other in (("мой", "мои"), ("की", "का"), ("がく", "かく"), ("ไม่", "ไม")):
        assert rouge_l(one, other) < 1


# --- what is well-formed, and lengths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("language", OTHERS)
def test_sentences_are_well_formed_and_as_long_as_their_words(language):
    sentence, dictionary = SENTENCES[language]
    assert problems_of(sentence) == []
    for count in (words.count_words(sentence), words.length_of(words.words_of(sentence))):
        assert dictionary / 1.6 <= count <= 1.6 * dictionary


@pytest.mark.parametrize(
    "reply",
    [
        "hahahaha so funny",
        "哈哈哈哈，太好笑了",
        "ははははは、それは面白い",
        "ああああ負けた",
        "www それは草",
        "555 ตลกมาก",
        "ฮ่าฮ่าฮ่าฮ่า ตลกมาก",
        "わーーーーい、やった",
        "ㅋㅋㅋㅋㅋ 진짜 웃겨",
        "хахахаха смешно",
        "ههههه مضحك",
        "谢谢你。谢谢你。",
    ],
)
def test_laughter_and_drawn_out_sounds_are_words(reply):
    assert problems_of(reply) == []
    assert repeated_share([reply])[0] < 0.5


@pytest.mark.parametrize(
    "reply",
    [
        "我喜欢我喜欢我喜欢",
        "今天天气很好今天天气很好今天天气很好",
        "そうですそうですそうですそうです",
        "今日は楽しかった。今日は楽しかった。",
        "太好笑了" + "哈" * 30,
        "я знаю, я знаю, я знаю",
        "मैं घर जा रहा हूँ। मैं घर जा रहा हूँ।",
    ],
)
def test_loops_are_repeated_in_every_script(reply):
    assert problems_of(reply) == ["repeated"]


def test_a_reply_taken_from_its_post_is_copied_in_every_script():
    for sentence, _ in SENTENCES.values():
        assert copied_share([sentence], [sentence]) == 1
    assert copied_share([ALIKE["Japanese"][0]], [VARIED["Japanese"][0]]) < 0.5


def test_marks_stay_with_their_letters():
    assert words.words_of("नमस्ते दोस्त") == ["नमस्ते", "दोस्त"]
    assert words.words_of("می‌خواهم") == ["می‌خواهم"]
    assert {"^ नमस्ते", "दोस्त ।"} <= n_grams("नमस्ते दोस्त।")
    assert {"ラー メ", "！ $"} <= n_grams("ラーメン！")


# --- what knows English only ------------------------------------------------------------------------------------------


def test_what_knows_english_has_no_opinion_of_another_script():
    for language in OTHERS:
        sentence, _ = SENTENCES[language]
        assert np.isnan(valence(sentence))
        assert np.isnan(genericness([sentence])).all()
    assert genericness(["I don't know, привет"])[0] < 1


@pytest.mark.parametrize("language", OTHERS)
def test_the_heuristic_is_the_mean_of_the_parts_that_know_the_language(language):
    weights = {part: place + 1.0 for place, part in enumerate(PARTS)}
    reward, (post, reply) = HeuristicReward(weights, Letters(), (0.09, 0.5)), VARIED[language][:2]
    parts = reward.parts([post], [reply])
    known = [part for part in PARTS if part not in ("sentiment", "genericness")]
    mean = sum(weights[part] * parts[part][0] for part in known) / sum(weights[part] for part in known)
    assert reward([post], [reply])[0] == pytest.approx(mean)
    assert mean > 0.1


def test_a_heuristic_of_english_parts_alone_is_refused_for_pairs_in_another_script():
    settings = SimpleNamespace(weights={"sentiment": 1.0, "genericness": 1.0, "length": 0.0})
    pairs = [Pair(str(place), "talk", "やあ", text, 1.0, "") for place, text in enumerate(VARIED["Japanese"])]
    with pytest.raises(InputError, match="genericness, sentiment alone"):
        build(Setting(settings, Letters(), pairs))


class English(Letters):
    """An encoder that knows Latin script alone."""

    knows = staticmethod(words.is_latin)


def test_an_encoder_knows_the_scripts_of_its_vocabulary(tiny_encoder):
    encoder = Encoder.open(tiny_encoder)
    assert known(encoder, ["ok then", "ok"], ["hello", "привет"]).tolist() == [True, False]
    assert [words.script_of(text) for text in ("ok 好", "はい、元気", "привет", "สวัสดี", "123 😂")] == [
        *("Latin", "Han", "Cyrillic", "Thai", "Latin")
    ]
    encoder._scripts = Counter(Cyrillic=PIECES, Thai=PIECES - 1)
    assert known(encoder, ["привет", "สวัสดี"]).tolist() == [True, False]


@pytest.mark.parametrize("language", OTHERS)
def test_who_does_not_know_a_script_is_not_asked_for_relevance(language):
    post, reply = VARIED[language][:2]
    pairs = [Pair(str(place), "talk", post, text, 1.0, "") for place, text in enumerate(ALIKE[language])]
    weights = {"relevance": 1.0, "length": 1.0}
    with pytest.warns(UserWarning, match="leaves relevance out for 5 of 5 training pairs"):
        reward = build(Setting(SimpleNamespace(weights=weights), English(), pairs))
    assert reward([post], [reply])[0] == pytest.approx(reward.parts([post], [reply])["length"][0])
    fitted = FittedRuler(judge.Judge((), (), np.zeros(0), 0.5, judge.Thresholds(2.0, 0.5, 1.0)))  # nothing is so near
    assert [fitted.rate([post], [reply], [True], encoder)[0]["passes"] for encoder in (English(), Letters())] == [
        *(True, False)
    ]


def test_cosines_are_undefined_beside_a_text_in_an_unknown_script():
    posts, replies = ["a cat", "a cat", "кот"], ["a dog", "кот", "a dog"]
    assert np.isnan(relevance(posts, replies, English())).tolist() == [False, True, True]
    assert relevance(posts, replies, English())[0] == relevance(posts, replies, Letters())[0]
    assert np.isnan(cosines(["a", "кот", "b"], English())).tolist() == [
        [False, True, False],
        [True] * 3,
        [False, True, False],
    ]
    np.testing.assert_array_equal(cosines(["a", "b"], English()), cosines(["a", "b"], Letters()))


def test_pairs_in_known_scripts_set_thresholds_where_they_are_all_or_enough():
    russian = VARIED["Russian"]
    for english, expected in ((4, 0), (ENOUGH, ENOUGH)):
        posts = replies = [*russian, *["a cat"] * english]
        assert calibrating(English(), posts, replies).tolist() == list(range(5, 5 + expected))
    assert calibrating(English(), ["a cat"] * 4, ["a dog"] * 4).tolist() == [0, 1, 2, 3]


def test_a_heuristic_of_relevance_alone_is_refused_where_the_encoder_reads_nothing():
    pairs = [Pair(str(place), "talk", "やあ", text, 1.0, "") for place, text in enumerate(VARIED["Japanese"])]
    for weights in ({"relevance": 1.0}, {"relevance": 1.0, "sentiment": 1.0, "length": 0.0}):
        with pytest.raises(InputError, match=r"relevance.* alone, which do not know the script"):
            build(Setting(SimpleNamespace(weights=weights), English(), pairs))


# --- a whole language -------------------------------------------------------------------------------------------------


def japanese(number: int):
    """Row of a file of chat; what asks back engages."""
    draw = random.Random(number)
    things, places, moods, ends = (part.split() for part in JAPANESE.split("/"))
    thing, place, mood, end = map(draw.choice, (things, places, moods, ends))
    reply = draw.choice([f"{thing}なら{place}が{mood}{end}", f"{place}の{thing}、{mood}{end}"])
    about = {
        "id": str(number),
        "conversation": str(number // 3),
        "tweet": f"{draw.choice(places)}で{thing}をしました。",
    }
    return about | {"reply": reply, "likes": ("？" in end) * 3 + draw.randrange(3), "author": f"a{number}"}


def test_japanese_pairs_are_prepared_and_teach_judge_and_reward(tmp_path):
    source = tmp_path / "chat.jsonl"
    source.write_text("\n".join(json.dumps(japanese(number)) for number in range(600)), encoding="utf-8")
    thresholds = {"min_words": 3, "max_post_words": 25, "max_reply_words": 18, "near_duplicate": 0.99, "limit": 0}
    report = prepare(DataSettings(source="tweets", path=str(source), **thresholds), tmp_path)
    assert report["dropped"]["too short"] == report["dropped"]["too long"] == 0
    assert report["kept"] > 400
    pairs, encoder = read_pairs(tmp_path / "pairs.jsonl"), Letters("映画音楽料理旅東京大阪？")
    settings = FitSettings(learning_rate=1e-4, penalty=0.01, epochs=60, patience=5)
    _, of_judge = judge.fit(ranked(pairs, "judge", 200, 0.95), pairs[:100], encoder, 0.5)
    _, of_reward = fitting.fit(ranked(pairs, "reward", 200, 0.95), encoder, settings)
    assert of_judge["spearman_low"] > 0.3
    assert "encoder" not in of_judge["verdict"]
    unread, doubted = judge.fit(ranked(pairs, "judge", 20, 0.95), pairs[:100], English(), 0.5)
    assert "does not know the script of 100%" in doubted["verdict"]
    assert {doubted["on_topic_threshold"], *doubted["same_class_thresholds"].values()} == {None}
    unread.save(tmp_path / "judge")
    assert judge.Judge.open(tmp_path / "judge").thresholds == judge.Thresholds(
        None, doubted["engagement_threshold"], None
    )
    assert FittedRuler(unread).alike("やあ", VARIED["Japanese"], encoder.embed(VARIED["Japanese"])) is None
    assert of_reward["spearman_low"] > 0.3


# --- Latin script -----------------------------------------------------------------------------------------------------


def latin_texts():
    rows = [json.loads(line) for line in EXAMPLES.read_text(encoding="utf-8").splitlines()]
    yield from (text for row in rows for text in row.values() if isinstance(text, str))
    draw = random.Random(3)
    parts = r"Don’t it's STOP :) 2nd, ok? e-mail https://a.example/x?y=1 ... -- $5.50 1,000 ((well)) “so” 50% _x_ a_b"
    parts = [*parts.split(), *["café", "über", "naïve!", "😂😂", "❤️", "@bob", "&amp;", "—", "'"], "\n"]
    for _ in range(2000):
        yield "".join(draw.choice(parts) + draw.choice(["", " ", " ", "  "]) for _ in range(draw.randrange(12)))


def test_latin_script_reads_as_ever():
    """Held against plain definitions that know no other script, and against the packages."""
    lower = {text: text.lower().replace("\u2019", "'") for text in latin_texts()}
    word = regex.compile(r"[\p{L}\p{N}]\p{M}*(?:[\p{L}\p{N}]\p{M}*)*(?:'(?:[\p{L}\p{N}]\p{M}*)+)*")
    for text, low in lower.items():
        assert words.words_of(text) == word.findall(text.casefold().replace("\u2019", "'"))
        assert words.bigrams_of(text) == list(pairwise(words.words_of(text)))
        assert words.length_of(words.words_of(text)) == len(words.words_of(text))
        assert words.spaced_words(text) == text.split()
        assert words.count_words(text) == len(re.findall(r"[^\W_]\S*", text))
        assert words.words_and_marks(text) == re.findall(r"\w+(?:'\w+)?|[^\w\s]", low)
        if re.search("[a-z]", low):
            assert words.bleu_tokens(text) == Tokenizer13a()(text).split()
        if not re.search("[\u00e0-\u00ff]", low):
            assert words.rouge_tokens(text) == tokenize(text, None)
