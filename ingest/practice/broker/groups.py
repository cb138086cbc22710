"""Consumer groups: who is a member, which generation it is, what was committed. The state machine of Kafka's classic protocol.

Knows asyncio (futures and timers) but no sockets and no wire format. Touched by the broker's loop thread only.
A group is EMPTY, JOINING (members are coming back), SYNCING (the leader is working out assignments) or STABLE.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from ingest.practice.broker.codes import Code

Protocols = tuple[tuple[str, bytes], ...]


class State(StrEnum):
    """Kafka's names, as tools show them."""

    EMPTY = "Empty"
    JOINING = "PreparingRebalance"
    SYNCING = "CompletingRebalance"
    STABLE = "Stable"


class Caller(NamedTuple):
    """Who speaks for which member: generation is -1 where the request has none."""

    member_id: str
    generation: int = -1
    instance: str | None = None


class Join(NamedTuple):
    """A wish to be a member."""

    caller: Caller
    protocols: Protocols
    protocol_type: str
    session_s: float
    rebalance_s: float
    client_id: str = ""
    needs_known_id: bool = False


class Joined(NamedTuple):
    """The answer to a Join. members: (id, instance, metadata) of all, for the leader only."""

    code: Code
    member_id: str
    generation: int = -1
    protocol_type: str = ""
    protocol: str = ""
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()


class Synced(NamedTuple):
    """The answer to a SyncGroup."""

    code: Code
    assignment: bytes = b""


class Committed(NamedTuple):
    """An offset that a group committed."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""


@dataclass(eq=False)
class Member:
    """One member. joining, syncing: the answer it waits for, if any."""

    id: str
    join: Join
    assignment: bytes = b""
    joining: asyncio.Future[Joined] | None = None
    syncing: asyncio.Future[Synced] | None = None
    expiry: asyncio.TimerHandle | None = None

    @property
    def instance(self) -> str | None:
        return self.join.caller.instance

    @property
    def protocols(self) -> Protocols:
        return self.join.protocols

    def metadata(self, protocol: str) -> bytes:
        return dict(self.protocols).get(protocol, b"")

    def answer_join(self, joined: Joined) -> None:
        if self.joining and not self.joining.done():
            self.joining.set_result(joined)
        self.joining = None

    def answer_sync(self, synced: Synced) -> None:
        if self.syncing and not self.syncing.done():
            self.syncing.set_result(synced)
        self.syncing = None


@dataclass(eq=False)
class Group:
    """One consumer group. join_delay_s: how long an empty group waits for more members before its first generation."""

    id: str
    join_delay_s: float
    state: State = State.EMPTY
    generation: int = 0
    protocol: str = ""
    protocol_type: str = ""
    leader: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    offsets: dict[tuple[str, int], Committed] = field(default_factory=dict)
    _promised: set[str] = field(default_factory=set)
    _rebalance_end: asyncio.TimerHandle | None = None
    _may_complete: bool = True

    # ------------------------------------------------------------ who is calling

    def fault_of(self, caller: Caller) -> Code:
        """Why this caller may not speak, NONE if it may."""
        held_by = self._holder_of(caller.instance)
        if held_by and held_by.id != caller.member_id:
            return Code.FENCED_INSTANCE_ID
        if caller.member_id not in self.members:
            return Code.UNKNOWN_MEMBER_ID
        return Code.NONE if caller.generation == self.generation else Code.ILLEGAL_GENERATION

    def _holder_of(self, instance: str | None) -> Member | None:
        if instance is None:
            return None
        return next((member for member in self.members.values() if member.instance == instance), None)

    # ------------------------------------------------------------ join

    async def join(self, join: Join) -> Joined:
        """Answered when the next generation is complete, or at once where nothing has to change."""
        caller = join.caller
        held_by = self._holder_of(caller.instance)
        if caller.member_id and held_by and held_by.id != caller.member_id:
            return Joined(Code.FENCED_INSTANCE_ID, caller.member_id)
        if not self._fits(join):
            return Joined(Code.INCONSISTENT_GROUP_PROTOCOL, caller.member_id)
        if not caller.member_id:
            return await self._join_unknown(join, held_by)
        if caller.member_id in self.members:
            return await self._join_again(self.members[caller.member_id], join)
        if caller.member_id in self._promised:
            self._promised.discard(caller.member_id)
            return await self._join_new(caller.member_id, join)
        return Joined(Code.UNKNOWN_MEMBER_ID, caller.member_id)

    def _fits(self, join: Join) -> bool:
        same = (self.members.get(join.caller.member_id), self._holder_of(join.caller.instance))
        others = [member for member in self.members.values() if member not in same]
        if not others:
            return bool(join.protocols)
        common = set.intersection(*({name for name, _ in member.protocols} for member in others))
        return join.protocol_type == self.protocol_type and any(name in common for name, _ in join.protocols)

    async def _join_unknown(self, join: Join, held_by: Member | None) -> Joined:
        new_id = f"{join.caller.instance or join.client_id or 'member'}-{uuid.uuid4()}"
        if held_by:
            return await self._replace(held_by, new_id, join)
        if join.needs_known_id and join.caller.instance is None:
            self._promised.add(new_id)
            return Joined(Code.MEMBER_ID_REQUIRED, new_id)
        return await self._join_new(new_id, join)

    async def _join_new(self, member_id: str, join: Join) -> Joined:
        member = self.members[member_id] = Member(member_id, join)
        self.protocol_type = join.protocol_type
        return await self._wait_for_generation(member)

    async def _join_again(self, member: Member, join: Join) -> Joined:
        changed = member.protocols != join.protocols
        member.join = join
        settled = self.state is State.SYNCING or (self.state is State.STABLE and member.id != self.leader)
        if settled and not changed:
            self.touch(member)
            return self._joined(member)
        return await self._wait_for_generation(member)

    async def _replace(self, old: Member, new_id: str, join: Join) -> Joined:
        """A static member came back as a new process: it takes the old one's place, if possible without a rebalance."""
        self._forget(old, Code.FENCED_INSTANCE_ID)
        member = self.members[new_id] = Member(new_id, join, assignment=old.assignment)
        leader, self.leader = self.leader, new_id if self.leader == old.id else self.leader
        if self.state is State.STABLE and old.protocols == join.protocols:
            self.touch(member)
            # Naming the former leader keeps a returning leader from assigning anew; what it held is in `assignment`.
            return self._joined(member)._replace(leader=leader, members=())
        return await self._wait_for_generation(member)

    async def _wait_for_generation(self, member: Member) -> Joined:
        member.answer_join(Joined(Code.UNKNOWN_MEMBER_ID, member.id))
        member.joining = asyncio.get_running_loop().create_future()
        self._stop_expiry(member)
        waiting = member.joining
        if self.state is not State.JOINING:
            self._start_rebalance()
        self._complete_if_all_are_back()
        return await waiting

    def _joined(self, member: Member) -> Joined:
        everyone = tuple((m.id, m.instance, m.metadata(self.protocol)) for m in self.members.values())
        seen = everyone if member.id == self.leader else ()
        return Joined(Code.NONE, member.id, self.generation, self.protocol_type, self.protocol, self.leader, seen)

    # ------------------------------------------------------------ rebalance

    def _start_rebalance(self) -> None:
        self._stop_syncs()
        first = self.state is State.EMPTY
        self.state = State.JOINING
        self._may_complete = not first
        loop = asyncio.get_running_loop()
        if first:
            self._rebalance_end = loop.call_later(self.join_delay_s, self._end_of_first_delay)
        else:
            longest_s = max((m.join.rebalance_s for m in self.members.values()), default=0.0)
            self._rebalance_end = loop.call_later(longest_s, self._complete)

    def _stop_syncs(self) -> None:
        for member in self.members.values():
            member.answer_sync(Synced(Code.REBALANCE_IN_PROGRESS))

    def _end_of_first_delay(self) -> None:
        self._may_complete = True
        self._complete()

    def _complete_if_all_are_back(self) -> None:
        if self.state is State.JOINING and self._may_complete and all(m.joining for m in self.members.values()):
            self._complete()

    def _complete(self) -> None:
        """End the JOINING state: who is not back is out (but for static members), the rest are a generation."""
        if self._rebalance_end:
            self._rebalance_end.cancel()
        for member in [m for m in self.members.values() if not m.joining and m.instance is None]:
            self._forget(member, Code.UNKNOWN_MEMBER_ID)
        back = [member for member in self.members.values() if member.joining]
        if not back:  # only absent static members are left: wait for them or for their sessions to end
            return
        self.generation += 1
        self.state = State.SYNCING
        self.leader = self.leader if self.leader in {m.id for m in back} else back[0].id
        self.protocol = self._choose_protocol()
        for member in back:
            self.touch(member)
            member.answer_join(self._joined(member))

    def _choose_protocol(self) -> str:
        common = set.intersection(*({name for name, _ in member.protocols} for member in self.members.values()))
        return next(name for name, _ in self.members[self.leader].protocols if name in common)

    # ------------------------------------------------------------ sync, heartbeat, leave

    async def sync(self, caller: Caller, assignments: dict[str, bytes]) -> Synced:
        """The caller's assignment, as soon as the leader has told it."""
        if code := self.fault_of(caller):
            return Synced(code)
        member = self.members[caller.member_id]
        self.touch(member)
        if self.state is State.JOINING:
            return Synced(Code.REBALANCE_IN_PROGRESS)
        if self.state is State.STABLE:
            return Synced(Code.NONE, member.assignment)
        waiting: asyncio.Future[Synced] = asyncio.get_running_loop().create_future()
        member.syncing = waiting
        if member.id == self.leader:
            self._take_assignments(assignments)
        return await waiting

    def _take_assignments(self, assignments: dict[str, bytes]) -> None:
        self.state = State.STABLE
        for member in self.members.values():
            member.assignment = assignments.get(member.id, b"")
            member.answer_sync(Synced(Code.NONE, member.assignment))

    def heartbeat(self, caller: Caller) -> Code:
        if code := self.fault_of(caller):
            return code
        self.touch(self.members[caller.member_id])
        return Code.REBALANCE_IN_PROGRESS if self.state is State.JOINING else Code.NONE

    def leave(self, member_id: str, instance: str | None) -> Code:
        """Take out a member, named by its id or (static) by its instance."""
        member = self.members.get(member_id) or self._holder_of(instance)
        if member is None:
            return Code.UNKNOWN_MEMBER_ID
        self._remove(member)
        return Code.NONE

    def touch(self, member: Member) -> None:
        """The member gave a sign of life."""
        self._stop_expiry(member)
        member.expiry = asyncio.get_running_loop().call_later(member.join.session_s, self._remove, member)

    def _stop_expiry(self, member: Member) -> None:
        if member.expiry:
            member.expiry.cancel()
            member.expiry = None

    def _remove(self, member: Member) -> None:
        if self.members.get(member.id) is not member:
            return
        self._forget(member, Code.UNKNOWN_MEMBER_ID)
        if not self.members:
            self.close()
        elif self.state is State.JOINING:
            self._complete_if_all_are_back()
        else:
            self._start_rebalance()

    def _forget(self, member: Member, code: Code) -> None:
        self._stop_expiry(member)
        member.answer_join(Joined(code, member.id))
        member.answer_sync(Synced(code))
        self.members.pop(member.id, None)

    # ------------------------------------------------------------ offsets

    def may_commit(self, caller: Caller) -> Code:
        """Anyone may commit to an empty group without a generation; a member may unless assignments are being worked out."""
        if caller.generation < 0 and not self.members:
            return Code.NONE
        if code := self.fault_of(caller):
            return code
        self.touch(self.members[caller.member_id])
        return Code.REBALANCE_IN_PROGRESS if self.state is State.SYNCING else Code.NONE

    def close(self) -> None:
        """Nobody is left: the next member starts anew."""
        if self._rebalance_end:
            self._rebalance_end.cancel()
        for member in list(self.members.values()):
            self._forget(member, Code.UNKNOWN_MEMBER_ID)
        self.state = State.EMPTY
        self.leader = ""


class Coordinator:
    """All groups of the broker."""

    def __init__(self, *, join_delay_s: float) -> None:
        self._join_delay_s = join_delay_s
        self.groups: dict[str, Group] = {}

    def group(self, group_id: str) -> Group:
        """The group of that id, made if there is none."""
        if group_id not in self.groups:
            self.groups[group_id] = Group(group_id, self._join_delay_s)
        return self.groups[group_id]

    def delete(self, group_id: str) -> Code:
        group = self.groups.get(group_id)
        if group is None:
            return Code.GROUP_ID_NOT_FOUND
        if group.members:
            return Code.NON_EMPTY_GROUP
        del self.groups[group_id]
        return Code.NONE

    def close(self) -> None:
        for group in self.groups.values():
            group.close()
