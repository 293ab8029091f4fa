"""Several processes, also on several machines, that train one network together.

JAX joins their devices. What it does not have is here, over connections of our own to process 0:
the same words from one to all, a stop at the same step, and an end of all when one has died. JAX's
own answer to that is a crash (SIGABRT) without a word that helps, or waiting for ever.
"""

# pyright: basic

from __future__ import annotations

import ipaddress
import json
import logging
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pcam_kit.errors import TrainingError, UsageError
from pcam_kit.formatting import duration
from pcam_kit.parsing import parse_json

log = logging.getLogger(__name__)

JOIN_SECONDS = 300.0
HELLO_SECONDS = 5.0  # for the first words of whoever connects
LEAVE_SECONDS = 10.0
NOTICE_SECONDS = 1.0  # until an end is known that JAX may have answered with an error before
LENGTH = struct.Struct("!Q")
MOST_TOLD = 1 << 20  # bytes of a message to process 0
TALK, WATCH = "talk", "watch"
# a machine that is gone says nothing: the system asks after 10 s, and gives up after 15 s more
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
AGAIN = "the same command on all machines resumes from the last checkpoint"


@dataclass(frozen=True)
class Nodes:
    """Which of how many processes this is; `host` and `port` are those of process 0.

    seconds: to wait for the others.
    """

    count: int
    index: int
    host: str
    port: int
    seconds: float = JOIN_SECONDS

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self.host}:{self.port}"

    @property
    def bound(self) -> str:
        """The address that process 0 listens at; "" for all.

        A machine's own name may be one of loopback there (Debian's /etc/hosts).
        """
        try:
            return str(ipaddress.ip_address(self.host))
        except ValueError:
            return ""


def parse_nodes(count: int, index: int | None, coordinator: str | None) -> Nodes:
    """The values of --nodes, --node and --coordinator. Raises UsageError."""
    if index is None or coordinator is None:
        raise UsageError(
            "--nodes needs --node and --coordinator",
            hint="on the first machine: --nodes 2 --node 0 --coordinator HOST:PORT, with its own "
            "name and a free port; the same with --node 1 on the second",
        )
    if not 0 <= index < count:
        raise UsageError(f"--node: of {count} nodes expected 0 to {count - 1}, found {index}")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f"--coordinator: expected HOST:PORT of the machine with --node 0, found {coordinator}",
            hint="for example --coordinator 192.168.0.10:29500",
        )
    return Nodes(count, index, host.strip("[]"), int(port))


class Group:
    """The processes of one training, in lockstep: all call the same methods in the same order.

    index: of this process. Process 0 has a connection to each other one, the others have one to it.
    """

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index, self.count = index, count
        self._talk: dict[int, socket.socket] = {}
        self._watch: dict[int, socket.socket] = {}
        self._left, self._ending = threading.Event(), threading.Event()

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, which alone validates and writes."""
        return self.index == 0

    @property
    def part(self) -> tuple[int, int]:
        """Which part of each batch this process feeds, of how many."""
        return self.index, self.count

    def gather(self, value: bytes) -> list[bytes]:
        """The value of each process, at process 0; elsewhere nothing."""
        if not self.is_first:
            self._send(0, value)
            return []
        return [value, *(self._receive(i, MOST_TOLD) for i in sorted(self._talk))]

    def share(self, value: bytes = b"") -> bytes:
        """The value of process 0, at each."""
        if not self.is_first:
            return self._receive(0)
        for i in self._talk:
            self._send(i, value)
        return value

    def any(self, value: bool) -> bool:
        """Whether the value is true at any process."""
        values = self.gather(bytes([value]))
        return self.share(bytes([any(map(any, values))])) == b"\1"

    def agree(self, facts: dict[str, str]) -> None:
        """Raises UsageError at every process unless all have the facts of process 0."""
        told = [parse_json(text.decode()) for text in self.gather(json.dumps(facts).encode())]
        text = self.share(_difference(told).encode()).decode()
        if text:
            raise UsageError(text, hint="every machine needs the same pcam-kit, config and data")

    def _send(self, index: int, value: bytes) -> None:
        try:
            _send(self._talk[index], value)
        except OSError as error:
            raise self._lost(index, str(error)) from error

    def _receive(self, index: int, most: int = sys.maxsize) -> bytes:
        try:
            return _receive(self._talk[index], most)
        except (OSError, ValueError) as error:
            raise self._lost(index, str(error)) from error

    def _lost(self, index: int, reason: str) -> TrainingError:
        """Usually the watching thread ends the process before this is raised."""
        time.sleep(1)
        return TrainingError(f"node {index} of {self.count} is gone: {reason}", hint=AGAIN)

    def watch(self) -> None:
        """From here on end this process as soon as another one is gone."""
        for index in self._watch:
            threading.Thread(target=self._listen, args=(index,), daemon=True).start()

    def _listen(self, index: int) -> None:
        try:
            reason = _receive(self._watch[index], MOST_TOLD).decode(errors="replace")
        except (OSError, ValueError) as error:
            reason = f"node {index} of {self.count} is gone ({error})"
        if not reason or self._left.is_set():
            return
        # The main thread may wait in a collective for ever, and JAX aborts the process in a moment.
        self._ending.set()
        log.error(f"error: {reason}\n  -> {AGAIN}")
        self._tell(reason)
        if self.is_first:  # its end makes JAX abort the others, so they go first
            for connection in self._watch.values():
                connection.settimeout(LEAVE_SECONDS)
                with suppress(OSError, ValueError):
                    _receive(connection, MOST_TOLD)
        os._exit(TrainingError.exit_code)

    def _tell(self, reason: str) -> None:
        for connection in self._watch.values():
            with suppress(OSError):
                _send(connection, reason.encode())

    def leave(self, reason: str = "") -> None:
        """Leave the group. reason: why the others must end, too; "" where all leave in lockstep.

        Process 0 waits until the others have left JAX's group: else JAX aborts them.
        """
        if self._left.is_set() or self.count == 1:
            return
        if self._ending.wait(0 if not reason else NOTICE_SECONDS):
            time.sleep(2 * LEAVE_SECONDS)  # until `_listen` has ended the process
        self._left.set()
        self._tell(reason)
        jax: Any = import_module("jax")
        with suppress(OSError, ValueError):
            if not self.is_first:
                jax.distributed.shutdown()
                _send(self._talk[0], b"")
        if self.is_first:
            for connection in self._talk.values():
                connection.settimeout(LEAVE_SECONDS)
                with suppress(OSError, ValueError):
                    _receive(connection, MOST_TOLD)
            jax.distributed.shutdown()
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for connection in [*self._talk.values(), *self._watch.values()]:
            connection.close()


ALONE = Group()


def meet(nodes: Nodes, facts: dict[str, str]) -> Group:
    """The group of all processes, as soon as all are there; without JAX.

    Raises UsageError unless `facts` are the same everywhere, and where a process cannot be reached
    or does not come in time.
    """
    group = Group(nodes.index, nodes.count)
    try:
        if group.is_first:
            _wait_for_others(group, nodes)
        else:
            _connect(group, nodes)
        group.agree(facts)
    except BaseException:
        group.close()
        raise
    return group


@contextmanager
def joined(nodes: Nodes, facts: dict[str, str]) -> Generator[Group]:
    """The group of all processes, with the devices of all, while the block runs.

    Nothing may have been computed with JAX before. Raises as `meet`.
    """
    group = meet(nodes, facts)
    group.watch()
    with _without_stdout():
        try:
            _join_devices(group, nodes)
            yield group
        except BaseException as error:
            reason = str(error) or "it was stopped"
            group.leave(f"node {nodes.index} of {nodes.count} ended: {reason}")
            raise
        group.leave()


def _join_devices(group: Group, nodes: Nodes) -> None:
    jax: Any = import_module("jax")
    if not hasattr(jax.config, "jax_enable_recoverability"):
        raise UsageError(
            f"--nodes: JAX {jax.__version__} is too old", hint="pip install --upgrade jax"
        )
    jax.config.update("jax_enable_recoverability", True)  # else the end of one aborts all
    port = b""
    if group.is_first:
        with socket.create_server((nodes.bound, 0)) as server:
            port = str(server.getsockname()[1]).encode()
    address = f"{nodes.host}:{int(group.share(port))}"
    log.info(f"node {nodes.index} of {nodes.count}: joining the devices at {address}")
    jax.distributed.initialize(
        address,
        nodes.count,
        nodes.index,
        cluster_detection_method="deactivate",
        coordinator_bind_address=address if nodes.bound else None,
        initialization_timeout=int(JOIN_SECONDS),
    )


def _wait_for_others(group: Group, nodes: Nodes) -> None:
    """Accept two connections of each other process, at process 0."""
    end = time.monotonic() + nodes.seconds
    try:
        server = socket.create_server((nodes.bound, nodes.port))
    except OSError as error:
        raise UsageError(
            f"--coordinator {nodes.address}: cannot be used here: {error}",
            hint="it is an address and a free port of the machine with --node 0",
        ) from error
    kinds = {TALK: group._talk, WATCH: group._watch}
    with server:
        log.info(f"node 0 of {nodes.count}: waiting for the others at {nodes.address}")
        while not len(group._talk) == len(group._watch) == nodes.count - 1:
            server.settimeout(max(0.01, end - time.monotonic()))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = sorted(set(range(1, nodes.count)) - group._talk.keys())
                raise UsageError(
                    f"--nodes {nodes.count}: node {', '.join(map(str, missing))} did not come to "
                    f"{nodes.address} within {duration(nodes.seconds)}",
                    hint="run the same command there, with its own --node",
                ) from None
            hello = _hello(connection)
            if hello is None:  # a stranger
                connection.close()
                continue
            kind, index, count = hello
            fault = ""
            if count != nodes.count:
                fault = f"node {index} was begun with --nodes {count}, node 0 with {nodes.count}"
            elif not 0 < index < count or index in kinds[kind]:
                fault = f"two processes were begun with --node {index}"
            with suppress(OSError):
                _send(connection, fault.encode())
            if fault:
                connection.close()
                raise UsageError(fault, hint="each process needs its own --node")
            kinds[kind][index] = connection


def _hello(connection: socket.socket) -> tuple[str, int, int] | None:
    """What a process says first: kind of the connection, --node and --nodes; None for others."""
    connection.settimeout(HELLO_SECONDS)
    try:
        kind, index, count = parse_json(_receive(connection, 1000))
    except (OSError, ValueError, TypeError):
        return None
    if kind not in {TALK, WATCH} or type(index) is not int or type(count) is not int:
        return None
    _prepare(connection)
    return kind, index, count


def _connect(group: Group, nodes: Nodes) -> None:
    """Connect twice to process 0, which may begin later."""
    end = time.monotonic() + nodes.seconds
    log.info(f"node {nodes.index} of {nodes.count}: connecting to {nodes.address}")
    for kind, connections in ((TALK, group._talk), (WATCH, group._watch)):
        while True:
            try:
                connection = socket.create_connection(
                    (nodes.host, nodes.port), timeout=max(0.01, end - time.monotonic())
                )
                break
            except OSError as error:
                if time.monotonic() + 0.2 > end:
                    raise UsageError(
                        f"--coordinator {nodes.address}: node 0 could not be reached within "
                        f"{duration(nodes.seconds)}: {error}",
                        hint="run the same command with --node 0 there; a firewall must let "
                        "processes through",
                    ) from error
                time.sleep(0.2)
        connections[0] = connection
        _send(connection, json.dumps([kind, nodes.index, nodes.count]).encode())
        try:
            fault = _receive(connection, MOST_TOLD).decode(errors="replace")
        except (OSError, ValueError) as error:
            fault = f"--coordinator {nodes.address}: what answers is not a pcam train: {error}"
        if fault:
            raise UsageError(fault, hint="each process needs its own --node, and the same --nodes")
        _prepare(connection)


def _prepare(connection: socket.socket) -> None:
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _send(connection: socket.socket, value: bytes) -> None:
    connection.sendall(LENGTH.pack(len(value)) + value)


def _receive(connection: socket.socket, most: int) -> bytes:
    """One message. Raises OSError, and ValueError for one of more than `most` bytes."""
    (length,) = LENGTH.unpack(_read(connection, LENGTH.size))
    if length > most:
        raise ValueError("it speaks another language")
    return _read(connection, length)


def _read(connection: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(min(length - len(parts), 1 << 20))
        if not part:
            raise ConnectionError("it closed the connection")
        parts += part
    return bytes(parts)


def _difference(told: list[dict[str, str]]) -> str:
    """What the first process that differs from process 0 has otherwise; "" where none does."""
    for index, facts in enumerate(told):
        for name, value in told[0].items():
            if facts.get(name) != value:
                return f"{name}: node 0 has {value}, node {index} has {facts.get(name)}"
    return ""


@contextmanager
def _without_stdout() -> Generator[None]:
    """Drop what goes to stdout, which is for data: Gloo's native code says there who is connected.

    Nothing of ours is written there while a network is trained.
    """
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)
