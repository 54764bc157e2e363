"""Fair turns: what others ask costs an identity no more than one of their requests."""

import asyncio

import pytest

from privacy.errors import WireError
from server.inference.gate.turns import Turns


def story(coroutine):
    return asyncio.run(coroutine)


async def begun(turns, who, patience_s=60.0):
    """A request that waits, and has had the time to line up."""
    task = asyncio.ensure_future(turns.take(who, patience_s))
    await asyncio.sleep(0)
    return task


def test_one_client_with_many_requests_does_not_starve_another():
    async def tell():
        turns = Turns(256, 32)
        turns.give("worker")
        assert await turns.take("greedy", 1.0) == "worker"
        greedy = [await begun(turns, "greedy") for _ in range(32)]
        honest = await begun(turns, "honest")
        order = []
        for _ in range(4):
            turns.charge("greedy" if not order else order[-1], 0.012)
            turns.give("worker")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            order.append("honest" if honest.done() and "honest" not in order else "greedy")
        assert order.index("honest") == 0  # it came last, and is next
        for task in greedy:
            task.cancel()

    story(tell())


def test_time_that_was_not_used_is_not_saved_up():
    """Who was away for long is next once, and then takes turns as everyone does."""

    async def tell():
        turns = Turns(256, 32)
        for _ in range(1000):
            turns.charge("busy", 1.0)
        turns.give("worker")
        await turns.take("busy", 1.0)
        waiting = {who: [await begun(turns, who) for _ in range(6)] for who in ("busy", "new")}
        served = []
        for _ in range(6):
            turns.give("worker")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for who, tasks in waiting.items():
                while tasks and tasks[0].done():
                    tasks.pop(0)
                    served.append(who)
                    turns.charge(who, 1.0)
        assert served.count("busy") >= 2
        for task in [*waiting["busy"], *waiting["new"]]:
            task.cancel()

    story(tell())


def test_a_full_queue_turns_away_who_waits_most():
    async def tell():
        turns = Turns(4, 3)
        many = [await begun(turns, "many") for _ in range(3)]
        with pytest.raises(WireError) as error:
            await turns.take("many", 1.0)
        assert error.value.status == 429
        await begun(turns, "one")
        two = await begun(turns, "two")  # the queue is full, and `many` has most of it
        await asyncio.sleep(0)
        with pytest.raises(WireError) as error:
            await many[2]
        assert error.value.status == 503
        assert not two.done()
        assert turns.waiting == 4

    story(tell())


def test_waiting_has_a_deadline_and_leaves_no_place_behind():
    async def tell():
        turns = Turns(4, 3)
        with pytest.raises(WireError) as error:
            await turns.take("someone", 0.01)
        assert error.value.status == 504
        assert turns.waiting == 0
        left = await begun(turns, "left")
        turns.give("worker")
        left.cancel()  # at the very moment at which its turn has come
        await asyncio.sleep(0)
        assert await turns.take("next", 1.0) == "worker"

    story(tell())


def test_a_worker_that_is_gone_is_not_handed_out():
    async def tell():
        turns = Turns(4, 3)
        turns.give("dead")
        turns.withdraw("dead")
        turns.withdraw("never there")
        turns.give("alive")
        assert await turns.take("someone", 1.0) == "alive"

    story(tell())


def test_identities_are_forgotten(monkeypatch):
    monkeypatch.setattr("server.inference.gate.turns.REMEMBERED", 50)
    turns = Turns(4, 3)
    for number in range(500):
        turns.charge(f"address {number}", 1.0)
    assert len(turns._used_s) <= 101
