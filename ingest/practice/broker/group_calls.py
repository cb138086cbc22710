"""The calls about consumer groups: find the coordinator, join, sync, heartbeat, leave, offsets, and what an admin asks.

Translates between kafka-python's protocol classes and `groups`. Runs on the broker's loop thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kafka.protocol.admin import (
    DeleteGroupsRequest,
    DeleteGroupsResponse,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
)
from kafka.protocol.consumer import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)
from kafka.protocol.metadata import FindCoordinatorRequest, FindCoordinatorResponse

from ingest.practice.broker.codes import Api, Code
from ingest.practice.broker.groups import Caller, Committed, Coordinator, Group, Join, Joined, Member, Synced
from ingest.practice.broker.topic_calls import NODE_ID
from ingest.practice.broker.wire import Call, Served

NOTHING_COMMITTED = Committed(-1)


class GroupCalls:
    """Answers the calls about consumer groups."""

    def __init__(self, coordinator: Coordinator, *, port: Callable[[], int]) -> None:
        self._coordinator = coordinator
        self._port = port

    def served(self) -> dict[Api, Served]:
        """The versions end where several groups per call, or the newer group protocol, would begin."""
        return {
            Api.FIND_COORDINATOR: Served(FindCoordinatorRequest, (0, 3), self.find_coordinator),
            Api.JOIN_GROUP: Served(JoinGroupRequest, (0, 7), self.join),
            Api.SYNC_GROUP: Served(SyncGroupRequest, (0, 5), self.sync),
            Api.HEARTBEAT: Served(HeartbeatRequest, (0, 4), self.heartbeat),
            Api.LEAVE_GROUP: Served(LeaveGroupRequest, (0, 4), self.leave),
            Api.OFFSET_COMMIT: Served(OffsetCommitRequest, (2, 8), self.commit),
            Api.OFFSET_FETCH: Served(OffsetFetchRequest, (1, 7), self.fetch_offsets),
            Api.DESCRIBE_GROUPS: Served(DescribeGroupsRequest, (0, 5), self.describe),
            Api.LIST_GROUPS: Served(ListGroupsRequest, (0, 4), self.list_groups),
            Api.DELETE_GROUPS: Served(DeleteGroupsRequest, (0, 2), self.delete),
        }

    def _group(self, call: Call) -> Group:
        return self._coordinator.group(call.request.group_id)

    async def find_coordinator(self, call: Call) -> Any:
        return FindCoordinatorResponse(
            version=call.version, throttle_time_ms=0, error_code=call.fault, error_message=None,
            node_id=NODE_ID, host="127.0.0.1", port=self._port(),
        )  # fmt: skip

    # ------------------------------------------------------------ membership

    async def join(self, call: Call) -> Any:
        if call.fault:
            joined = Joined(Code(call.fault), call.request.member_id)
        else:
            joined = await self._group(call).join(_join_of(call))
        everyone = [
            JoinGroupResponse.JoinGroupResponseMember(member_id=member_id, group_instance_id=instance, metadata=metadata)
            for member_id, instance, metadata in joined.members
        ]
        return JoinGroupResponse(
            version=call.version, throttle_time_ms=0, error_code=joined.code, generation_id=joined.generation,
            protocol_type=joined.protocol_type, protocol_name=joined.protocol, leader=joined.leader,
            member_id=joined.member_id, members=everyone,
        )  # fmt: skip

    async def sync(self, call: Call) -> Any:
        group, request = self._group(call), call.request
        assignments = {given.member_id: bytes(given.assignment) for given in request.assignments}
        if call.fault:
            synced = Synced(Code(call.fault))
        else:
            synced = await group.sync(_caller(request, request.generation_id), assignments)
        return SyncGroupResponse(
            version=call.version, throttle_time_ms=0, error_code=synced.code, protocol_type=group.protocol_type,
            protocol_name=group.protocol, assignment=synced.assignment,
        )  # fmt: skip

    async def heartbeat(self, call: Call) -> Any:
        code = call.fault or self._group(call).heartbeat(_caller(call.request, call.request.generation_id))
        return HeartbeatResponse(version=call.version, throttle_time_ms=0, error_code=code)

    async def leave(self, call: Call) -> Any:
        group, request = self._group(call), call.request
        if call.version < 3:
            code = call.fault or group.leave(request.member_id, None)
            return LeaveGroupResponse(version=call.version, throttle_time_ms=0, error_code=code, members=[])
        left = [
            LeaveGroupResponse.MemberResponse(
                member_id=member.member_id, group_instance_id=member.group_instance_id,
                error_code=call.fault or group.leave(member.member_id, member.group_instance_id),
            )
            for member in request.members
        ]  # fmt: skip
        return LeaveGroupResponse(version=call.version, throttle_time_ms=0, error_code=call.fault, members=left)

    # ------------------------------------------------------------ offsets

    async def commit(self, call: Call) -> Any:
        group, request = self._group(call), call.request
        code = call.fault or group.may_commit(_caller(request, request.generation_id_or_member_epoch))
        answer = OffsetCommitResponse.OffsetCommitResponseTopic
        topics = []
        for topic in request.topics:
            if not code:
                group.offsets.update({(topic.name, part.partition_index): _committed(part) for part in topic.partitions})
            parts = [
                answer.OffsetCommitResponsePartition(partition_index=part.partition_index, error_code=code)
                for part in topic.partitions
            ]
            topics.append(answer(name=topic.name, partitions=parts))
        return OffsetCommitResponse(version=call.version, throttle_time_ms=0, topics=topics)

    async def fetch_offsets(self, call: Call) -> Any:
        group, asked = self._group(call), call.request.topics
        if asked is None:
            wanted = _by_topic(group.offsets)
        else:
            wanted = {topic.name: list(topic.partition_indexes) for topic in asked}
        answer = OffsetFetchResponse.OffsetFetchResponseTopic
        topics = [
            answer(name=name, partitions=[_fetched(group, name, number, call.fault) for number in numbers])
            for name, numbers in wanted.items()
        ]
        return OffsetFetchResponse(version=call.version, throttle_time_ms=0, error_code=call.fault, topics=topics)

    # ------------------------------------------------------------ admin

    async def list_groups(self, call: Call) -> Any:
        listed = [
            ListGroupsResponse.ListedGroup(group_id=group.id, protocol_type=group.protocol_type, group_state=group.state.value)
            for group in self._coordinator.groups.values()
        ]
        return ListGroupsResponse(version=call.version, throttle_time_ms=0, error_code=call.fault, groups=listed)

    async def describe(self, call: Call) -> Any:
        groups = [self._described(group_id, call.fault) for group_id in call.request.groups]
        return DescribeGroupsResponse(version=call.version, throttle_time_ms=0, groups=groups)

    def _described(self, group_id: str, fault: int) -> Any:
        answer = DescribeGroupsResponse.DescribedGroup
        group = self._coordinator.groups.get(group_id)
        if group is None:
            return answer(
                error_code=fault, error_message=None, group_id=group_id, group_state="Dead", protocol_type="",
                protocol_data="", members=[], authorized_operations=None,
            )  # fmt: skip
        return answer(
            error_code=fault, error_message=None, group_id=group_id, group_state=group.state.value,
            protocol_type=group.protocol_type, protocol_data=group.protocol,
            members=[_described_member(group, member) for member in group.members.values()],
            authorized_operations=None,
        )  # fmt: skip

    async def delete(self, call: Call) -> Any:
        results = [
            DeleteGroupsResponse.DeletableGroupResult(
                group_id=group_id, error_code=call.fault or self._coordinator.delete(group_id)
            )
            for group_id in call.request.groups_names
        ]
        return DeleteGroupsResponse(version=call.version, throttle_time_ms=0, results=results)


def _caller(request: Any, generation: int) -> Caller:
    return Caller(request.member_id, generation, request.group_instance_id or None)


def _join_of(call: Call) -> Join:
    request = call.request
    rebalance_ms = request.rebalance_timeout_ms if call.version >= 1 else request.session_timeout_ms
    return Join(
        caller=_caller(request, -1),
        protocols=tuple((protocol.name, bytes(protocol.metadata)) for protocol in request.protocols),
        protocol_type=request.protocol_type,
        session_s=request.session_timeout_ms / 1000,
        rebalance_s=rebalance_ms / 1000,
        client_id=call.client_id,
        needs_known_id=call.version >= 4,
    )


def _committed(part: Any) -> Committed:
    epoch = part.committed_leader_epoch
    return Committed(part.committed_offset, -1 if epoch is None else epoch, part.committed_metadata or "")


def _fetched(group: Group, topic: str, number: int, fault: int) -> Any:
    found = group.offsets.get((topic, number), NOTHING_COMMITTED)
    return OffsetFetchResponse.OffsetFetchResponseTopic.OffsetFetchResponsePartition(
        partition_index=number, committed_offset=found.offset, committed_leader_epoch=found.leader_epoch,
        metadata=found.metadata, error_code=fault,
    )  # fmt: skip


def _by_topic(partitions: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for topic, number in partitions:
        numbers.setdefault(topic, []).append(number)
    return numbers


def _described_member(group: Group, member: Member) -> Any:
    return DescribeGroupsResponse.DescribedGroup.DescribedGroupMember(
        member_id=member.id, group_instance_id=member.instance, client_id=member.join.client_id, client_host="/127.0.0.1",
        member_metadata=member.metadata(group.protocol), member_assignment=member.assignment,
    )  # fmt: skip
