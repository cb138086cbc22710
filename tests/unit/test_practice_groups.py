"""The practice broker's groups: who is in, which generation it is, who is out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from ingest.practice.broker.codes import Code
from ingest.practice.broker.groups import Caller, Coordinator, Group, Join, Joined, State

RANGE, STICKY = ("range", b"topics"), ("sticky", b"topics")


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 5))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def new_group() -> Group:
    return Coordinator(join_delay_s=0.01).group("g")


def join_of(member_id: str = "", *, instance: str | None = None, protocols: Any = (RANGE,), session_s: float = 60.0) -> Join:
    return Join(Caller(member_id, -1, instance), protocols, "consumer", session_s, 0.2, client_id="c")


async def joined(group: Group, *joins: Join) -> list[Joined]:
    return list(await asyncio.gather(*(group.join(join) for join in joins)))


async def synced(group: Group, *members: Joined) -> list[bytes]:
    """All members sync; the leader gives each its own id."""
    shares = {member.member_id: member.member_id.encode() for member in members}
    calls: list[Awaitable[Any]] = [
        group.sync(Caller(member.member_id, member.generation), shares if member.leader == member.member_id else {})
        for member in members
    ]
    return [answer.assignment for answer in await asyncio.gather(*calls)]


def caller(member: Joined) -> Caller:
    return Caller(member.member_id, member.generation)


@in_a_loop
async def test_members_that_come_together_are_one_generation_with_one_leader() -> None:
    group = new_group()
    a, b = await joined(group, join_of(), join_of())
    assert (Code.NONE, 1, 1) == (a.code, a.generation, b.generation)
    assert (2, 0) == (len(a.members), len(b.members))
    assert [a.member_id.encode(), b.member_id.encode()] == await synced(group, a, b)
    assert State.STABLE is group.state


@in_a_loop
async def test_a_new_member_is_told_its_id_before_it_may_join() -> None:
    group = new_group()
    first = await group.join(join_of()._replace(needs_known_id=True))
    assert (Code.MEMBER_ID_REQUIRED, True) == (first.code, first.member_id.startswith("c-"))
    assert Code.NONE is (await group.join(join_of(first.member_id))).code
    assert Code.UNKNOWN_MEMBER_ID is (await group.join(join_of("made-up"))).code


@in_a_loop
async def test_a_newcomer_makes_the_others_join_again() -> None:
    group = new_group()
    (a,) = await joined(group, join_of())
    await synced(group, a)
    newcomer = asyncio.create_task(group.join(join_of()))
    await asyncio.sleep(0)
    assert Code.REBALANCE_IN_PROGRESS is group.heartbeat(caller(a))
    again = await group.join(join_of(a.member_id))
    assert (2, 2) == (again.generation, (await newcomer).generation)


@in_a_loop
async def test_who_does_not_come_back_in_time_is_out() -> None:
    group = new_group()
    (a,) = await joined(group, join_of())
    await synced(group, a)
    b = await group.join(join_of())
    assert (2, b.member_id, {b.member_id}) == (b.generation, b.leader, set(group.members))
    assert Code.UNKNOWN_MEMBER_ID is group.heartbeat(caller(a))


@in_a_loop
async def test_a_member_without_a_sign_of_life_is_out() -> None:
    group = new_group()
    (a,) = await joined(group, join_of(session_s=0.05))
    await synced(group, a)
    await asyncio.sleep(0.03)
    assert Code.NONE is group.heartbeat(caller(a))
    await asyncio.sleep(0.08)
    assert (State.EMPTY, {}) == (group.state, group.members)


@in_a_loop
async def test_a_static_member_comes_back_without_a_rebalance() -> None:
    group = new_group()
    (a,) = await joined(group, join_of(instance="x"))
    await synced(group, a)
    back = await group.join(join_of(instance="x"))
    assert (1, Code.NONE, True) == (back.generation, back.code, back.member_id != a.member_id)
    assert [a.member_id.encode()] == await synced(group, back)
    assert Code.FENCED_INSTANCE_ID is group.heartbeat(Caller(a.member_id, 1, "x"))


@in_a_loop
async def test_a_static_member_that_wants_something_else_makes_a_new_generation() -> None:
    group = new_group()
    (a,) = await joined(group, join_of(instance="x"))
    await synced(group, a)
    assert 2 == (await group.join(join_of(instance="x", protocols=(STICKY,)))).generation


@in_a_loop
async def test_the_protocol_is_one_that_all_members_have() -> None:
    group = new_group()
    a, b = await joined(group, join_of(protocols=(RANGE, STICKY)), join_of(protocols=(STICKY,)))
    assert {"sticky"} == {a.protocol, b.protocol}
    assert Code.INCONSISTENT_GROUP_PROTOCOL is (await group.join(join_of(protocols=(RANGE,)))).code


@in_a_loop
async def test_leaving_lets_the_others_go_on() -> None:
    group = new_group()
    a, b = await joined(group, join_of(), join_of())
    await synced(group, a, b)
    assert [Code.NONE, Code.UNKNOWN_MEMBER_ID] == [group.leave(a.member_id, None), group.leave(a.member_id, None)]
    assert 2 == (await group.join(join_of(b.member_id))).generation
    assert Code.NONE is group.leave(b.member_id, None)
    assert State.EMPTY is group.state


@in_a_loop
async def test_who_waits_for_an_assignment_hears_of_a_rebalance() -> None:
    group = new_group()
    a, b = await joined(group, join_of(), join_of())
    waiting = asyncio.create_task(group.sync(caller(b), {}))
    await asyncio.sleep(0)
    group.leave(a.member_id, None)
    assert Code.REBALANCE_IN_PROGRESS is (await waiting).code


@in_a_loop
async def test_commits_are_taken_from_members_and_refused_from_others() -> None:
    group = new_group()
    assert Code.NONE is group.may_commit(Caller("", -1))
    (a,) = await joined(group, join_of())
    assert Code.REBALANCE_IN_PROGRESS is group.may_commit(caller(a))
    await synced(group, a)
    codes = [group.may_commit(who) for who in (caller(a), Caller(a.member_id, 0), Caller("", -1))]
    assert [Code.NONE, Code.ILLEGAL_GENERATION, Code.UNKNOWN_MEMBER_ID] == codes


@in_a_loop
async def test_a_commit_is_still_taken_while_members_come_back() -> None:
    group = new_group()
    (a,) = await joined(group, join_of())
    await synced(group, a)
    newcomer = asyncio.create_task(group.join(join_of()))
    await asyncio.sleep(0)
    assert (State.JOINING, Code.NONE) == (group.state, group.may_commit(caller(a)))
    await joined(group, join_of(a.member_id))
    await newcomer


@in_a_loop
async def test_only_an_empty_group_can_be_deleted() -> None:
    coordinator = Coordinator(join_delay_s=0.01)
    assert Code.GROUP_ID_NOT_FOUND is coordinator.delete("g")
    (a,) = await joined(coordinator.group("g"), join_of())
    assert Code.NON_EMPTY_GROUP is coordinator.delete("g")
    coordinator.group("g").leave(a.member_id, None)
    assert Code.NONE is coordinator.delete("g")


def test_a_test_in_a_loop_fails_where_its_body_does() -> None:
    @in_a_loop
    async def wrong() -> None:
        raise AssertionError

    with pytest.raises(AssertionError):
        wrong()
