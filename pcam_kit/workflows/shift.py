"""`pcam shift`: the colours of a store's splits side by side, and in words what has drifted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pcam_kit.config.schema import StainMethod
from pcam_kit.data.shift import LIMIT, Colours, Drift, measure_colours, measure_drifts
from pcam_kit.data.store import Store
from pcam_kit.formatting import Summary
from pcam_kit.workspace import Workspace


@dataclass(frozen=True, repr=False)
class ColourShift(Summary):
    """The colours of a store's splits; `drifts` compares each with the first one."""

    store: Store
    colours: list[Colours]
    drifts: list[Drift]

    def summary(self) -> dict[str, str]:
        """How far each split is from the first, in standard deviations."""
        values = {"store": str(self.store.path)}
        for drift in self.drifts:
            text = (
                "; ".join(drift.sentences) or f"alike (largest difference {drift.largest:.2f} sd)"
            )
            values[f"{drift.split} - {drift.reference}"] = text
        return values

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `pcam shift`."""
        return {
            "store": str(self.store.path),
            "fingerprint": self.store.fingerprint,
            "splits": {
                split.split: {"n": split.n, "mean": split.mean, "sd": split.sd}
                for split in self.colours
            },
            "limit": LIMIT,
            "drifts": [
                {**asdict(drift), "largest": drift.largest, "sentences": drift.sentences}
                for drift in self.drifts
            ],
        }


def colour_shift(
    competition: str | None, stain: StainMethod | None, workspace: Workspace
) -> ColourShift:
    """Measure each split of a store (`competition` None: the one fetched last).

    Raises DataError or UsageError when there is none.
    """
    name = competition if competition is not None else workspace.last_fetched()
    store = workspace.store(name, stain)
    measured = [measure_colours(store, split) for split in store.splits]
    return ColourShift(store, measured, measure_drifts(measured))
