"""How much hypothesis tries: the same quick cases at every run, or with FUZZ=N N times as many, others each time."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("FUZZ", 1))


def some(num: int) -> settings:
    """Settings for `num` cases in a quick run."""
    return settings(
        max_examples=num * TIMES,
        deadline=None,
        derandomize=TIMES == 1,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
