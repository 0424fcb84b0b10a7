"""Schedules: lists of sigmas from 1 (noise) down to 0 (clean), one more than there are steps."""

import math
from collections.abc import Callable, Sequence

DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)  # ltx-pipelines constants.py
LINEAR_QUADRATIC_THRESHOLD = 0.025
BETA_SHAPE = 0.6


def distilled(num_steps: int) -> list[float]:
    """The list the distilled model was trained with, at 8 steps; linear at any other number."""
    return list(DISTILLED) if num_steps == len(DISTILLED) - 1 else linear(num_steps)


def linear(num_steps: int) -> list[float]:
    """Equal steps."""
    return [1 - i / num_steps for i in range(num_steps)] + [0.0]


def cosine(num_steps: int) -> list[float]:
    """A quarter of a cosine."""
    return [math.cos(i * math.pi / (2 * num_steps)) for i in range(num_steps)] + [0.0]


def linear_quadratic(num_steps: int) -> list[float]:
    """Small equal steps, then ever larger ones (ltx-core schedulers.py); at 8 steps this is the distilled list."""
    if num_steps == 1:
        return [1.0, 0.0]
    threshold, num_linear = LINEAR_QUADRATIC_THRESHOLD, num_steps // 2
    num_quadratic = num_steps - num_linear
    difference = num_linear - threshold * num_steps
    a = difference / (num_linear * num_quadratic**2)
    b = threshold / num_linear - 2 * difference / num_quadratic**2
    c = a * num_linear**2
    start = [1 - i * threshold / num_linear for i in range(num_linear)]
    return start + [1 - (a * i * i + b * i + c) for i in range(num_linear, num_steps)] + [0.0]


def beta(num_steps: int) -> list[float]:
    """Quantiles of the beta distribution with both shapes 0.6: small steps at both ends (arXiv 2407.12173)."""
    return [beta_quantile(1 - i / num_steps, BETA_SHAPE) for i in range(num_steps)] + [0.0]


SCHEDULES: dict[str, Callable[[int], list[float]]] = {
    "distilled": distilled,
    "linear": linear,
    "cosine": cosine,
    "linear_quadratic": linear_quadratic,
    "beta": beta,
}


def schedule(name: str, num_steps: int) -> list[float]:
    """The `num_steps` + 1 sigmas of a named schedule; ValueError for an unknown name or fewer than 1 step."""
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}: choose one of {', '.join(SCHEDULES)}")
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")
    return SCHEDULES[name](num_steps)


def custom(sigmas: Sequence[float]) -> list[float]:
    """Check sigmas given by hand; ValueError unless they descend from at most 1 to exactly 0."""
    values = [float(sigma) for sigma in sigmas]
    if len(values) < 2:
        raise ValueError(f"sigmas need at least 2 values, not {len(values)}")
    if not values[0] <= 1:
        raise ValueError(f"sigmas must start at 1 or below, not at {values[0]:g}")
    if not all(left > right for left, right in zip(values, values[1:], strict=False)):
        raise ValueError(f"sigmas must descend: {', '.join(f'{value:g}' for value in values)}")
    if values[-1] != 0:
        raise ValueError(f"sigmas must end at 0, not at {values[-1]:g}")
    return values


def beta_quantile(probability: float, shape: float) -> float:
    """x at which the symmetric beta distribution function of `shape` reaches `probability`, by bisection."""
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if beta_distribution(middle, shape) < probability else (low, middle)
    return high


def beta_distribution(x: float, shape: float) -> float:
    """Regularised incomplete beta function I_x(shape, shape), by its continued fraction (DLMF 8.17.22)."""
    if x > 0.5:  # the fraction converges fast in the lower half
        return 1 - beta_distribution(1 - x, shape)
    if x == 0:
        return 0.0
    fraction = 1.0
    for i in range(60, 0, -1):  # from the innermost term outwards
        m = i // 2
        if i % 2:
            numerator = -(shape + m) * (2 * shape + m) / ((shape + 2 * m) * (shape + 2 * m + 1))
        else:
            numerator = m * (shape - m) / ((shape + 2 * m - 1) * (shape + 2 * m))
        fraction = 1 + numerator * x / fraction
    log_beta = 2 * math.lgamma(shape) - math.lgamma(2 * shape)
    return math.exp(shape * (math.log(x) + math.log1p(-x)) - log_beta) / (shape * fraction)
