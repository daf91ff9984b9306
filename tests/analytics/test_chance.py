"""Chance: false alarms stay as rare as promised, and what is worse is found."""

import numpy as np
import pytest

from analytics.packing import Numbers
from analytics.queries import chance
from analytics.queries.chance import FALSE_ALARMS_MAX, INSTALLATIONS_MIN, Sums

DAYS = 60
BEFORE = 20  # days before the new version appears
WINDOW = 30  # days that a page shows


def same(installations: int, count: int, total: int, *, first: int = 0) -> Sums:
    """Installations that all had as many runs, which come to the same for each."""
    ids = np.arange(first, first + installations)
    return chance.sums(ids, np.full(installations, count), np.full(installations, total))


def flagged_on(dice: np.random.Generator, installations: int, *, times: float) -> tuple[list[int], bool]:
    """The looks of DAYS days at which a new version's errors are flagged, and whether 5 % of a single look was passed.

    Everybody moves to it some day. Installations differ in how often they run and how often they fail; the new
    version's runs fail `times` as often.
    """
    days = np.arange(BEFORE + DAYS)
    moved = days >= BEFORE + dice.exponential(15, installations)[:, None]
    fails = dice.beta(0.6, 9.4, installations)[:, None]
    counts = dice.poisson(dice.lognormal(-1, 1.5, installations)[:, None] * np.ones(len(days)))
    failures = dice.binomial(counts, np.where(moved, np.minimum(times * fails, 1), fails))

    def of_days(which: Numbers, first: int, until: int) -> Sums:
        counted, failed = ((of_each * which)[:, first:until].sum(axis=1) for of_each in (counts, failures))
        return chance.sums(np.arange(installations), counted, failed)

    flagged, naively = [], False
    for look in range(1, DAYS + 1):
        until = BEFORE + look
        first = max(0, until - WINDOW)
        if found := chance.difference(of_days(moved, first, until), of_days(~moved, first, until)):
            naively |= found.p <= FALSE_ALARMS_MAX
            if chance.anytime(found.p, look=look, tests=1) <= FALSE_ALARMS_MAX:
                flagged.append(look)
    return flagged, naively


def test_daily_looks_for_two_months_at_no_difference_keep_the_promise() -> None:
    dice = np.random.default_rng(5)
    seen = [flagged_on(dice, 300, times=1) for _ in range(60)]
    assert np.mean([bool(flagged) for flagged, _ in seen]) <= FALSE_ALARMS_MAX
    # The dice would have fooled who takes each look for the only one.
    assert np.mean([naively for _, naively in seen]) > 2 * FALSE_ALARMS_MAX


def test_a_doubled_error_rate_is_found() -> None:
    dice = np.random.default_rng(5)
    seen = [flagged_on(dice, 1500, times=2)[0] for _ in range(10)]
    assert np.mean([bool(flagged) for flagged in seen]) >= 0.9


@pytest.mark.parametrize(("these", "those"), [(1000, 60), (60, 1000), (400, 400)])
def test_single_looks_are_seldom_fooled_by_rare_errors_of_few(these: int, those: int) -> None:
    dice = np.random.default_rng(5)

    def drawn(installations: int, first: int) -> Sums:
        counts = 1 + dice.poisson(dice.lognormal(0.5, 1, installations))
        failures = dice.binomial(counts, dice.beta(0.1, 9.9, installations))
        return chance.sums(np.arange(first, first + installations), counts, failures)

    found = [chance.difference(drawn(these, 0), drawn(those, 10_000)) for _ in range(2000)]
    assert sum(one is not None and one.p <= 0.01 for one in found) <= 0.015 * len(found)


def test_difference_is_that_of_the_means() -> None:
    found = chance.difference(same(60, 10, 4), same(60, 5, 1, first=100))
    assert found
    assert found.by == pytest.approx(0.2)
    assert chance.difference(same(60, 10, 4), same(60, 10, 4, first=100)) == chance.Difference(0, 0.5)
    assert chance.difference(same(60, 10, 0), same(60, 10, 0, first=100)) == chance.Difference(0, 1)


def test_difference_is_not_about_runs_of_one_installation() -> None:
    ids, counts = np.arange(60), np.full(60, 5)
    one_fails = np.where(ids == 0, 500, 0)
    broken = chance.sums(ids, np.where(ids == 0, 500, counts), one_fails)
    found = chance.difference(broken, same(60, 5, 0, first=100))
    assert found
    assert found.by > 0
    assert found.p > 0.1


def test_difference_knows_who_ran_both() -> None:
    dice = np.random.default_rng(5)
    usual = dice.integers(100, 1000, 60)  # what each one's runs take
    before, now = ((np.arange(60), np.full(60, 5), 5 * (usual + more)) for more in (0, 20))
    same_people = chance.difference(chance.sums(*now), chance.sums(*before))
    others = chance.difference(chance.sums(now[0] + 100, *now[1:]), chance.sums(*before))
    assert same_people
    assert others
    assert same_people.p < 1e-6 < 0.2 < others.p


def test_difference_says_nothing_of_few_installations() -> None:
    few, enough = same(INSTALLATIONS_MIN - 1, 5, 1), same(INSTALLATIONS_MIN, 5, 1, first=100)
    assert chance.difference(few, enough) is None
    assert chance.difference(enough, few) is None
    assert chance.difference(enough, same(INSTALLATIONS_MIN, 5, 1)) is not None


def test_sums_leave_out_who_had_no_such_runs() -> None:
    assert chance.sums(np.array([3, 4]), np.array([0, 2]), np.array([0, 1])).installations.tolist() == [4]


def test_anytime_spends_no_more_than_there_is() -> None:
    tests, flagged_at = 7, 0.05
    spent = [flagged_at / chance.anytime(1e-12, look=look, tests=tests) * 1e-12 for look in range(1, 10_000)]
    assert 0.999 * flagged_at < tests * sum(spent) <= flagged_at
    assert chance.anytime(0.9, look=3, tests=2) == 1
