"""The distribution that draw() draws from, read off a fine grid of uniforms, against the definition by sorting."""

import pytest
import torch
from transformers import MinPLogitsWarper

from polychrome.engine import sampling
from polychrome.engine.sampling import RowSettings, SamplingSettings

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
    "min-p": {"min_p": 0.13},
    "small min-p": {"min_p": 1e-4},
    "min-p of one": {"min_p": 1.0},
    "all three": {"top_p": 0.79, "top_k": 20, "min_p": 0.2},
}
ALMOST_ONE = 1 - 2**-53


def settings(temperature=1.0, **changed):
    return SamplingSettings(temperature=temperature, max_new_tokens=1, **changed)


def draw(backend, logits, uniforms, each):
    """A row a uniform, all by the same logits and settings, or each by its own."""
    each = each if isinstance(each, list) else [each] * len(uniforms)
    uniforms = torch.as_tensor(uniforms, dtype=torch.float64)
    return backend.draw(logits.expand(len(uniforms), -1), uniforms, RowSettings.of(each, torch.device("cpu")))


def by_definition(logits, s):
    """(V,) float64: of the top_k most probable, as many as it takes to reach top_p of their mass, of these the
    at least min_p times as probable as the first, renormalised."""
    probabilities = (logits.double() / s.temperature).softmax(-1)
    kept, order = torch.zeros_like(probabilities), probabilities.argsort(descending=True, stable=True).tolist()
    candidates = order[: s.top_k] if s.top_k else order
    total, mass = probabilities[candidates].sum(), 0.0
    for token in candidates:
        if mass >= s.top_p * total or probabilities[token] < s.min_p * probabilities[order[0]]:
            break
        kept[token] = probabilities[token]
        mass += float(probabilities[token])
    return kept / kept.sum()


@pytest.mark.parametrize(("candidates", "temperature"), [(512, 1.0), (16, 0.5), (9, 1.0), (3, 1.0)])
@pytest.mark.parametrize("restriction", SETTINGS)
def test_tokens_are_drawn_as_the_definition_says(monkeypatch, backend, restriction, temperature, candidates):
    """Inverse sampling gives each token an interval of its probability's length: a grid misses it by 1 / GRID at most.

    With few ``candidates`` most rows need the whole vocabulary.
    """
    monkeypatch.setattr(sampling, "CANDIDATES", candidates)
    s = settings(temperature, **SETTINGS[restriction])
    for logits in LOGITS.values():
        tokens, _ = draw(backend, logits, (torch.arange(GRID) + 0.5).double() / GRID, s)
        found = tokens.bincount(minlength=VOCABULARY).double() / GRID
        torch.testing.assert_close(found, by_definition(logits, s), rtol=0, atol=1.01 / GRID)


@pytest.mark.parametrize("min_p", [0.02, 0.2, 0.7])
def test_min_p_keeps_what_transformers_keeps(backend, min_p):
    logits = LOGITS["random"]
    kept = MinPLogitsWarper(min_p)(None, logits[None] / 0.9)[0].softmax(-1)
    tokens, _ = draw(backend, logits, (torch.arange(GRID) + 0.5).double() / GRID, settings(0.9, min_p=min_p))
    torch.testing.assert_close(tokens.bincount(minlength=VOCABULARY) / GRID, kept, rtol=0, atol=1.01 / GRID)


def test_every_row_is_drawn_by_its_own_settings_and_uniform(backend, monkeypatch):
    """A batch of mixed settings gives each row what a batch of its own gives it, however many candidates settle it."""
    each = [settings(0.7), settings(top_p=0.6), settings(1.5, top_k=3), settings(top_p=0.9, top_k=20), settings()]
    each += [settings(top_p=0.95)] * 4 + [settings(min_p=0.3)]
    uniforms = [0.1, 0.95, 0.8, 0.4, 0.6, 0.3, 0.99, 0.5, 0.01, 0.9]
    logits = torch.stack([LOGITS["random"]] * 5 + [LOGITS[k] for k in ("peaked", "flat", "random", "flat", "peaked")])
    alone = [draw(backend, logits[i : i + 1], [u], s) for i, (u, s) in enumerate(zip(uniforms, each, strict=True))]
    for candidates in (512, 2):
        monkeypatch.setattr(sampling, "CANDIDATES", candidates)
        tokens, logps = draw(backend, logits, uniforms, each)
        assert tokens.tolist() == [token.item() for token, _ in alone]
        assert logps.tolist() == pytest.approx([logp.item() for _, logp in alone], abs=1e-6)
    tokens, _ = draw(backend, LOGITS["flat"], [0.1, 0.9, 0.1], settings())
    assert tokens.tolist() == [4, 36, 4]  # 0.1 * 40 and 0.9 * 40: the first token whose running sum exceeds u


@pytest.mark.parametrize("restriction", SETTINGS)
def test_at_the_ends_of_the_unit_interval_only_tokens_that_are_kept_are_drawn(backend, restriction):
    s = settings(**SETTINGS[restriction])
    for logits in LOGITS.values():
        tokens, _ = draw(backend, logits, [0.0, ALMOST_ONE], s)
        assert (logits[tokens] >= logits[by_definition(logits, s) > 0].min()).all()


def test_tokens_of_probability_zero_at_the_end_of_the_vocabulary_are_never_drawn(backend):
    """The running sum ends flat; a uniform that rounds up to the total must not fall through to the last token."""
    logits = torch.tensor([0.1, 0.2, 0.3, -torch.inf, -torch.inf])
    tokens, logps = draw(backend, logits, [ALMOST_ONE, 1.0, 0.999999], settings())
    assert tokens.tolist() == [2, 2, 2]
    assert logps.isfinite().all()


def test_the_log_probability_is_that_of_the_policy_at_the_temperature_before_top_k_and_top_p(backend):
    logits = LOGITS["random"].clone()
    token, logp = draw(backend, logits, [0.4], settings(0.7, top_p=0.5, top_k=5))
    expected = (logits.double() / 0.7).log_softmax(-1)[token.item()]
    assert logp.item() == pytest.approx(expected.item(), abs=1e-5)
    assert torch.equal(logits, LOGITS["random"])  # left as they were


def test_a_temperature_near_zero_takes_the_most_probable_token(backend):
    tokens, _ = draw(backend, LOGITS["random"], [0.0, 0.5, ALMOST_ONE], settings(1e-4))
    assert tokens.tolist() == [LOGITS["random"].argmax().item()] * 3
