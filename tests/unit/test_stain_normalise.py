"""Stain made that of the target: the two methods, and the second store that holds such patches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pcam_kit import run_folders
from pcam_kit.config.schema import Data, Experiment, LabCnn, StainMethod
from pcam_kit.data.raw import Images, Part, RawCompetition
from pcam_kit.data.stain import (
    TARGET,
    TARGET_MEAN,
    TARGET_SD,
    TARGET_TOP,
    apply_normalisation,
    fit_normalisation,
)
from pcam_kit.data.store import Store, build_store, open_store, verify_store
from pcam_kit.errors import DataError, RunError, UsageError
from pcam_kit.files import write_json
from pcam_kit.workflows import fetch
from pcam_kit.workflows.doctor import files as checks
from pcam_kit.workspace import Workspace

pytestmark = pytest.mark.usefixtures("messages")

METHODS: tuple[StainMethod, ...] = get_args(StainMethod)
LABORATORIES = (
    np.array([(0.65, 0.70, 0.29), (0.07, 0.99, 0.11)]),
    np.array([(0.50, 0.75, 0.43), (0.27, 0.80, 0.53)]),
)


def amounts(n: int, seed: int, size: int = 32) -> NDArray[np.float64]:
    """Haematoxylin in spots, eosin between them, some of it empty: [n, size, size, 2] of densities
    along the stain vectors.
    """
    rng = np.random.default_rng(seed)
    spots = rng.random((n, size // 4, size // 4)).repeat(4, 1).repeat(4, 2) < 0.35
    eosin = (0.4 + rng.gamma(4, 0.12, (n, size, size))) * (1 - 0.5 * spots)
    both = np.stack([spots * rng.gamma(9, 0.12, (n, size, size)), eosin], axis=-1)
    both[:, :4] = 0
    return both


def picture(amount: NDArray[np.float64], stains: NDArray[Any]) -> Images:
    unit = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    return np.rint(256 * np.exp(-amount @ unit) - 1).clip(0, 255).astype(np.uint8)


def made_alike(images: Images, method: StainMethod) -> Images:
    found = fit_normalisation(method, images)
    assert found is not None
    return apply_normalisation(images, found[None].repeat(len(images), 0))


def apart(a: Images, b: Images) -> float:
    return float(np.abs(a.astype(int) - b).mean())


STRONGER = (LABORATORIES[0], (1.5, 1.5))  # the same stains, as a whole
OTHER = (LABORATORIES[1], (1.3, 0.8))  # other stains, more of one and less of the other


@pytest.mark.parametrize(
    ("method", "staining", "factor"),
    [
        ("reinhard", STRONGER, 10.0),
        ("reinhard", OTHER, 2.0),
        ("macenko", STRONGER, 10.0),
        ("macenko", OTHER, 10.0),
    ],
)
def test_one_tissue_stained_twice_comes_out_alike(
    method: StainMethod, staining: tuple[NDArray[Any], tuple[float, float]], factor: float
) -> None:
    tissue = amounts(20, 1)
    first = picture(tissue, LABORATORIES[0])
    second = picture(tissue * staining[1], staining[0])
    assert (
        apart(made_alike(first, method), made_alike(second, method)) < apart(first, second) / factor
    )


def test_macenko_finds_the_stains() -> None:
    """Pure stains of the source become pure stains of the target."""
    images = picture(amounts(20, 2), LABORATORIES[1])
    found = fit_normalisation("macenko", images)
    assert found is not None
    unit = LABORATORIES[1] / np.linalg.norm(LABORATORIES[1], axis=1, keepdims=True)
    for source, target in zip(unit, TARGET, strict=False):
        to = found[:, :3] @ source
        assert to @ target / np.linalg.norm(to) > np.cos(np.radians(4))
    np.testing.assert_array_equal(found[:, 3], 0)


@pytest.mark.parametrize("method", METHODS)
def test_background_stays_background_and_grows_into_tissue_without_a_step(
    method: StainMethod,
) -> None:
    found = fit_normalisation(method, picture(amounts(20, 2), LABORATORIES[1]))
    assert found is not None
    ramp = np.arange(255, 150, -1, dtype=np.uint8).repeat(3).reshape(1, 1, -1, 3)
    out = apply_normalisation(ramp, found[None])[0, 0]
    np.testing.assert_array_equal(out[0], 255)
    assert out[5].min() >= 235
    assert np.abs(np.diff(out.astype(int), axis=0)).max() <= 12


def test_macenko_leaves_what_has_the_target_stain() -> None:
    tissue = amounts(20, 3)
    tissue *= TARGET_TOP / np.percentile(tissue[tissue.sum(-1) > 0.3], 99, axis=0)
    images = picture(tissue, TARGET[:2])
    assert apart(made_alike(images, "macenko"), images) < 3


def test_reinhard_reaches_the_target_and_leaves_what_is_there() -> None:
    shape = (TARGET_MEAN / TARGET_SD) ** 2
    # of the target's mean and sd
    densities = np.random.default_rng(0).gamma(shape, TARGET_MEAN / shape, (20, 32, 32, 3))
    there, paler = (
        np.rint(256 * np.exp(-scale * densities) - 1).clip(0, 255).astype(np.uint8)
        for scale in (1, 0.7)
    )
    assert apart(made_alike(there, "reinhard"), there) < 2
    reached = -np.log((made_alike(paler, "reinhard").reshape(-1, 3) + 1.0) / 256)
    np.testing.assert_allclose(reached.mean(0), TARGET_MEAN, atol=0.03)
    np.testing.assert_allclose(reached.std(0), TARGET_SD, atol=0.03)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0, 1, 250, 255])
def test_nothing_is_made_of_white_or_black(method: StainMethod, level: int) -> None:
    assert fit_normalisation(method, np.full((10, 32, 32, 3), level, np.uint8)) is None


@given(
    st.sampled_from(METHODS),
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=4),
    st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_no_picture_gives_nonsense(
    method: StainMethod, colours: list[tuple[int, int, int]], grain: int
) -> None:
    rng = np.random.default_rng(grain)
    base = np.array(colours)[rng.integers(len(colours), size=(4, 32, 32))]
    images = (base + rng.integers(-grain, grain + 1, base.shape)).clip(0, 255).astype(np.uint8)
    found = fit_normalisation(method, images)
    if found is not None:
        assert np.isfinite(found).all()
        assert np.abs(found).max() < 60
        out = apply_normalisation(images, found[None].repeat(4, 0))
        assert out.dtype == np.uint8


def raw(*, slides: bool, test: Images | None = None) -> RawCompetition:
    """Train of two slides from two laboratories, valid and test of one; the order of rows mixes
    slides.
    """
    from data_factories import profile

    def part(split: Any, images: Images, names: list[str]) -> Part:
        labels = (
            np.full(len(images), -1, np.int8)
            if split == "test"
            else (np.arange(len(images)) % 2).astype(np.int8)
        )
        ids = [f"{split}{i}" for i in range(len(images))]
        return Part(
            split, ids, labels, lambda: (block for block in [images]), names if slides else None
        )

    train = np.empty((40, 32, 32, 3), np.uint8)
    train[::2], train[1::2] = (
        picture(amounts(20, 4 + i), stains) for i, stains in enumerate(LABORATORIES)
    )
    other = picture(amounts(12, 6), LABORATORIES[0])
    parts = (
        part("train", train, ["a", "b"] * 20),
        part("valid", other, ["c"] * 12),
        part("test", other[::-1] if test is None else test, ["d"] * 12),
    )
    return RawCompetition(
        profile("pcam_h5"),
        parts,
        [{"name": "x", "files": 1, "bytes": 1}],
        ("a subset: 40 of 50 train",),
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    places = Workspace(tmp_path / "data", tmp_path / "runs", tmp_path / "submissions")
    build_store(raw(slides=True), places.competition_path("tiny") / "store")
    write_json(places.competition_path("tiny") / "fetched.json", {"time": "2024-01-01"})
    return places


@pytest.mark.parametrize("method", METHODS)
def test_a_second_store_beside_the_first(method: StainMethod, workspace: Workspace) -> None:
    store = workspace.store("tiny")
    before = (store.path / "manifest.json").read_bytes()
    made = fetch.normalise(store, method, workspace)
    verify_store(made)
    assert made.path == workspace.competition_path("tiny") / f"store-{method}"
    assert (store.path / "manifest.json").read_bytes() == before
    assert workspace.store("tiny").stain is None
    assert workspace.store("tiny", method).stain == method
    assert made.fingerprint != store.fingerprint
    assert made.split_hash == store.split_hash
    assert made.manifest["stain"] == {"method": method, "version": 1, "of": store.fingerprint}
    for split in store.splits:
        a, b = store.rows(split), made.rows(split)
        assert store.ids[a].tolist() == made.ids[b].tolist()
        np.testing.assert_array_equal(store.labels[a], made.labels[b])
        assert [store.manifest["slides"][i] for i in store.groups[a]] == [
            made.manifest["slides"][i] for i in made.groups[b]
        ]
    assert "a subset: 40 of 50 train" in made.notes
    assert any(
        "unlabelled test patches with the statistics of test patches" in note for note in made.notes
    )
    assert len([note for note in made.notes if note.startswith("of the test patches")]) == 1


def test_each_slide_is_judged_by_itself(workspace: Workspace) -> None:
    store = workspace.store("tiny")
    made = fetch.normalise(store, "macenko", workspace)
    rows = store.rows("train")
    for slide in (0, 1):
        own = store.images[rows[slide::2]]
        np.testing.assert_array_equal(
            made.images[made.rows("train")][slide::2], made_alike(own, "macenko")
        )
    assert not any("split as a whole" in note for note in made.notes)


def test_without_slides_the_split_is_judged(tmp_path: Path) -> None:
    places = Workspace(tmp_path)
    empty = np.full((12, 32, 32, 3), 255, np.uint8)
    store = build_store(raw(slides=False, test=empty), places.competition_path("tiny") / "store")
    made = fetch.normalise(store, "macenko", places)
    np.testing.assert_array_equal(
        made.images[made.rows("train")], made_alike(store.images[store.rows("train")], "macenko")
    )
    np.testing.assert_array_equal(made.images[made.rows("test")], empty)
    assert any(
        note.endswith("the stain was judged for the split as a whole: train, valid, test")
        for note in made.notes
    )
    assert "12 patches hold too little tissue and keep their stain" in made.notes


def test_again_it_is_verified_and_kept(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    store = workspace.store("tiny")
    first = fetch.normalise(store, "reinhard", workspace)
    stamp = (first.path / "manifest.json").stat().st_mtime_ns
    capsys.readouterr()
    fetch.normalise(store, "reinhard", workspace)
    assert "the normalised store is there and intact" in capsys.readouterr().err
    assert (first.path / "manifest.json").stat().st_mtime_ns == stamp


def other_store(workspace: Workspace) -> Store:
    """What `pcam fetch` leaves when the published data changed."""
    published = raw(slides=True)
    labels = published.parts[0].labels.copy()
    labels[:2] = 1 - labels[:2]
    changed = replace(
        published, parts=(replace(published.parts[0], labels=labels), *published.parts[1:])
    )
    return build_store(changed, workspace.competition_path("tiny") / "store")


def test_a_store_of_other_patches_is_refused_then_made_anew(workspace: Workspace) -> None:
    # no store stays open: Windows could not replace it
    old = fetch.normalise(workspace.store("tiny"), "macenko", workspace).fingerprint
    store = other_store(workspace)
    with pytest.raises(DataError, match="was normalised from a store with fingerprint") as caught:
        workspace.store("tiny", "macenko")
    assert caught.value.hint == "pcam fetch tiny --stain macenko"
    del caught  # its traceback holds the store open
    fetch.normalise(store, "macenko", workspace)
    assert workspace.store("tiny", "macenko").fingerprint != old
    kept = workspace.competition_path("tiny") / f"store-macenko.{old[:8]}"
    assert open_store(kept).fingerprint == old, "nothing is lost"


def run_on(workspace: Workspace, store: Store, stain: StainMethod | None) -> run_folders.Run:
    meta = {
        "started": "",
        "backend": "",
        "seed": 0,
        "competition": store.profile.model_dump(mode="json"),
        "store_fingerprint": store.fingerprint,
        "split_hash": store.split_hash,
    }
    return run_folders.create_run(
        workspace.runs,
        Experiment(name="x", data=Data(stain=stain), model=LabCnn(name="lab_cnn")),
        meta,
    )


def test_a_run_gets_patches_normalised_as_its_own_were(workspace: Workspace) -> None:
    store = workspace.store("tiny")
    with pytest.raises(DataError, match="does not exist") as missing:
        workspace.store("tiny", "macenko")
    assert missing.value.hint == "pcam fetch tiny --stain macenko"
    made = {stain: fetch.normalise(store, stain, workspace) for stain in METHODS}
    for stain in METHODS:
        assert workspace.store_of(run_on(workspace, made[stain], stain)).path == made[stain].path
    assert workspace.store_of(run_on(workspace, store, None)).path == store.path
    for wrong in (
        run_on(workspace, store, "macenko"),
        run_on(workspace, made["macenko"], None),
        run_on(workspace, made["macenko"], "reinhard"),
    ):
        with pytest.raises(RunError, match="was trained on a store with fingerprint"):
            workspace.store_of(wrong)


def test_a_store_at_the_wrong_place_is_refused(workspace: Workspace) -> None:
    made = fetch.normalise(workspace.store("tiny"), "macenko", workspace).path
    made.rename(made.with_name("store-reinhard"))
    with pytest.raises(
        DataError,
        match=r"expected patches normalised \(reinhard\), found patches normalised \(macenko\)",
    ):
        workspace.store("tiny", "reinhard")
    (workspace.competition_path("tiny") / "store").rename(
        workspace.competition_path("tiny") / "aside"
    )
    made.with_name("store-reinhard").rename(workspace.competition_path("tiny") / "store")
    with pytest.raises(
        DataError, match=r"expected patches as published, found patches normalised \(macenko\)"
    ):
        workspace.store("tiny")


def test_damage_is_told_with_its_own_command(workspace: Workspace) -> None:
    made = fetch.normalise(workspace.store("tiny"), "macenko", workspace)
    manifest = json.loads((made.path / "manifest.json").read_text(encoding="utf-8"))
    (made.path / "manifest.json").write_text(
        json.dumps(manifest | {"split_hash": "0" * 64}), encoding="utf-8"
    )
    with pytest.raises(DataError, match="split hash") as caught:
        verify_store(open_store(made.path))
    assert caught.value.hint == "pcam fetch tiny --stain macenko"
    for broken in (None, "macenko", {"method": "macenko"}):
        (made.path / "manifest.json").write_text(
            json.dumps(manifest | {"stain": broken}), encoding="utf-8"
        )
        with pytest.raises(DataError, match="manifest is damaged"):
            open_store(made.path)


def test_only_and_stain_do_not_fit_together() -> None:
    from pcam_kit.cli.fetch import fetch as command

    with pytest.raises(UsageError, match="--only builds no store"):
        command("synthetic", only=["*.csv"], stain="macenko")


def test_the_doctor_knows_both_stores(workspace: Workspace) -> None:
    store = workspace.store("tiny")
    made = fetch.normalise(store, "macenko", workspace)
    for run_store, stain in ((store, None), (made, "macenko")):
        run_on(workspace, run_store, stain)
    subject = checks.Subject(store.profile)
    assert [
        check.message.split(" is intact")[0] for check in checks.stores(subject, workspace)
    ] == [
        "tiny",
        "tiny (store-macenko)",
    ]
    assert [check.status for check in checks.runs(subject, workspace)] == ["ok"]
    images = made.path / "images.npy"
    images.write_bytes(images.read_bytes()[:-1] + b"\0\0")
    found = list(checks.stores(subject, workspace))
    assert [check.status for check in found] == ["ok", "problem"]
    assert found[1].fix == "pcam fetch tiny --stain macenko"
