"""Processes that train together find each other, or say why not: real sockets on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from pcam_kit.errors import PcamError, UsageError
from pcam_kit.training.nodes import Group, Nodes, meet, parse_nodes

FACTS = {"store": "a", "config": "b"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def meeting(*nodes: Nodes, facts: dict[int, dict[str, str]] | None = None) -> list[Future[Group]]:
    """What `meet` came to at each node, all at once."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        return [pool.submit(meet, node, (facts or {}).get(node.index, FACTS)) for node in nodes]


def three(seconds: float = 10.0) -> list[Nodes]:
    port = free_port()
    return [Nodes(3, index, "127.0.0.1", port, seconds) for index in range(3)]


def at_each(groups: list[Group], call: Callable[[Group], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(groups)) as pool:
        return list(pool.map(call, groups))


def test_three_processes_speak_in_lockstep() -> None:
    groups = [future.result() for future in meeting(*three())]
    large = bytes(range(256)) * 40_000
    assert at_each(groups, lambda group: group.share(large if group.is_first else b"")) == [
        large,
        large,
        large,
    ]
    assert at_each(groups, lambda group: group.any(value=False)) == [False] * 3
    assert at_each(groups, lambda group: group.any(value=group.index == 2)) == [True] * 3
    assert at_each(groups, lambda group: group.any(value=group.is_first)) == [True] * 3
    for group in groups:
        group.close()


def test_what_differs_is_named_at_every_node() -> None:
    other = {"store": "a", "config": "c"}
    for future in meeting(*three(), facts={2: other}):
        with pytest.raises(UsageError, match="config: node 0 has b, node 2 has c"):
            future.result()


def test_node_0_that_is_not_there_is_an_error_in_time() -> None:
    nodes = Nodes(2, 1, "127.0.0.1", free_port(), seconds=0.5)
    with pytest.raises(UsageError, match=f"{nodes.address}: node 0 could not be reached within"):
        meet(nodes, FACTS)


def test_a_node_that_does_not_come_is_named() -> None:
    first, _, third = three(seconds=1.0)
    futures = meeting(first, third)
    with pytest.raises(UsageError, match=r"--nodes 3: node 1 did not come to .* within"):
        futures[0].result()
    with pytest.raises(PcamError, match="node 0 of 3 is gone"):
        futures[1].result()


def test_numbers_that_do_not_fit() -> None:
    first, second, third = three(seconds=5.0)
    futures = meeting(first, replace(second, count=2))
    with pytest.raises(UsageError, match="node 1 was begun with --nodes 2, node 0 with 3"):
        futures[1].result()
    futures = meeting(first, second, replace(third, index=1))
    with pytest.raises(UsageError, match="two processes were begun with --node 1"):
        futures[0].result()


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nodes = Nodes(2, 0, "127.0.0.1", server.getsockname()[1])
        with pytest.raises(UsageError, match="cannot be used here"):
            meet(nodes, FACTS)


@pytest.mark.parametrize(("host", "bound"), [("127.0.0.1", "127.0.0.1"), ("gpu1", "")])
def test_a_name_is_listened_to_on_all_addresses(host: str, bound: str) -> None:
    assert parse_nodes(2, 0, f"{host}:29500").bound == bound


def test_strangers_are_not_heard() -> None:
    first, second, _ = (replace(nodes, count=2) for nodes in three())
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(meet, first, FACTS)
        with connected(first) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            two = pool.submit(meet, second, FACTS)
            groups = [one.result(), two.result()]
    assert at_each(groups, lambda group: group.any(value=True)) == [True, True]
    for group in groups:
        group.close()


def connected(nodes: Nodes) -> socket.socket:
    """A connection to node 0, which is about to begin."""
    for _ in range(500):
        try:
            return socket.create_connection((nodes.host, nodes.port))
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise AssertionError("node 0 does not listen")


@pytest.mark.parametrize(
    ("index", "coordinator", "message"),
    [
        (None, "a:1", "--nodes needs --node and --coordinator"),
        (0, None, "--nodes needs --node and --coordinator"),
        (2, "a:1", "--node: of 2 nodes expected 0 to 1, found 2"),
        (0, "a", "--coordinator: expected HOST:PORT"),
        (0, "a:0", "--coordinator: expected HOST:PORT"),
        (0, ":29500", "--coordinator: expected HOST:PORT"),
        (0, "a:70000", "--coordinator: expected HOST:PORT"),
    ],
)
def test_options_that_make_no_sense(
    index: int | None, coordinator: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        parse_nodes(2, index, coordinator)
