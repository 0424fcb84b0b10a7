"""Schedules: known values, ends, and which sigmas by hand are refused."""

import math

import pytest

from ltx_live.model.schedules import DISTILLED, SCHEDULES, beta_distribution, beta_quantile, custom, schedule


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8, 20])
def test_descends_from_one_to_exactly_zero(name, num_steps):
    sigmas = schedule(name, num_steps)
    assert len(sigmas) == num_steps + 1
    assert sigmas[0] == 1 and sigmas[-1] == 0
    assert custom(sigmas) == sigmas


def test_distilled_is_the_trained_list_at_eight_steps_and_linear_elsewhere():
    assert schedule("distilled", 8) == [1, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0]
    assert schedule("distilled", 4) == [1, 0.75, 0.5, 0.25, 0]


def test_linear_quadratic_extends_the_distilled_list():
    assert schedule("linear_quadratic", 8) == pytest.approx(DISTILLED, abs=1e-12)
    assert schedule("linear_quadratic", 4) == pytest.approx([1, 0.9875, 0.975, 0.725, 0])


def test_cosine():
    assert schedule("cosine", 3) == pytest.approx([1, math.sqrt(3) / 2, 0.5, 0])


def test_beta_has_the_true_quantiles():
    expected = [1, 0.943, 0.824, 0.671, 0.5, 0.329, 0.176, 0.057, 0]
    assert schedule("beta", 8) == pytest.approx(expected, abs=5e-4)


def test_beta_distribution_of_known_shapes():
    assert beta_distribution(0.3, 1.0) == pytest.approx(0.3, abs=1e-14)  # uniform
    assert beta_distribution(0.2, 0.5) == pytest.approx(2 / math.pi * math.asin(math.sqrt(0.2)), abs=1e-14)  # arcsine
    assert beta_quantile(0.7, 2.0) == pytest.approx(0.6367422, abs=1e-6)  # root of 3 x^2 - 2 x^3 = 0.7


@pytest.mark.parametrize(
    ("sigmas", "complaint"),
    [
        ([0.0], "at least 2"),
        ([1.1, 0.5, 0.0], "start at 1"),
        ([1.0, 0.5, 0.5, 0.0], "descend"),
        ([1.0, 0.2, 0.5, 0.0], "descend"),
        ([1.0, 0.5, 0.1], "end at 0"),
        ([1.0, -0.5], "end at 0"),
        ([1.0, math.nan, 0.0], "descend"),
        ([math.inf, 0.0], "start at 1"),
    ],
)
def test_sigmas_that_cannot_be_used_are_refused(sigmas, complaint):
    with pytest.raises(ValueError, match=complaint):
        custom(sigmas)


def test_sigmas_may_start_below_one():
    assert custom([0.725, 0.421875, 0]) == [0.725, 0.421875, 0.0]


def test_unknown_schedule_and_no_steps_are_refused():
    with pytest.raises(ValueError, match="unknown schedule 'karras'"):
        schedule("karras", 8)
    with pytest.raises(ValueError, match="at least 1"):
        schedule("linear", 0)
