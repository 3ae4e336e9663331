"""The slow and obvious way to score completions: one at a time, all logits; and packs of every kind to score."""

import torch

from polychrome.engine.packing import Group, pack, pack_prompts


def naive_scores(policy, prompt, completion, temperature=1.0):
    """Log-probabilities (T,) with gradient and entropies (T,) of ``completion`` behind ``prompt``."""
    ids = torch.tensor([[*prompt, *completion]])
    logits = policy(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    logp = (logits / temperature).log_softmax(-1)
    entropy = torch.distributions.Categorical(logits=logits / temperature).entropy()
    return logp.gather(-1, torch.tensor(completion)[:, None]).squeeze(-1), entropy.detach()


SHARING = {  # prompts by what they begin with in common, and how many tokens that is
    "unequal lengths": ([[5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 20], [5, 6, 7, 21, 22]], 3),
    "one begins another": ([[5, 6, 7], [5, 6, 7, 8, 9], [5, 6, 7, 8]], 3),
    "all equal": ([[5, 6, 7, 8]] * 3, 4),
    "nothing in common": ([[5, 6, 7, 8], [9, 6, 7], [5, 6, 7, 8]], 0),
    "one token each": ([[5]] * 3, 1),
}


def random_groups(sizes, seed=0, vocabulary=250, longest_prompt=12, longest_completion=9):
    """A group a size: prompts of 1 to 12 and completions of 1 to 9 random tokens, or as said."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(longest):
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return torch.randint(2, vocabulary, (length,), generator=generator).tolist()

    return [Group(tokens(longest_prompt), [tokens(longest_completion) for _ in range(size)]) for size in sizes]


def sharing_groups(prompts):
    """Groups of random completions behind three ``prompts``."""
    return [Group(*each) for each in zip(prompts, (g.completions for g in random_groups((2, 3, 1), 4)), strict=True)]


def tokens(count):
    return list(range(2, 2 + count))


# Prompts longer than the 32 queries that are taken at a time, completions longer than twice as many, and of one token.
LONG = [Group(tokens(70), [tokens(101), [5], tokens(65)]), Group([*tokens(40), 1, 1, 1], [tokens(32), tokens(34)])]
PACKS = {
    "long": pack(LONG),
    "long, nothing in common": pack([Group(group.prompt[i:], group.completions) for i, group in enumerate(LONG)]),
    "whole prompts in common": pack([Group(tokens(33), group.completions) for group in LONG]),
    "nothing but a token and its completion": pack([Group([5], [[6]])]),
    "completions of one token": pack([Group([5, 6, 7], [[8], [9]]), Group([4], [[3]])]),
    "many": pack(random_groups([3, 1, 6, 2, 4, 5])),
    "one prompt alone": pack_prompts([[5, 6, 7]]),
    "prompts alone": pack_prompts([tokens(31), tokens(32), tokens(33), tokens(1)]),
    **{name: pack(sharing_groups(prompts)) for name, (prompts, _) in SHARING.items()},
    **{f"{name}, prompts alone": pack_prompts(prompts) for name, (prompts, _) in SHARING.items()},
}
