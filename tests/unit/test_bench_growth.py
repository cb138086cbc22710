"""The soak's judgement on growth: a leak is seen through noise, and noise alone is no leak."""

from __future__ import annotations

import doctest
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import growth, looks
from bench.growth import ALLOWED, HOUR_S, Point, growths, settled, slope

EVERY_S = 10.0


def series(value: float, points: int = 360, *, per_h: float = 0.0, noise: float = 0.0, seed: int = 1) -> list[Point]:
    """An hour of looks at something that grows so much an hour."""
    rnd = random.Random(seed)
    return [(n * EVERY_S, value + per_h * n * EVERY_S / HOUR_S + rnd.uniform(-noise, noise)) for n in range(points)]


def test_a_line_has_its_own_slope() -> None:
    assert slope(series(100.0, per_h=7.2)) == pytest.approx(0.002)


@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3))
def test_the_slope_of_any_line_is_found(value: float, per_s: float) -> None:
    points = [(float(n), value + per_s * n) for n in range(20)]
    assert slope(points) == pytest.approx(per_s, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("points", [[], [(1.0, 5.0)], [(1.0, 5.0), (1.0, 9.0)]])
def test_less_than_two_moments_have_no_slope(points: list[Point]) -> None:
    assert slope(points) == 0.0


def test_a_fifth_of_wild_points_does_not_move_the_slope() -> None:
    """As faults make them: for some looks a worker holds much more than usual."""
    rnd = random.Random(2)
    wild = [(at_s, value + 500 if rnd.random() < 0.2 else value) for at_s, value in series(100.0, per_h=6.0, noise=1.0)]
    assert slope(wild) * HOUR_S == pytest.approx(6.0, abs=1.5)


def test_the_first_third_of_a_life_is_not_judged() -> None:
    points = [(float(n), 0.0) for n in range(100, 131)]
    assert settled(points)[0] == (110.0, 0.0)
    assert settled(points)[-1] == points[-1]
    assert settled([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_flat(seed: int) -> None:
    found = growth.growth("rss_mb", series(120.0, noise=15.0, seed=seed), ALLOWED["rss_mb"])
    assert found is not None
    assert found.is_flat, str(found)


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_shows_through_the_noise(seed: int) -> None:
    found = growth.growth("rss_mb", series(120.0, per_h=24.0, noise=15.0, seed=seed), ALLOWED["rss_mb"])
    assert found is not None
    assert not found.is_flat, str(found)
    assert "GROWS" in str(found)


def test_a_warm_up_is_no_growth() -> None:
    """Memory that climbs in the first quarter of an hour and stays there."""
    points = [(at_s, value + min(1.0, at_s / 900) * 60) for at_s, value in series(60.0, noise=2.0)]
    found = growth.growth("rss_mb", points, ALLOWED["rss_mb"])
    assert found is not None
    assert found.is_flat, str(found)


def test_a_socket_lost_every_ten_minutes_is_seen() -> None:
    points = [(at_s, 20.0 + at_s // 600) for at_s, _ in series(0.0)]
    found = growth.growth("sockets", points, ALLOWED["sockets"])
    assert found is not None
    assert not found.is_flat, str(found)


def test_sockets_that_come_and_go_are_flat() -> None:
    rnd = random.Random(3)
    points = [(at_s, 20.0 + rnd.choice((0, 0, 0, 1, 2, 6))) for at_s, _ in series(0.0)]
    found = growth.growth("sockets", points, ALLOWED["sockets"])
    assert found is not None
    assert found.is_flat, str(found)


def test_the_figures_of_a_judgement() -> None:
    found = growth.growth("rss_mb", [(n * EVERY_S, float(n)) for n in range(31)], 8.0)
    assert found is not None
    assert (found.points, found.before, found.after, found.most) == (21, 14.5, 25.0, 30.0)
    assert (found.slope_per_h, found.gain) == (pytest.approx(360.0), pytest.approx(20.0))


def test_a_short_life_is_not_judged() -> None:
    looked = [{"at_s": n * EVERY_S, "rss_mb": 9.0 * n, "threads": 9.0, "fds": 9.0, "sockets": 9.0} for n in range(13)]
    assert growths(looked) == []
    assert [each.what for each in growths([*looked, *({**look, "at_s": look["at_s"] + 130} for look in looked)])] == [*ALLOWED]


def test_the_books_of_a_worker_as_its_metrics_tell_them() -> None:
    text = (
        "ingest_records_read_total 10\ningest_unsettled_records 3\n"
        'ingest_records_total{table="a",outcome="written"} 4\ningest_records_total{table="b",outcome="written"} 1\n'
        'ingest_records_total{table="",outcome="skipped"} 1'
    )
    told = looks.books(list(looks.parsed(text)))
    assert told == {"read": 10, "unsettled": 3, "written": 5, "superseded": 0, "dead_lettered": 0, "off_books": 1}


@pytest.mark.parametrize("module", [growth, looks])
def test_the_examples_run(module: object) -> None:
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried > 0
    assert failed == 0
