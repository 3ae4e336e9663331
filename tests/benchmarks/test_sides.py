"""Both sides do the same work: the same prompts, adapters, pairs and tokens; TRL advances by one step a call."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import ours, peers
from benchmarks.workload import LORA, chat_pairs, market_pairs
from polychrome.engine.sampling import SamplingSettings
from polychrome.errors import InputError
from polychrome.models.policy import open_base
from polychrome.training.methods.cross_entropy import CrossEntropy

POSTS, GROUP, TOKENS = 2, 3, 5


class Trainer:
    """What Stepped needs of a trainer: callbacks, and a train() that calls them before every step."""

    def __init__(self, steps: int = 3, fails_at: int = -1):
        self.steps, self.fails_at, self.done, self.left = steps, fails_at, 0, False

    def add_callback(self, callback: peers.Stepped) -> None:
        self.callback = callback

    def train(self) -> None:
        try:
            for number in range(self.steps):
                self.callback.on_step_begin()
                if number == self.fails_at:
                    raise ValueError("bad batch")
                self.done += 1
        finally:
            self.left = True


def test_a_call_is_one_step_and_nothing_runs_between_calls():
    trainer = Trainer()
    stepped, done = peers.Stepped(trainer, threads=1), [trainer.done]
    for action in (stepped, stepped, stepped.close):
        action()
        done.append(trainer.done)
    assert done == [0, 1, 2, 2]
    assert trainer.left


def test_what_the_trainer_raises_is_raised_by_the_step_and_so_is_an_end():
    failing, short = peers.Stepped(Trainer(fails_at=1), threads=1), peers.Stepped(Trainer(steps=1), threads=1)
    failing()
    with pytest.raises(ValueError, match="bad batch"):
        failing()
    with pytest.raises(RuntimeError, match="came to its end"):
        short()


# --- GRPO -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointing", [False, True])
def test_grpo_of_both_sides_has_the_same_prompts_adapters_and_full_completions(tiny_base, checkpointing):
    pairs, chat = market_pairs(8), ours.open_chat(tiny_base)
    model = peers.open_model(tiny_base, torch.float32)
    trainer = peers.grpo_trainer(
        model, tiny_base, [pair.post for pair in pairs], POSTS, GROUP, TOKENS, checkpointing=checkpointing
    )
    outputs, score = [], trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: outputs.append(score(inputs)) or outputs[-1]
    advance(trainer, 2)
    for out in outputs:  # TRL generates once a step, and scores the reference as ours does
        assert out["completion_mask"].shape == out["ref_per_token_logps"].shape == (POSTS * GROUP, TOKENS)
        assert out["completion_mask"].all()
        prompts = zip(out["prompt_ids"], out["prompt_mask"], strict=True)
        seen = {tuple(ids[mask.bool()].tolist()) for ids, mask in prompts}
        assert len(seen) == POSTS
        assert seen <= {tuple(chat.prompt(pair.post)) for pair in pairs}
    assert len(outputs) == 2
    checkpointed = any(getattr(module, "gradient_checkpointing", False) for module in trainer.model.modules())
    assert checkpointed is checkpointing

    policy = ours.open_policy(tiny_base, torch.float32, with_reference=True)
    steps = ours.grpo_steps(policy, chat, pairs, POSTS, GROUP, TOKENS)
    steps()
    assert (steps.rows[-1]["completion_length"], steps.rows[-1]["ended_share"]) == (TOKENS, 0)
    assert steps.rows[-1]["grad_norm"] > 0
    assert [pair.id[0] for batch in steps.seen for pair in batch] == ["m"] * POSTS

    def shapes(model):
        return sorted((n.split("layers")[1], tuple(p.shape)) for n, p in model.named_parameters() if p.requires_grad)

    assert shapes(trainer.model) == shapes(policy)
    assert len(shapes(policy)) == 2 * 2 * len(LORA.targets)  # two layers, A and B


def advance(trainer, steps: int) -> None:
    stepped = peers.Stepped(trainer, threads=1)
    for _ in range(steps):
        stepped()
    stepped.close()


# --- SFT ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("packing", "checkpointing"), [(False, False), (False, True), (True, False)])
def test_trl_takes_our_batches_and_packing_loses_no_token_and_pads_none(tiny_base, pairs, packing, checkpointing):
    chat = ours.open_chat(tiny_base)
    our_sft = ours.Steps(
        ours.make_run(ours.open_policy(tiny_base, torch.float32), CrossEntropy(), chat, pairs, batch=4)
    )
    examples = [ours.tokens_of(chat, pair) for pair in our_sft.first(3)]
    trainer = peers.sft_trainer(
        peers.open_model(tiny_base, torch.float32), tiny_base, examples, 4, packing, checkpointing
    )
    labels = [row["labels"] for row in trainer.train_dataset]
    counts = peers.count_tokens(trainer)
    advance(trainer, 4 if packing else 3)
    for _ in range(3):
        our_sft()
    if packing:  # 12 pairs in 3 rows, or in 4 where they did not fit
        assert sum(our_sft.tokens) in (sum(counts[:3]), sum(counts))
    else:
        assert counts == our_sft.tokens
        assert labels == [[-100] * len(prompt) + reply for prompt, reply in examples]  # the loss is on replies alone


# --- generation and prompts -----------------------------------------------------------------------------------------


def test_both_engines_draw_every_token_of_every_sample(tiny_base):
    chat = ours.open_chat(tiny_base)
    prompts = [chat.prompt(pair.post) for pair in market_pairs(3)]
    settings = SamplingSettings(temperature=0.8, max_new_tokens=TOKENS, top_p=0.95)
    drawn = ours.generate(open_base(tiny_base, torch.float32), prompts, GROUP, settings, chat.pad_id)
    assert [[len(c.tokens) for c in group] for group in drawn] == [[TOKENS] * GROUP] * 3
    batches: list[torch.Tensor] = []
    peers.generate(peers.open_model(tiny_base, torch.float32), prompts, GROUP, settings, chat.pad_id, 2, batches.append)
    assert [tuple(batch.shape) for batch in batches] == [(2 * GROUP, TOKENS), (GROUP, TOKENS)]
    assert not any((batch == chat.tokenizer.eos_token_id).any() for batch in batches)


def test_a_prompt_has_whatever_length_is_asked_for(tiny_base):
    for length in (16, 100, 300):
        long = ours.LongChat(ours.open_chat(tiny_base), length)
        assert [len(long.prompt(pair.post)) for pair in market_pairs(3)] == [length] * 3
        assert len({tuple(long.prompt(post)) for post in ("apples " * 9, "pears " * 9)}) == 2


def test_chat_pairs_are_a_fixed_sample_within_the_limits_and_too_few_are_told(conversations, tmp_path):
    pairs = chat_pairs(20, conversations)
    assert pairs == chat_pairs(20, conversations)
    assert len({pair.id for pair in pairs}) == 20
    assert all(3 <= len(pair.post.split()) <= 25 and 3 <= len(pair.reply.split()) <= 18 for pair in pairs)
    with pytest.raises(ValueError, match="10000 are needed"):
        chat_pairs(10_000, conversations)
    with pytest.raises(InputError):
        chat_pairs(1, tmp_path / "nothing.json")


def test_posts_of_the_market_are_all_different_and_nearly_of_one_length():
    posts = [pair.post for pair in market_pairs(64)]
    assert len(set(posts)) == 64
    assert {len(post.split()) for post in posts} == {16}


def test_a_setting_of_the_adapter_reaches_the_policy(tiny_base):
    lora = SimpleNamespace(rank=2, alpha=4, dropout=0.0, layers=1, targets=["q_proj"])
    policy = ours.open_policy(tiny_base, torch.float32, lora)
    trained = [tuple(p.shape) for p in policy.parameters() if p.requires_grad]
    assert trained == [(2, 16), (16, 2)]
