"""The distribution that draw() draws from, read off a fine grid of uniforms, against the definition by sorting."""

import pytest
import torch

from polychrome.engine import sampling
from polychrome.engine.sampling import RowSettings, SamplingSettings, draw

pytestmark = pytest.mark.usefixtures("both_kernels")

VOCABULARY, GRID = 40, 4000
LOGITS = {
    "random": 2 * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(0)),
    "peaked": torch.cat([torch.tensor([25.0]), torch.zeros(VOCABULARY - 1)]).roll(17),
    "flat": torch.zeros(VOCABULARY),
    "tied": torch.randint(0, 4, (VOCABULARY,), generator=torch.Generator().manual_seed(1)).float(),
    "impossible": torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(2)).masked_fill(
        torch.arange(VOCABULARY) % 3 == 0, -torch.inf
    ),
}
SETTINGS = {
    "whole": {},
    "top-p": {"top_p": 0.83},
    "small top-p": {"top_p": 0.01},
    "top-p near 1": {"top_p": 0.9999},
    "top-k": {"top_k": 7},
    "top-k over all": {"top_k": 1000},
    "both": {"top_p": 0.61, "top_k": 11},
}


def settings(temperature=1.0, **changed):
    return SamplingSettings(temperature=temperature, max_new_tokens=1, **changed)


def rows(s, count):
    return RowSettings.of([s] * count, torch.device("cpu"))


def by_definition(logits, s):
    """(V,) float64: of the top_k most probable, as many as it takes to reach top_p of their mass, renormalised."""
    probabilities = (logits.double() / s.temperature).softmax(-1)
    kept, order = torch.zeros_like(probabilities), probabilities.argsort(descending=True, stable=True).tolist()
    candidates = order[: s.top_k] if s.top_k else order
    total, mass = probabilities[candidates].sum(), 0.0
    for token in candidates:
        if mass >= s.top_p * total:
            break
        kept[token] = probabilities[token]
        mass += float(probabilities[token])
    return kept / kept.sum()


def drawn_from(logits, s):
    """(V,) how often each token is drawn, over the midpoints of a grid on [0, 1)."""
    uniforms = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    tokens, _ = draw(logits.expand(GRID, -1), uniforms, rows(s, GRID))
    return tokens.bincount(minlength=len(logits)) / GRID


@pytest.mark.parametrize("candidates", [(512,), (16,), (3, 9)])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("restriction", SETTINGS)
@pytest.mark.parametrize("kind", LOGITS)
def test_tokens_are_drawn_as_the_definition_says(monkeypatch, kind, restriction, temperature, candidates):
    """Inverse sampling gives each token an interval of its probability's length: a grid misses it by 1 / GRID at most.

    With few ``candidates`` most rows need more of them, or the whole vocabulary. Blocks of 4 tokens make ten of it, so
    that there are more blocks than 3 candidates look at and fewer than 16 do.
    """
    monkeypatch.setattr(sampling, "CANDIDATES", candidates)
    monkeypatch.setattr(sampling, "BLOCK", 4)
    s = settings(temperature, **SETTINGS[restriction])
    found, expected = drawn_from(LOGITS[kind], s), by_definition(LOGITS[kind], s)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1.01 / GRID)


def test_a_vocabulary_that_is_no_whole_number_of_blocks_is_drawn_from_to_its_end(monkeypatch):
    monkeypatch.setattr(sampling, "BLOCK", 7)
    monkeypatch.setattr(sampling, "CANDIDATES", (3,))
    for restriction in ("whole", "top-p", "top-p near 1"):
        s = settings(**SETTINGS[restriction])
        found, expected = drawn_from(LOGITS["random"], s), by_definition(LOGITS["random"], s)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1.01 / GRID)


def test_every_row_is_drawn_by_its_own_settings():
    """A batch of mixed settings gives each row what a batch of its own gives it."""
    each = [settings(0.7), settings(top_p=0.6), settings(1.5, top_k=3), settings(top_p=0.9, top_k=20), settings()]
    uniforms = torch.tensor([0.1, 0.95, 0.8, 0.4, 0.6], dtype=torch.float64)
    logits = LOGITS["random"].expand(5, -1)
    tokens, logps = draw(logits, uniforms, RowSettings.of(each, torch.device("cpu")))
    for i, s in enumerate(each):
        token, logp = draw(logits[i : i + 1], uniforms[i : i + 1], rows(s, 1))
        assert (tokens[i].item(), logps[i].item()) == (token.item(), pytest.approx(logp.item(), abs=1e-6))


def test_the_logits_are_left_as_they_were():
    logits = LOGITS["random"][None].clone()
    draw(logits, torch.tensor([0.5], dtype=torch.float64), rows(settings(0.5, top_p=0.9), 1))
    assert torch.equal(logits[0], LOGITS["random"])


def test_rows_that_need_the_whole_vocabulary_do_not_disturb_those_that_do_not(monkeypatch):
    logits = torch.stack([LOGITS[kind] for kind in ("peaked", "flat", "random", "flat", "peaked")])
    uniforms = torch.tensor([0.3, 0.99, 0.5, 0.01, 0.9], dtype=torch.float64)
    s = settings(top_p=0.95)
    alone = torch.cat([draw(logits[i : i + 1], uniforms[i : i + 1], rows(s, 1))[0] for i in range(5)])
    monkeypatch.setattr(sampling, "CANDIDATES", (2,))
    together, _ = draw(logits, uniforms, rows(s, 5))
    assert together.tolist() == alone.tolist()


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("restriction", SETTINGS)
@pytest.mark.parametrize("kind", LOGITS)
def test_at_the_ends_of_the_unit_interval_only_tokens_that_are_kept_are_drawn(kind, restriction, uniform):
    s = settings(**SETTINGS[restriction])
    tokens, _ = draw(LOGITS[kind][None], torch.tensor([uniform], dtype=torch.float64), rows(s, 1))
    expected = by_definition(LOGITS[kind], s)
    least = LOGITS[kind][expected > 0].min()
    assert LOGITS[kind][tokens.item()] >= least


def test_tokens_of_probability_zero_at_the_end_of_the_vocabulary_are_never_drawn():
    """The running sum ends flat; a uniform that rounds up to the total must not fall through to the last token."""
    logits = torch.tensor([[0.1, 0.2, 0.3, -torch.inf, -torch.inf]]).expand(3, -1)
    uniforms = torch.tensor([1 - 2**-53, 1.0, 0.999999], dtype=torch.float64)
    tokens, logps = draw(logits, uniforms, rows(settings(), 3))
    assert tokens.tolist() == [2, 2, 2]
    assert logps.isfinite().all()


def test_the_log_probability_is_that_of_the_policy_at_the_temperature_before_top_k_and_top_p():
    logits = LOGITS["random"][None]
    token, logp = draw(logits, torch.tensor([0.4], dtype=torch.float64), rows(settings(0.7, top_p=0.5, top_k=5), 1))
    expected = (logits.double() / 0.7).log_softmax(-1)[0, token.item()]
    assert logp.item() == pytest.approx(expected.item(), abs=1e-5)


def test_each_row_uses_its_own_uniform():
    uniforms = torch.tensor([0.1, 0.9, 0.1], dtype=torch.float64)
    tokens, _ = draw(LOGITS["flat"].expand(3, -1), uniforms, rows(settings(), 3))
    assert tokens.tolist() == [4, 36, 4]  # 0.1 * 40 and 0.9 * 40: the first token whose running sum exceeds u


def test_a_temperature_near_zero_takes_the_most_probable_token():
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    tokens, _ = draw(LOGITS["random"].expand(3, -1), uniforms, rows(settings(1e-4), 3))
    assert tokens.tolist() == [LOGITS["random"].argmax().item()] * 3
