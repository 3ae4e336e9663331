"""The slow and obvious way to score completions: one at a time, the whole forward pass, all logits."""

import torch


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


def sharing_groups(prompts, sizes=(2, 3, 1)):
    """Groups of random completions behind ``prompts``."""
    from polychrome.engine.packing import Group

    drawn = random_groups(sizes, seed=4)
    return [Group(prompt, group.completions) for prompt, group in zip(prompts, drawn, strict=True)]


def random_groups(sizes, seed=0, vocabulary=250, longest_prompt=12, longest_completion=9):
    """A group a size: prompts of 1 to 12 and completions of 1 to 9 random tokens, or as said."""
    from polychrome.engine.packing import Group

    generator = torch.Generator().manual_seed(seed)

    def tokens(longest):
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return torch.randint(2, vocabulary, (length,), generator=generator).tolist()

    return [Group(tokens(longest_prompt), [tokens(longest_completion) for _ in range(size)]) for size in sizes]
