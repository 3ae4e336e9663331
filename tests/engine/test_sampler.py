"""The sampling engine against the scorer, against itself in other company, and against transformers' own generate."""

from contextlib import nullcontext
from unittest.mock import patch

import pytest
import torch

from polychrome.engine import sampler as engine
from polychrome.engine.attention import PackedAttention
from polychrome.engine.backend import Backend
from polychrome.engine.native.decoder import Decoder
from polychrome.engine.packing import Group, pack, pack_prompts
from polychrome.engine.recording import Recording
from polychrome.engine.sampler import Request, recording_of, sample
from polychrome.engine.sampling import SamplingSettings
from polychrome.engine.scoring import CompletionScorer
from polychrome.engine.stack import Stack
from polychrome.models.policy import open_adapter, open_base, reference_active

from .families import adapted_in
from .naive import SHARING

NEVER = 9999  # beyond the vocabulary: a stop token for tests that want no early end
SETTINGS = SamplingSettings(temperature=0.8, max_new_tokens=12)
PROMPTS = [[5, 6, 7], [9], [30, 31, 32, 33, 34, 35, 36], [40, 41, 42], [200, 100]]
REQUESTS = [(prompt, 3, ("test", i)) for i, prompt in enumerate(PROMPTS)]


@pytest.fixture(params=["stack", "compiled", "transformers"])
def path(request, monkeypatch):
    """Every test thrice: on the stack, decoding by compiled code, and on transformers' own forward pass, which is that
    of architectures that the stack does not know.
    """
    if request.param == "transformers":
        monkeypatch.setattr(engine, "stack_of", lambda model, backend: None)
    return request.param


@pytest.fixture(autouse=True)
def backend(path, request):
    return request.getfixturevalue("compiled") if path == "compiled" else Backend()


@pytest.fixture
def run(policy, backend):
    """Sample requests, (prompt, count, key) each, by default every prompt three times."""

    def run(asked=REQUESTS, settings=SETTINGS, *, of=policy, stop_id=NEVER, seed=1, rows=engine.MOST_ROWS, **changed):
        with patch.object(engine, "MOST_ROWS", rows):
            requests = [ask(*one, settings, stop_id=stop_id, seed=seed) for one in asked]
            return sample(of, requests, pad_id=1, **{"backend": backend} | changed)

    return run


def ask(prompt, count, key, settings=SETTINGS, *, stop_id=NEVER, seed=1):
    return Request(prompt, count, key, settings, (stop_id,), seed)


def tokens_of(answers):
    return [[completion.tokens for completion in group] for group in answers]


def flat(answers):
    return [completion for group in answers for completion in group]


def stop_for(answers):
    """A token that some completions hold early, some late and some never."""
    rows = [completion.tokens for completion in flat(answers)]
    shares = {token: sum(token in row for row in rows) for row in rows for token in row}
    return max(shares, key=lambda token: (min(shares[token], len(rows) - shares[token]), token))


def assert_same_completions(found, expected):
    """The same tokens; log-probabilities as near as rounding lets them be, 1e-5."""
    assert tokens_of(found) == tokens_of(expected)
    for one, two in zip(flat(found), flat(expected), strict=True):
        assert one.logps == pytest.approx(two.logps, rel=1e-5, abs=1e-5)
        assert one.ended == two.ended


def watched(monkeypatch, of=lambda tokens, positions: len(tokens)):
    """A list that gets ``of(tokens, positions)`` of every decoding step from now on, by default its rows."""
    seen = []

    def spy(step):
        return lambda self, tokens, positions, slab: (
            seen.append(of(tokens, positions)), step(self, tokens, positions, slab)
        )[1]  # fmt: skip

    for kind in (engine._StackForward, engine._TransformersForward):
        monkeypatch.setattr(kind, "step", spy(kind.step))
    return seen


@pytest.mark.parametrize("rows", [2, 6])
def test_requests_that_wait_take_the_places_of_completions_that_have_ended(run, rows, monkeypatch):
    """Never more rows than allowed, and full again while requests wait, though they end at different steps."""
    counts = [1 + i % 2 for i in range(16)]
    many, done = [(PROMPTS[i % 5], count, ("many", i)) for i, count in enumerate(counts)], []
    stop, heights, under_way = stop_for(run()), watched(monkeypatch), []
    refill = engine._Decoding._refill
    monkeypatch.setattr(engine._Decoding, "_refill", lambda self: (under_way.append(len(self.which)), refill(self))[1])
    answers = run(many, stop_id=stop, rows=rows, progress=done.append)
    assert [len(group) for group in answers] == counts
    assert sum(done) == sum(counts)
    assert max(heights) == rows
    assert sum(heights) == sum(len(completion.tokens) - 1 for completion in flat(answers))
    assert under_way[0] == 0
    assert max(under_way) > 0 or rows == 2
    assert_same_completions(answers, [run([request], stop_id=stop)[0] for request in many])
    assert run([]) == []


@pytest.mark.parametrize("restriction", [{}, {"top_p": 0.9}, {"top_k": 5}])
def test_returned_log_probabilities_are_those_the_scorer_gives_the_same_tokens(policy, run, restriction):
    settings = SamplingSettings(temperature=0.8, max_new_tokens=12, **restriction)
    answers = run(settings=settings, stop_id=stop_for(run(settings=settings)))
    assert len({len(completion.tokens) for completion in flat(answers)}) > 1
    packed = pack([Group(p, [c.tokens for c in group]) for p, group in zip(PROMPTS, answers, strict=True)])
    with torch.no_grad():
        logps, _, _ = CompletionScorer(policy, Backend())(packed, settings.temperature)
    for row, completion in zip(logps, flat(answers), strict=True):
        assert completion.logps == pytest.approx(row[: len(completion.tokens)].tolist(), abs=1e-4)


@pytest.mark.parametrize("prompts", [PROMPTS, *(prompts for prompts, _ in SHARING.values())], ids=["none", *SHARING])
def test_what_a_request_gets_does_not_depend_on_its_neighbours_nor_on_how_many_there_are(run, prompts):
    """Nor on what its prompt shares with theirs."""
    asked = [(prompt, 3, ("test", i)) for i, prompt in enumerate(prompts)]
    stop = stop_for(run(asked))
    alone = [run([request], stop_id=stop)[0] for request in asked]
    assert_same_completions(run(asked[::-1], stop_id=stop), alone[::-1])
    for rows in (1, 3, 7, 128):
        assert_same_completions(run(asked, stop_id=stop, rows=rows), alone)


def test_seed_and_key_are_the_draw_and_completions_of_one_request_differ(run):
    first = run()
    assert run() == first  # bit for bit
    assert tokens_of(run(seed=2)) != tokens_of(first)
    renamed = [(prompt, count, ("other", *key)) for prompt, count, key in REQUESTS]
    assert all(a != b for a, b in zip(tokens_of(run(renamed)), tokens_of(first), strict=True))
    assert all(len({tuple(tokens) for tokens in group}) == 3 for group in tokens_of(first))
    torch.set_num_threads(2)
    assert tokens_of(run()) == tokens_of(first)


def test_a_completion_ends_with_its_first_stop_token_or_is_cut_and_is_otherwise_as_if_it_had_gone_on(run):
    """Rows that end leave the batch; those that stay must not notice."""
    unstopped = run()
    assert all(len(completion.tokens) == 12 and not completion.ended for completion in flat(unstopped))
    stop, ended = stop_for(unstopped), 0
    for completion, longer in zip(flat(run(stop_id=stop)), flat(unstopped), strict=True):
        cut = longer.tokens.index(stop) + 1 if stop in longer.tokens else len(longer.tokens)
        assert completion.tokens == longer.tokens[:cut]
        assert completion.ended == (stop in longer.tokens)
        ended += completion.ended
    assert 2 <= ended <= 13


def test_at_a_temperature_near_zero_it_is_greedy_decoding_as_transformers_does_it(policy, run):
    answers = run(settings=SamplingSettings(temperature=1e-4, max_new_tokens=12))
    for prompt, group in zip(PROMPTS, answers, strict=True):
        ids = torch.tensor([prompt])
        expected = policy.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, eos_token_id=NEVER,
            pad_token_id=1, use_cache=True,
        )[0, len(prompt) :]  # fmt: skip
        assert [c.tokens for c in group] == [expected.tolist()] * 3


def test_the_frequency_of_a_first_token_is_its_probability(policy, run):
    """2,000 draws: within four standard errors of the scorer's probability for the ten most probable tokens."""
    count = 2000
    first = run([([5, 6, 7], count, ("many",))], SamplingSettings(0.8, 1), rows=count)[0]
    found = torch.tensor([c.tokens[0] for c in first]).bincount(minlength=258) / count
    with torch.no_grad():
        p = (policy(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1] / 0.8).softmax(-1)
    top = p.topk(10).indices
    assert ((found - p)[top].abs() < 4 * (p[top] * (1 - p[top]) / count).sqrt()).all()


def test_every_request_has_its_own_settings_stop_tokens_and_seed(policy, run, backend):
    """Together each gets what it gets alone, with lengths, restrictions, temperatures and streams of its own."""
    stop = stop_for(run())
    free = sample(policy, [Request(PROMPTS[3], 2, ("d",), SamplingSettings(1.0, 12))], pad_id=1, backend=backend)
    third = free[0][0].tokens[2]
    requests = [
        ask(PROMPTS[0], 3, ("a",), SamplingSettings(0.8, 12)),
        ask(PROMPTS[1], 2, ("b",), SamplingSettings(1.3, 5, top_p=0.7), seed=9),
        ask(PROMPTS[2], 3, ("c",), SamplingSettings(0.5, 9, top_k=4), stop_id=stop),
        Request(PROMPTS[3], 2, ("d",), SamplingSettings(1.0, 12), stop_ids=(NEVER, third)),
        Request(PROMPTS[4], 1, ("e",), SamplingSettings(1.0, 3)),
    ]
    answers = sample(policy, requests, pad_id=1, backend=backend)
    assert answers[3][0].ended  # by its second stop token
    assert answers[3][0].tokens[-1] == third
    for request, group in zip(requests, answers, strict=True):
        assert tokens_of(sample(policy, [request], pad_id=1, backend=backend)) == tokens_of([group])
        for completion in group:
            assert len(completion.tokens) <= request.settings.max_new_tokens
            assert completion.ended == (completion.tokens[-1] in request.stop_ids)
            assert not set(completion.tokens[:-1]) & set(request.stop_ids)


def test_memory_bounds_the_rows_never_the_answers(policy, run, backend, monkeypatch):
    expected = tokens_of(run())
    heights = watched(monkeypatch)
    for memory_mib, most in ((0, 1), (1, 15), (64, 15)):
        heights.clear()
        assert tokens_of(run(memory_mib=memory_mib)) == expected
        assert max(heights) == most
    stack = engine.stack_of(policy, backend)
    rows = [engine.rows_within(8, policy, [ask([5] * n, 100, ())], stack) for n in (1, 500, 5000, 10**6)]
    assert rows == sorted(rows, reverse=True)
    assert (rows[0], rows[-1]) == (engine.MOST_ROWS, 1)
    assert rows[2] < engine.MOST_ROWS


def test_positions_count_from_each_prompts_own_start(run, monkeypatch):
    """Not every model forgives shifted positions as this one does."""
    seen = watched(monkeypatch, lambda tokens, positions: sorted(positions.tolist()))
    run(settings=SamplingSettings(temperature=0.8, max_new_tokens=3))
    assert seen == [sorted(3 * [len(prompt) + step for prompt in PROMPTS]) for step in (0, 1)]


@pytest.mark.parametrize(("draws", "training"), [(None, True), (0, True), (5, False)], ids=["all", "none", "half"])
def test_mode_and_weights_of_the_policy_are_as_before_when_sampling_fails_too(
    policy, run, backend, path, monkeypatch, training, draws
):
    """At the first draw, behind the prompts, and half-way. Compiled code merges weights of its own: with it those of
    the policy are the same bits in the same place at every draw.
    """
    policy.train(training)
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in policy.state_dict().items()}
    seen, draw = [], backend.draw

    def as_before():
        now = policy.state_dict().items()
        return all(t.data_ptr() == before[name][0] and torch.equal(t, before[name][1]) for name, t in now)

    def drawn(*args):
        if len(seen) == draws:
            raise RuntimeError("no token")
        seen.append(as_before())
        return draw(*args)

    monkeypatch.setattr(backend, "draw", drawn)
    with nullcontext() if draws is None else pytest.raises(RuntimeError, match="no token"):
        run()
    assert len(seen) == (12 if draws is None else draws)
    assert path != "compiled" or all(seen)
    assert policy.training is training
    assert as_before()
    CompletionScorer(policy)(pack([Group([5], [[6, 7]])]))[0].sum().backward()
    assert all(t.grad is not None and t.grad.norm() > 0 for t in policy.parameters() if t.requires_grad)


def test_the_reference_answers_where_it_is_active_and_the_base_where_no_adapter_is(both, saved, tiny_base, run):
    base, again = (open_base(tiny_base, torch.float32) for _ in range(2))
    reference, plain = tokens_of(run(of=open_adapter(base, saved, trainable=False))), tokens_of(run(of=again))
    assert tokens_of(run(of=both)) not in (reference, plain)
    with reference_active(both):
        assert tokens_of(run(of=both)) == reference
    assert tokens_of(run(of=both.unload())) == plain != reference


def test_over_a_bfloat16_base_the_adapter_samples_what_the_scorer_scores(run, backend, path, tiny_base, saved):
    """There it is not merged. With compiled code both multiply the same rounded numbers, and what is left is float32's
    rounding; else it is bfloat16's own, 2^-8 of a logit.
    """
    coarse = open_adapter(open_base(tiny_base, torch.bfloat16), saved, trainable=True)
    answers = run(of=coarse)
    assert len({tuple(c.tokens) for c in flat(answers)}) > 1
    for prompt, group in zip(PROMPTS, answers, strict=True):
        packed = pack([Group(prompt, [c.tokens for c in group])])
        logps, _, _ = CompletionScorer(coarse, backend)(packed, SETTINGS.temperature)
        gap = (torch.tensor([c.logps for c in group]) - logps).abs()
        assert gap.max() < 2e-3 if path == "compiled" else gap.mean() < 0.05


# --- compiled code ---------------------------------------------------------------------------------------------------


def test_the_policy_decodes_on_the_path_that_is_meant(run, path, tiny_base, monkeypatch):
    """Compiled steps too, not only the compiled library that is at hand; and none for layers of another kind."""
    steps, step = [], Decoder.step
    monkeypatch.setattr(Decoder, "step", lambda self, *args: (steps.append(1), step(self, *args))[1])
    run()
    assert len(steps) == (11 if path == "compiled" else 0)
    own = open_base(tiny_base, torch.float32)
    own.lm_head.__class__ = type("OtherLinear", (torch.nn.Linear,), {})
    found = run(of=own)
    assert len(steps) <= 11
    assert_same_completions(found, run(of=own, backend=Backend()))


@pytest.mark.parametrize("path", ["compiled"], indirect=True)
@pytest.mark.parametrize("rows", [128, 5])
@pytest.mark.parametrize("restriction", [{}, {"top_p": 0.9}])
def test_with_and_without_compiled_code_the_same_tokens_are_drawn(run, rows, restriction):
    settings = SamplingSettings(temperature=0.8, max_new_tokens=30, **restriction)
    # Long ones: the completions of a group read them where the first of it, which may end before them, has them.
    asked = [*REQUESTS, (list(range(10, 60)), 5, ("long", 0)), (list(range(90, 110)), 4, ("long", 1))]
    stop = stop_for(run(asked, settings))
    answers = run(asked, settings, stop_id=stop, rows=rows)
    assert_same_completions(answers, run(asked, settings, stop_id=stop, rows=rows, backend=Backend()))


# --- recordings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["stack", "compiled"], indirect=True)  # of others nothing is recorded
@pytest.mark.parametrize("layers", [0, 1], ids=["adapted everywhere", "adapted above a trunk"])
@pytest.mark.parametrize("rows", [128, 5], ids=["all at once", "refilled"])
def test_a_recording_holds_of_every_token_what_the_stack_computes_for_it(run, backend, tiny_base, layers, rows):
    """Each completion behind its prompt, alone, against its slots."""
    policy = adapted_in(tiny_base, layers=layers)
    recording = recording_of(policy, [ask(*one) for one in REQUESTS], 64, backend)
    for i, completion in enumerate(flat(run(of=policy, recording=recording, rows=rows))):
        ids = torch.tensor([*PROMPTS[i // 3], *completion.tokens[:-1]])
        slots = torch.cat([recording.prompts[i // 3], recording.completions[i, : len(completion.tokens) - 1]])
        for key, outputs in recorded_alone(policy, ids).items():
            for kept, expected in zip(recording.outputs[key], outputs, strict=True):
                assert (kept[slots] - expected).norm() <= 1e-5 * expected.norm()


def recorded_alone(policy, ids):
    """What a recording of one prompt, ``ids``, and nothing sampled holds."""
    stack = Stack(policy, Backend())
    recording = Recording(stack, [ids.tolist()], [0], 1)
    recording.now = slice(0, len(ids))
    attention = PackedAttention(pack_prompts([ids.tolist()]), torch.float32, Backend())
    with torch.no_grad():
        stack(ids, torch.arange(len(ids)), attention, recording=recording)
    return recording.outputs
