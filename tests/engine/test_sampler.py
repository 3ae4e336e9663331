"""The sampling engine against the scorer, against itself in other company, and against transformers' own generate."""

from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch

from polychrome.engine import sampler as engine
from polychrome.engine.attention import PackedAttention
from polychrome.engine.packing import Group, pack, pack_prompts
from polychrome.engine.recording import Recording
from polychrome.engine.sampler import Request, recording_of, sample
from polychrome.engine.sampling import SamplingSettings, draw
from polychrome.engine.scoring import CompletionScorer
from polychrome.engine.stack import Stack
from polychrome.models.policy import (
    adapter_tensors,
    add_adapter,
    open_adapter,
    open_base,
    reference_active,
    save_adapter,
)
from tests.compilers import on_pytorch
from tests.tiny import LORA

from .naive import SHARING

NEVER = 9999  # beyond the vocabulary: a stop token for tests that want no early end
SETTINGS = SamplingSettings(temperature=0.8, max_new_tokens=12)
PROMPTS = [[5, 6, 7], [9], [30, 31, 32, 33, 34, 35, 36], [40, 41, 42], [200, 100]]


FORWARDS = {
    "stack": engine._StackForward, "compiled": engine._CompiledForward, "transformers": engine._TransformersForward
}  # fmt: skip


@pytest.fixture(autouse=True, params=FORWARDS)
def path(request, monkeypatch):
    """Every test thrice: on the stack, decoding by compiled code, and on transformers' own forward pass.

    The last is that of architectures which the stack does not know.
    """
    if request.param == "transformers":
        monkeypatch.setattr(engine, "stack_of", lambda model: None)
    if request.param == "compiled":
        request.getfixturevalue("compiled")
    return request.param


def ask(prompt, count, key, settings=SETTINGS, *, stop_id=NEVER, seed=1):
    return Request(prompt, count, key, settings, (stop_id,), seed)


def run(policy, asked=None, settings=SETTINGS, *, stop_id=NEVER, seed=1, rows=engine.MOST_ROWS, **changed):
    """Sample ``asked``, (prompt, count, key) each; every prompt three times by default."""
    asked = REQUESTS if asked is None else asked
    with patch.object(engine, "MOST_ROWS", rows):
        requests = [ask(*one, settings, stop_id=stop_id, seed=seed) for one in asked]
        return sample(policy, requests, pad_id=1, **changed)


REQUESTS = [(prompt, 3, ("test", i)) for i, prompt in enumerate(PROMPTS)]


def tokens_of(answers):
    return [[completion.tokens for completion in group] for group in answers]


def stop_for(answers):
    """A token that some completions hold early, some late and some never."""
    rows = [tokens for group in tokens_of(answers) for tokens in group]
    shares = {token: sum(token in row for row in rows) for row in rows for token in row}
    return max(shares, key=lambda token: (min(shares[token], len(rows) - shares[token]), token))


def test_every_request_gets_as_many_completions_as_it_asked_for_in_the_order_asked(policy):
    counts = [2, 1, 4, 3, 1]
    answers = run(policy, [(p, n, (i,)) for i, (p, n) in enumerate(zip(PROMPTS, counts, strict=True))], rows=4)
    assert [len(group) for group in answers] == counts
    done = []
    run(policy, rows=4, progress=done.append)
    assert sum(done) == 15


def test_no_request_is_no_answer(policy):
    assert run(policy, []) == []


def watched(monkeypatch, of=lambda tokens, positions: len(tokens)):
    """A list that gets ``of(tokens, positions)`` of every decoding step from now on, by default its rows."""
    seen = []

    def spy(step):
        def spied(self, tokens, positions, slab):
            seen.append(of(tokens, positions))
            return step(self, tokens, positions, slab)

        return spied

    for kind in FORWARDS.values():
        monkeypatch.setattr(kind, "step", spy(kind.step))
    return seen


@pytest.mark.parametrize("rows", [2, 4, 6])
def test_requests_that_wait_take_the_places_of_completions_that_have_ended(policy, rows, monkeypatch):
    """Never more rows than allowed, and full again while requests wait, though they end at different steps."""
    stop = stop_for(run(policy))
    heights = watched(monkeypatch)
    many = [(PROMPTS[i % 5], 2, ("many", i)) for i in range(12)]
    answers = run(policy, many, stop_id=stop, rows=rows)
    assert max(heights) == rows
    assert sum(heights) == sum(len(c.tokens) - 1 for group in answers for c in group)
    for i, request in enumerate(many):
        assert tokens_of(run(policy, [request], stop_id=stop)) == [tokens_of(answers)[i]]


def test_requests_join_while_others_are_under_way(policy, monkeypatch):
    under_way = []
    refill = engine._Decoding._refill
    monkeypatch.setattr(engine._Decoding, "_refill", lambda self: (under_way.append(len(self.which)), refill(self))[1])
    run(policy, [(PROMPTS[i % 5], 1, ("many", i)) for i in range(24)], stop_id=stop_for(run(policy)), rows=6)
    assert under_way[0] == 0
    assert max(under_way) > 0


@pytest.mark.parametrize("restriction", [{}, {"top_p": 0.9}, {"top_k": 5}])
def test_returned_log_probabilities_are_those_the_scorer_gives_the_same_tokens(policy, restriction):
    settings = SamplingSettings(temperature=0.8, max_new_tokens=12, **restriction)
    answers = run(policy, settings=settings, stop_id=stop_for(run(policy, settings=settings)))
    assert len({len(tokens) for group in tokens_of(answers) for tokens in group}) > 1
    packed = pack([Group(p, [c.tokens for c in group]) for p, group in zip(PROMPTS, answers, strict=True)])
    with torch.no_grad(), on_pytorch():
        logps, _, _ = CompletionScorer(policy)(packed, settings.temperature)
    for row, completion in zip(logps, [c for group in answers for c in group], strict=True):
        assert len(completion.logps) == len(completion.tokens)
        assert completion.logps == pytest.approx(row[: len(completion.tokens)].tolist(), abs=1e-4)


@pytest.mark.parametrize("rows", [1, 3, 7, 96])
def test_what_a_request_gets_does_not_depend_on_how_many_are_decoded_side_by_side(policy, rows):
    stop = stop_for(run(policy))
    assert tokens_of(run(policy, stop_id=stop, rows=rows)) == tokens_of(run(policy, stop_id=stop))


def test_what_a_request_gets_does_not_depend_on_its_neighbours(policy):
    together = tokens_of(run(policy))
    for i, request in enumerate(REQUESTS):
        assert tokens_of(run(policy, [request])) == [together[i]]
    assert tokens_of(run(policy, REQUESTS[::-1])) == together[::-1]


@pytest.mark.parametrize("rows", [128, 6])
@pytest.mark.parametrize(("prompts", "shared"), SHARING.values(), ids=SHARING)
def test_requests_whose_prompts_begin_alike_get_what_each_gets_alone(policy, prompts, shared, rows):
    requests = [(prompt, 3, ("alike", i)) for i, prompt in enumerate(prompts)]
    for request, group in zip(requests, run(policy, requests, rows=rows), strict=True):
        (alone,) = run(policy, [request])
        assert tokens_of([group]) == tokens_of([alone])
        for completion, other in zip(group, alone, strict=True):
            assert completion.logps == pytest.approx(other.logps, rel=1e-5, abs=1e-5)


def test_the_same_seed_repeats_itself_bit_for_bit(policy):
    assert run(policy) == run(policy)


def test_another_seed_or_another_key_draws_other_completions(policy):
    first = tokens_of(run(policy))
    assert tokens_of(run(policy, seed=2)) != first
    renamed = [(prompt, count, ("other", *key)) for prompt, count, key in REQUESTS]
    assert all(a != b for a, b in zip(tokens_of(run(policy, renamed)), first, strict=True))


def test_completions_of_one_request_differ_from_each_other(policy):
    assert all(len({tuple(tokens) for tokens in group}) == 3 for group in tokens_of(run(policy)))


def test_a_completion_is_cut_at_max_new_tokens_and_says_that_it_has_not_ended(policy):
    completions = [c for group in run(policy) for c in group]
    assert all(len(c.tokens) == 12 and not c.ended for c in completions)


def test_a_completion_ends_with_its_first_stop_token_and_is_otherwise_as_if_it_had_gone_on(policy):
    """Rows that end leave the batch; those that stay must not notice."""
    unstopped = tokens_of(run(policy))
    stop = stop_for(run(policy))
    ended = 0
    for group, longer in zip(run(policy, stop_id=stop), unstopped, strict=True):
        for completion, tokens in zip(group, longer, strict=True):
            cut = tokens.index(stop) + 1 if stop in tokens else len(tokens)
            assert completion.tokens == tokens[:cut]
            assert completion.ended == (stop in tokens)
            ended += completion.ended
    assert 2 <= ended <= 13


def test_at_a_temperature_near_zero_it_is_greedy_decoding_as_transformers_does_it(policy):
    answers = run(policy, settings=SamplingSettings(temperature=1e-4, max_new_tokens=12))
    for prompt, group in zip(PROMPTS, answers, strict=True):
        ids = torch.tensor([prompt])
        expected = policy.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, eos_token_id=NEVER,
            pad_token_id=1, use_cache=True,
        )[0, len(prompt) :]  # fmt: skip
        assert [c.tokens for c in group] == [expected.tolist()] * 3


def test_the_frequency_of_a_first_token_is_its_probability(policy):
    """2,000 draws: within four standard errors of the scorer's probability for the ten most probable tokens."""
    count = 2000
    first = run(policy, [([5, 6, 7], count, ("many",))], SamplingSettings(0.8, 1), rows=count)[0]
    found = torch.tensor([c.tokens[0] for c in first]).bincount(minlength=258) / count
    with torch.no_grad():
        p = (policy(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1] / 0.8).softmax(-1)
    top = p.topk(10).indices
    assert ((found - p)[top].abs() < 4 * (p[top] * (1 - p[top]) / count).sqrt()).all()


def test_every_request_has_its_own_settings_stop_tokens_and_seed(policy):
    """Together each gets what it gets alone, with lengths, restrictions, temperatures and streams of its own."""
    stop = stop_for(run(policy))
    requests = [
        ask(PROMPTS[0], 3, ("a",), SamplingSettings(0.8, 12)),
        ask(PROMPTS[1], 2, ("b",), SamplingSettings(1.3, 5, top_p=0.7), seed=9),
        ask(PROMPTS[2], 3, ("c",), SamplingSettings(0.5, 9, top_k=4), stop_id=stop),
        Request(PROMPTS[3], 2, ("d",), SamplingSettings(1.0, 12), stop_ids=(stop, 7, 8)),
        Request(PROMPTS[4], 1, ("e",), SamplingSettings(1.0, 3)),
    ]
    together = sample(policy, requests, pad_id=1)
    for request, group in zip(requests, together, strict=True):
        assert tokens_of(sample(policy, [request], pad_id=1)) == tokens_of([group])
        for completion in group:
            assert len(completion.tokens) <= request.settings.max_new_tokens
            assert completion.ended == (completion.tokens[-1] in request.stop_ids)
            assert not set(completion.tokens[:-1]) & set(request.stop_ids)


@pytest.mark.parametrize("memory_mib", [0, 1, 64])
def test_memory_bounds_the_rows_never_the_answers(policy, memory_mib, monkeypatch):
    expected = tokens_of(run(policy))
    heights = watched(monkeypatch)
    assert tokens_of(run(policy, memory_mib=memory_mib)) == expected
    assert max(heights) == {0: 1, 1: 15, 64: 15}[memory_mib]


def test_rows_that_fit_become_fewer_as_prompts_grow_and_never_none(policy):
    model = policy.get_base_model()
    rows = [engine.rows_within(8, model, [ask([5] * n, 100, ())]) for n in (1, 500, 5000, 10**6)]
    assert rows == sorted(rows, reverse=True)
    assert (rows[0], rows[-1]) == (engine.MOST_ROWS, 1)
    assert rows[2] < engine.MOST_ROWS


def test_positions_count_from_each_prompts_own_start(policy, monkeypatch):
    """Not every model forgives shifted positions as this one does."""
    seen = watched(monkeypatch, lambda tokens, positions: positions.tolist())
    run(policy, settings=SamplingSettings(temperature=0.8, max_new_tokens=3))
    for step, positions in enumerate(seen):
        assert sorted(positions) == sorted(3 * [len(prompt) + step for prompt in PROMPTS])
    assert len(seen) == 2


def test_weights_mode_and_gradients_of_the_policy_are_as_before(policy):
    policy.train()
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    run(policy)
    assert policy.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())
    CompletionScorer(policy)(pack([Group([5], [[6, 7]])]))[0].sum().backward()
    assert all(t.grad is not None and t.grad.norm() > 0 for t in policy.parameters() if t.requires_grad)


@pytest.mark.parametrize("draws", [0, 5])
@pytest.mark.parametrize("training", [True, False])
def test_when_sampling_fails_mode_and_weights_are_as_before(policy, monkeypatch, training, draws):
    """At the first draw, behind the prompts, and half-way."""
    policy.train(training)
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    left = iter(range(draws))

    def broken(*args):
        if next(left, None) is None:
            raise RuntimeError("no token")
        return draw(*args)

    monkeypatch.setattr(engine, "draw", broken)
    with pytest.raises(RuntimeError, match="no token"):
        run(policy)
    assert policy.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())


def test_a_base_model_without_adapter_is_sampled_as_it_is(policy):
    adapted = tokens_of(run(policy))
    base = policy.unload()
    assert tokens_of(run(base)) != adapted
    assert run(base) == run(base)


def test_over_a_bfloat16_base_the_adapter_samples_what_the_scorer_scores(policy, tiny_base, tmp_path):
    """There the adapter is not merged; what is left between the two is bfloat16's own rounding, 2^-8 of a logit."""
    save_adapter(policy, tmp_path, {})
    coarse = open_adapter(open_base(tiny_base, torch.bfloat16), tmp_path, trainable=False)
    answers = run(coarse)
    packed = pack([Group(p, [c.tokens for c in group]) for p, group in zip(PROMPTS, answers, strict=True)])
    with torch.no_grad():
        logps, _, _ = CompletionScorer(coarse)(packed, SETTINGS.temperature)
    found = torch.tensor([c.logps for group in answers for c in group])
    assert (found - logps).abs().mean() < 0.05


def test_the_policy_decodes_on_the_path_that_is_meant(policy, monkeypatch, path):
    """Compiled steps too, not only the compiled library that is at hand."""
    kinds = []
    for kind in FORWARDS.values():
        step = kind.step
        monkeypatch.setattr(
            kind, "step", lambda self, *args, step=step: (kinds.append(type(self)), step(self, *args))[1]
        )
    run(policy)
    assert set(kinds) == {FORWARDS[path]}


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
def test_a_policy_with_layers_of_its_own_is_not_decoded_by_compiled_code(tiny_base, monkeypatch):
    """It goes the way that it goes without a compiler; the prefill's layers are compiled: 1e-5, and its tokens."""
    own = open_base(tiny_base, torch.float32)
    own.lm_head.__class__ = type("OtherLinear", (torch.nn.Linear,), {})
    monkeypatch.setattr(engine, "Decoder", None)  # none can be made
    found = run(own)
    with on_pytorch():
        expected = run(own)
    assert_same_completions(found, expected)


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
def test_over_a_bfloat16_base_compiled_code_samples_what_it_scores(policy, tiny_base, tmp_path):
    """Both multiply the same rounded numbers: what is left between sampler and trainer is float32's rounding."""
    save_adapter(policy, tmp_path, {})
    coarse = open_adapter(open_base(tiny_base, torch.bfloat16), tmp_path, trainable=True)
    answers = run(coarse)
    assert len({tuple(c.tokens) for group in answers for c in group}) > 1
    for prompt, group in zip(PROMPTS, answers, strict=True):
        packed = pack([Group(prompt, [c.tokens for c in group])])
        logps, _, _ = CompletionScorer(coarse)(packed, SETTINGS.temperature)
        for row, c in zip(logps, group, strict=True):
            assert row[: len(c.logps)].tolist() == pytest.approx(c.logps, abs=2e-3)


def assert_same_completions(found, expected):
    """The same tokens; log-probabilities as near as rounding lets them be, 1e-5."""
    assert tokens_of(found) == tokens_of(expected)
    for group, other in zip(found, expected, strict=True):
        for one, two in zip(group, other, strict=True):
            assert one.logps == pytest.approx(two.logps, rel=1e-5, abs=1e-6)
            assert one.ended == two.ended


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
@pytest.mark.parametrize("rows", [128, 5])
@pytest.mark.parametrize("restriction", [{}, {"top_p": 0.9}])
def test_with_and_without_compiled_code_the_same_tokens_are_drawn(policy, rows, restriction):
    settings = SamplingSettings(temperature=0.8, max_new_tokens=30, **restriction)
    # Long ones: the completions of a group read them where the first of it, which may end before them, has them.
    asked = [*REQUESTS, (list(range(10, 60)), 5, ("long", 0)), (list(range(90, 110)), 4, ("long", 1))]
    stop = stop_for(run(policy, asked, settings=settings))
    answers = run(policy, asked, settings=settings, stop_id=stop, rows=rows)
    with on_pytorch():
        assert_same_completions(answers, run(policy, asked, settings=settings, stop_id=stop, rows=rows))


def test_one_thread_and_two_draw_the_same_tokens(policy):
    answers = run(policy)
    torch.set_num_threads(2)
    assert tokens_of(run(policy)) == tokens_of(answers)


@pytest.mark.parametrize("path", ["stack", "compiled"], indirect=True)  # of others nothing is recorded
@pytest.mark.parametrize("layers", [0, 1], ids=["adapted everywhere", "adapted above a trunk"])
@pytest.mark.parametrize("rows", [128, 5], ids=["all at once", "refilled"])
def test_a_recording_holds_of_every_token_what_the_stack_computes_for_it(tiny_base, layers, rows):
    """Each completion behind its prompt, alone, against its slots."""
    policy = adapted_above(tiny_base, layers)
    requests = [ask(*one, SETTINGS) for one in REQUESTS]
    recording = recording_of(policy, requests, 64)
    with patch.object(engine, "MOST_ROWS", rows):
        answers = sample(policy, requests, pad_id=1, recording=recording)
    completions = [(request, c) for request, group in zip(range(5), answers, strict=True) for c in group]
    for i, (request, completion) in enumerate(completions):
        ids = torch.tensor([*PROMPTS[request], *completion.tokens[:-1]])
        slots = torch.cat([recording.prompts[request], recording.completions[i, : len(completion.tokens) - 1]])
        for key, outputs in recorded_alone(policy, ids).items():
            for kept, expected in zip(recording.outputs[key], outputs, strict=True):
                assert (kept[slots] - expected).norm() <= 1e-5 * expected.norm()


def adapted_above(tiny_base, layers):
    """A policy that is adapted in its last ``layers``, 0 for all."""
    policy = add_adapter(
        open_base(tiny_base, torch.float32), SimpleNamespace(**vars(LORA) | {"layers": layers}), seed=3
    )
    with torch.no_grad():
        for i, tensor in enumerate(adapter_tensors(policy).values()):
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(i)))
    return policy


def recorded_alone(policy, ids):
    """What a recording of one prompt, ``ids``, and nothing sampled holds."""
    recording = Recording(Stack(policy), [ids.tolist()], [0], 1)
    recording.now = slice(0, len(ids))
    packed = pack_prompts([ids.tolist()])
    with torch.no_grad(), on_pytorch():
        Stack(policy)(ids, torch.arange(len(ids)), PackedAttention(packed, torch.float32), recording=recording)
    return recording.outputs


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
def test_while_sampling_too_compiled_code_leaves_the_policy_as_it_is(policy, monkeypatch):
    """Merged are weights of its own: at every draw those of the policy are the same bits in the same place."""
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in policy.state_dict().items()}
    draws = []

    def spied(*args):
        for name, tensor in policy.state_dict().items():
            assert tensor.data_ptr() == before[name][0]
            assert torch.equal(tensor, before[name][1])
        draws.append(args)
        return draw(*args)

    monkeypatch.setattr(engine, "draw", spied)
    run(policy)
    assert len(draws) == 12


def test_inside_reference_active_the_reference_answers(two_adapters):
    policy, reference = two_adapters
    expected = tokens_of(run(reference))
    assert tokens_of(run(policy)) != expected
    with reference_active(policy):
        assert tokens_of(run(policy)) == expected
