"""The benchmarks' own arithmetic: what they fit, share out and report."""

import pytest

from tests.benchmarks.kernels_measure import Limits, Peer, Work, exponent, in_turn, row


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(power):
    sizes = [10.0, 100.0, 1000.0]
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


def test_the_share_counts_whichever_limit_takes_longer():
    limits = Limits(bytes_per_second=100.0, flops=1000.0)
    assert limits.share(Work(50.0), 1.0) == 0.5
    assert limits.share(Work(50.0, 900.0), 1.0) == 0.9


def test_calls_alternate_and_their_first_times_do_not_count():
    order: list[str] = []
    spent = in_turn([lambda: order.append("ours"), lambda: order.append("theirs")], repeats=3)
    assert order == ["ours", "theirs"] * 4
    assert len(spent) == 2


def test_a_row_has_the_columns_that_checks_rely_on():
    columns = "name value unit better goal peer peer_value ratio limit_share"
    found = row("hash grid", 20.0, peer=Peer("torch", 700.0, goal=30.0), limit_share=0.4)
    assert set(found) == set(columns.split())
    assert (found["goal"], found["ratio"]) == (30.0, 35.0)
    assert row("alone", 1.0)["peer"] is None
