"""What corrects a policy loss for replies that another program drew: truncated importance sampling, token by token.

    w_t = min(p(y_t | y_<t) / q(y_t | y_<t), C)        p of the policy, q of the sampler

Truncation: Ionides 2008, "Truncated importance sampling"; for what an inference engine drew: Yao et al. 2025, "Your
efficient RL framework secretly brings you off-policy RL training". TRL calls it ``vllm_importance_sampling_correction``
with ``vllm_importance_sampling_mode: token_truncate`` and ``vllm_importance_sampling_clip_max`` C. Each token counts as
if the policy had drawn it; those before and behind it stay the sampler's, so that it is exact for replies of one token.
"""

from torch import Tensor

CLIP_MAX = 3.0  # C, as in TRL


def truncated_ratio(logps: Tensor, sampler_logps: Tensor, clip_max: float = CLIP_MAX) -> Tensor:
    """w, detached, of tokens' log-probabilities (N, T) under the policy and under what they were drawn from."""
    return (logps - sampler_logps).detach().exp().clamp(max=clip_max)
