"""The distribution that draw() draws from, read off a fine grid of uniforms, against the definition by sorting."""

import pytest
import torch

from polychrome.rollouts import sampling
from polychrome.rollouts.sampling import SamplingSettings, draw

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
    tokens, _ = draw(logits.expand(GRID, -1), uniforms, s)
    return tokens.bincount(minlength=len(logits)) / GRID


@pytest.mark.parametrize("candidates", [512, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("restriction", SETTINGS)
@pytest.mark.parametrize("kind", LOGITS)
def test_tokens_are_drawn_as_the_definition_says(monkeypatch, kind, restriction, temperature, candidates):
    """Inverse sampling gives each token an interval of its probability's length: a grid misses it by 1 / GRID at most.

    ``candidates`` 3 is too few for most rows, so the whole vocabulary is sorted instead. Among equally probable tokens
    the definition leaves open which are kept: then how many, and with what probability, is what is compared.
    """
    monkeypatch.setattr(sampling, "CANDIDATES", candidates)
    s = settings(temperature, **SETTINGS[restriction])
    found, expected = drawn_from(LOGITS[kind], s), by_definition(LOGITS[kind], s)
    if kind in ("random", "impossible") or restriction == "whole":
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1.01 / GRID)
    else:
        torch.testing.assert_close(found.double().sort()[0], expected.sort()[0], rtol=0, atol=1.01 / GRID)
        kept = LOGITS[kind][found > 0].min()
        assert (LOGITS[kind][found == 0] <= kept).all()


def test_rows_that_need_the_whole_vocabulary_do_not_disturb_those_that_do_not(monkeypatch):
    logits = torch.stack([LOGITS[kind] for kind in ("peaked", "flat", "random", "flat", "peaked")])
    uniforms = torch.tensor([0.3, 0.99, 0.5, 0.01, 0.9], dtype=torch.float64)
    s = settings(top_p=0.95)
    alone = torch.cat([draw(logits[i : i + 1], uniforms[i : i + 1], s)[0] for i in range(5)])
    monkeypatch.setattr(sampling, "CANDIDATES", 2)
    together, _ = draw(logits, uniforms, s)
    assert together[[0, 2, 4]].tolist() == alone[[0, 2, 4]].tolist()
    assert len(set(together[[1, 3]].tolist())) == 2


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("restriction", SETTINGS)
@pytest.mark.parametrize("kind", LOGITS)
def test_at_the_ends_of_the_unit_interval_only_tokens_that_are_kept_are_drawn(kind, restriction, uniform):
    s = settings(**SETTINGS[restriction])
    tokens, _ = draw(LOGITS[kind][None], torch.tensor([uniform], dtype=torch.float64), s)
    expected = by_definition(LOGITS[kind], s)
    least = LOGITS[kind][expected > 0].min()
    assert LOGITS[kind][tokens.item()] >= least


def test_tokens_of_probability_zero_at_the_end_of_the_vocabulary_are_never_drawn():
    """The running sum ends flat; a uniform that rounds up to the total must not fall through to the last token."""
    logits = torch.tensor([[0.1, 0.2, 0.3, -torch.inf, -torch.inf]]).expand(3, -1)
    uniforms = torch.tensor([1 - 2**-53, 1.0, 0.999999], dtype=torch.float64)
    tokens, logps = draw(logits, uniforms, settings())
    assert tokens.tolist() == [2, 2, 2]
    assert logps.isfinite().all()


def test_the_log_probability_is_that_of_the_policy_at_the_temperature_before_top_k_and_top_p():
    logits = LOGITS["random"][None]
    token, logp = draw(logits, torch.tensor([0.4], dtype=torch.float64), settings(0.7, top_p=0.5, top_k=5))
    expected = (logits.double() / 0.7).log_softmax(-1)[0, token.item()]
    assert logp.item() == pytest.approx(expected.item(), abs=1e-5)


def test_each_row_uses_its_own_uniform():
    uniforms = torch.tensor([0.1, 0.9, 0.1], dtype=torch.float64)
    tokens, _ = draw(LOGITS["flat"].expand(3, -1), uniforms, settings())
    assert tokens.tolist() == [4, 36, 4]  # 0.1 * 40 and 0.9 * 40: the first token whose running sum exceeds u


def test_a_temperature_near_zero_takes_the_most_probable_token():
    uniforms = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    tokens, _ = draw(LOGITS["random"].expand(3, -1), uniforms, settings(1e-4))
    assert tokens.tolist() == [LOGITS["random"].argmax().item()] * 3
