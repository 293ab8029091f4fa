"""A full disk, a process that is killed, and two at once."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

from bases import PROFILES, make_lab, make_tifs
from loopback import ALWAYS
from rows import FINE, Act, Ends, Row, nothing
from world import LAB, World

SEED = 20240229
FULL = Ends(8, ("no space left on the disk",))
KILLS, KILLS_IN_CHECK = 12, 2
STATES = "each file whole, a part or absent; the store whole or absent"


def row(id: str, fault: str, arrange: Act = nothing, ends: Ends = FINE, **more: Any) -> Row:
    return Row(id, "disk", fault, arrange, ends, **more)


def raw_there(world: World) -> None:
    """Everything downloaded, nothing built."""
    shutil.rmtree(world.home, ignore_errors=True)
    shutil.copytree(world.whole, world.home)
    shutil.rmtree(world.home / "store")


def older_store(world: World) -> None:
    """A store of before the profile was changed: it is to be built anew."""
    shutil.rmtree(world.home, ignore_errors=True)
    shutil.copytree(world.whole, world.home)
    path = world.here / "configs" / "competitions" / f"{LAB}.yaml"
    path.write_text(
        PROFILES[LAB].replace(f"title: {LAB}", "title: Another title"), encoding="utf-8"
    )


def killed(
    prepare: Act, clear: Act, *options: str
) -> Callable[[World, bool], tuple[str, str, str]]:
    """Fetches killed at seeded moments, spread over the time that one takes which is left alone."""

    def play(world: World, full: bool) -> tuple[str, str, str]:
        args = ("fetch", world.slug, "--json", *options)
        prepare(world)
        clear(world)
        longest = seconds(world, args)
        world.whole = world.root / "left-alone"
        shutil.copytree(world.home, world.whole)
        clear(world)
        longest = min(longest, seconds(world, args))
        dice, times, hits = random.Random(SEED), KILLS if full else KILLS_IN_CHECK, 0
        for i in range(times):
            clear(world)
            started = world.start(args)
            time.sleep(longest * (i + dice.random()) / times)
            started.kill(signal.SIGKILL)
            done = started.wait()
            assert done.code in (0, -signal.SIGKILL), done.err
            hits += done.code != 0
            check_states(world)
            world.run(args).ok()
            world.check_finished()
            if "--keep-raw" in options:
                for name in world.competition.names():
                    assert (world.home / "unpacked" / name).read_bytes() == (
                        world.remote / name
                    ).read_bytes()
            world.check_secrets(done.err)
        assert hits >= times / 3, "the kills came too late to mean anything"
        return "killed", STATES, "exit 0"

    return play


def seconds(world: World, args: tuple[str, ...]) -> float:
    """How long the command takes."""
    began = time.monotonic()
    world.run(args).ok()
    return time.monotonic() - began


def check_states(world: World) -> None:
    """What carries its own name is whole."""
    if world.slug == LAB:
        for name in world.whole_names():
            assert (world.raw / name).read_bytes() == (world.remote / name).read_bytes(), (
                f"{name} has its name and wrong bytes"
            )
    store = world.home / "store"
    if store.exists():
        for name in ("images.npy", "index.npz"):
            assert (store / name).read_bytes() == (world.whole / "store" / name).read_bytes()


def slow_line(world: World) -> None:
    world.kaggle.fail("storage", drip=(15_000, 0.01), times=ALWAYS)


def all_gone(world: World) -> None:
    shutil.rmtree(world.home, ignore_errors=True)


def store_gone(world: World) -> None:
    shutil.rmtree(world.home / "store", ignore_errors=True)


def many_tifs(world: World) -> None:
    shutil.rmtree(world.remote)
    make_tifs(world.remote, 600, 200)


def many_patches(world: World) -> None:
    shutil.rmtree(world.remote)
    make_lab(world.remote, 4000)


def lines(world: World, err: str) -> str:
    """What was said, as a cell of the table."""
    return "<br>".join(
        world.normal(line.strip())
        for line in err.splitlines()
        if line.startswith(("error: ", "  -> "))
    )


def two_fetches(world: World, _: bool) -> tuple[str, str, str]:
    args = ("fetch", world.slug, "--json")
    world.kaggle.fail("storage", name="train.h5", until=lambda: "refused" in world.marks)
    first = world.start(args)
    while not world.kaggle.seen("storage"):
        time.sleep(0.01)
    second = world.run(args).refused(8, "another process is fetching")
    world.marks["refused"] = 1
    first.wait().ok()
    world.check_finished()
    left = world.files(rough=False)
    assert "nothing to do" in world.run(args).ok().err
    return (
        f"the first: exit 0<br>the second: exit 8<br>{lines(world, second.err)}",
        left,
        "exit 0, nothing left to download",
    )


ROWS = [
    row(
        "full-download",
        "the disk is full after 100,000 bytes of the download",
        rough=True,
        ends=FULL,
        hook={"full": {"below": "data", "after": 100_000}},
    ),
    row(
        "full-zip",
        "the disk is full after 20,000 bytes of the zip",
        rough=True,
        ends=FULL,
        kind="tifs",
        hook={"full": {"below": "data", "after": 20_000}},
    ),
    row(
        "full-store",
        "the disk is full while the store is built",
        raw_there,
        FULL,
        hook={"full": {"below": "data/{slug}/.store", "after": 50_000}},
    ),
    row(
        "full-manifest",
        "the disk is full for the store's last file",
        raw_there,
        FULL,
        hook={"full": {"below": "data/{slug}/.store", "opens": 2}},
    ),
    row(
        "full-older",
        "the disk is full while an older store is replaced",
        older_store,
        FULL,
        hook={"full": {"below": "data/{slug}/.store", "after": 50_000}},
    ),
    row(
        "full-record",
        "the disk is full when all is there but the record of it",
        raw_there,
        FULL,
        hook={"full": {"below": "data/{slug}/.partial-", "opens": 0}},
    ),
    row(
        "full-unpack",
        "the disk is full while a zip is unpacked (--keep-raw)",
        ends=FULL,
        kind="tifs",
        args=("--keep-raw",),
        hook={"full": {"below": "data/{slug}/.partial-", "after": 10_000}},
    ),
    row(
        "free",
        "too little space for the download, seen before it begins",
        ends=Ends(8, ("not enough space",)),
        hook={"free": 100_000},
    ),
    row(
        "free-store",
        "too little space for the store, seen before it begins",
        raw_there,
        Ends(8, ("not enough space",)),
        hook={"free": 100_000},
    ),
    row(
        "kill-download",
        f"SIGKILL at {KILLS} seeded moments of a download",
        play=killed(slow_line, all_gone),
        fresh=True,
    ),
    row(
        "kill-zip",
        f"SIGKILL at {KILLS} seeded moments of a fetch that unpacks its zip (--keep-raw)",
        kind="tifs",
        play=killed(many_tifs, all_gone, "--keep-raw"),
    ),
    row(
        "kill-store",
        f"SIGKILL at {KILLS} seeded moments of building a store",
        play=killed(many_patches, store_gone),
        fresh=True,
    ),
    row("two-fetches", "two fetches at once", play=two_fetches),
]
