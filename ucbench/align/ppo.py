"""The mathematics of PPO as pure functions on tensors.

Shapes: n answers, A columns (the longest answer), mask [n, A] True where a token of the answer stands.
Answers begin at column 0 and have no holes. What lies under a False of the mask never reaches a result.
Sums are divided by `total`, the number of tokens in the whole minibatch of all processes, so that the
loss does not depend on how a minibatch is cut.

Sources: Schulman et al. 2017 (PPO, arXiv 1707.06347), Schulman et al. 2016 (GAE, arXiv 1506.02438),
Schulman 2020 ("Approximating KL divergence").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Adds a tensor up over all processes.
Reduce = Callable[[Tensor], Tensor]


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum where the mask is True; shape []."""
    return torch.where(mask, values, torch.zeros_like(values)).sum()


def masked_mean(values: Tensor, mask: Tensor, total: float | Tensor | None = None) -> Tensor:
    """Masked sum over `total` (the number of True cells by default); 0 for an empty mask."""
    count = mask.sum() if total is None else torch.as_tensor(total)
    return masked_sum(values, mask) / count.clamp(min=1)


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """k1 = log p - log q: unbiased, of either sign. Shapes [n, A]."""
    return logprobs - reference


def kl_k1_positive(logprobs: Tensor, reference: Tensor) -> Tensor:
    """max(k1, 0), as the authors' code has it: never below k1, so biased upwards."""
    return (logprobs - reference).clamp(min=0.0)


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """k3 = q/p - 1 - log(q/p): unbiased and never negative."""
    log_ratio = reference - logprobs
    return log_ratio.exp() - 1.0 - log_ratio


KL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "k1": kl_k1,
    "k1_positive": kl_k1_positive,
    "k3": kl_k3,
}


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """r_t = -coefficient * KL_t, and the answer's score on its last column. Shapes [n], [n, A] -> [n, A].

    The last column is that of the mask: the end token, or the last pad when pads are unmasked.
    """
    rewards = torch.where(mask, -coefficient * kl, torch.zeros_like(kl))
    last = mask.sum(1) - 1
    rewards[torch.arange(len(scores), device=scores.device), last] += scores
    return rewards


def shaped(rewards: Tensor, potentials: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """r_t + gamma Phi_{t+1} - Phi_t, [n, A]; Phi_t is the potential of the answer before its token t.

    Phi is 0 before the first token and behind the last one, so that (for gamma = 1) an answer's sum stays
    what it was and only its place changes: potential-based shaping (Ng, Harada, Russell 1999), which
    leaves the best policy as it is. With lambda = 1 it is a baseline that depends on earlier tokens only.
    """
    before = torch.where(mask, potentials, torch.zeros_like(potentials))
    before[:, 0] = 0.0
    after = torch.cat([before[:, 1:], torch.zeros_like(before[:, :1])], dim=1)
    return torch.where(mask, rewards + gamma * after - before, torch.zeros_like(rewards))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, [n, A] each; zero outside the mask.

    delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lam A_{t+1},  R_t = A_t + V_t,
    with V = A = 0 behind an answer's last token (GAE, equation 16).
    """
    values = torch.where(mask, values, torch.zeros_like(values))
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    next_value = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * lam * following
        following = torch.where(mask[:, t], advantage, torch.zeros_like(advantage))
        next_value = values[:, t]
        advantages[:, t] = following
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor, reduce: Reduce = lambda sums: sums) -> tuple[Tensor, bool]:
    """Shift and scale to mean 0 and variance 1 over the mask of all processes; zero outside it.

    One token, or all equal, gives zeros. Returns ([n, A], whether that was so).
    """
    first = torch.stack([mask.sum().double(), masked_sum(values.double(), mask)])
    count, total = reduce(first)
    mean = total / count.clamp(min=1)
    centred = torch.where(mask, values.double() - mean, torch.zeros_like(values, dtype=torch.double))
    variance = reduce((centred**2).sum()) / count.clamp(min=1)
    degenerate = bool(variance <= 1e-16)
    scale = 0.0 if degenerate else float(variance.rsqrt())
    return (centred * scale).to(values.dtype), degenerate


def policy_loss(
    logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, clip: float, total: float | Tensor
) -> tuple[Tensor, Tensor]:
    """-sum_t min(rho_t A_t, clip(rho_t, 1 - eps, 1 + eps) A_t) / total, rho = p / p_old (PPO, equation 7).

    Returns (loss [], number of clipped tokens []).
    """
    ratio = torch.where(mask, logprobs - old, torch.zeros_like(logprobs)).exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    loss = masked_sum(torch.maximum(plain, clipped), mask) / total
    return loss, masked_sum((clipped > plain).to(ratio.dtype), mask).detach()


def value_loss(
    values: Tensor, old: Tensor, returns: Tensor, mask: Tensor, clip: float | None, total: float | Tensor
) -> Tensor:
    """sum_t max((V - R)^2, (clip(V, V_old -+ eps) - R)^2) / 2 total; without clipping when `clip` is None."""
    # Zeros under the mask before squaring: a gradient of zero times NaN is NaN.
    values, old, returns = (
        torch.where(mask, part, torch.zeros_like(part)) for part in (values, old, returns)
    )
    error = (values - returns) ** 2
    if clip is not None:
        near = old + (values - old).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns) ** 2)
    return 0.5 * masked_sum(error, mask) / total


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(R - V) / Var(R) over the mask; 0 when the returns do not vary."""
    kept = returns[mask]
    spread = kept.var(unbiased=False) if len(kept) else torch.zeros(())
    if float(spread) == 0.0:
        return 0.0
    return float(1.0 - (kept - values[mask]).var(unbiased=False) / spread)
