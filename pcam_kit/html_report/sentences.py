"""What a report says in words: how a score was measured, how sure it is, where a run comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcam_kit.config.schema import Ensemble, External, Probe
from pcam_kit.evaluation.intervals import FEW_SLIDES, count_slides
from pcam_kit.formatting import counted, duration
from pcam_kit.html_report.contents import Contents, RunPart
from pcam_kit.metrics import Floats
from pcam_kit.names import shell_word
from pcam_kit.run_folders import Run
from pcam_kit.views import VIEWS

SPLITS = {"train": "training", "valid": "validation", "test": "test"}
LONGEST = 400  # characters of a value from meta.json


def measured_on(contents: Contents) -> str:
    """`Measured on 1,000 validation patches, 453 of them tumour, of 12 slides.`"""
    positive = int((contents.labels == 1).sum())
    slides = count_slides(contents.groups)
    patches = counted(len(contents.labels), f"{SPLITS[contents.split]} patch")
    text = f"Measured on {patches}, {positive:,} of them tumour"
    return f"{text}, from {counted(slides, 'slide')}." if slides is not None else f"{text}."


def how_sure(contents: Contents) -> str:
    """What the intervals are about, and whether they are to be believed."""
    part = contents.runs[0]
    used, slides = part.scored.intervals.slides, count_slides(contents.groups)
    if slides is None:
        return (
            "The slides are not known. The intervals take patches as independent, and are too "
            "narrow where several come from one slide."
        )
    if used is None:
        few = "One slide is" if slides == 1 else f"{slides} slides are"
        return (
            f"{few} too few to say anything about other slides: the intervals are about other "
            "patches of the same."
        )
    text = f"The intervals are by slide: they are about other slides like these {used}."
    if used < FEW_SLIDES:
        text += " So few make them a little too narrow."
    return text


def where_chosen(contents: Contents, part: RunPart) -> str:
    """Where a run's threshold was chosen, and what that means for its accuracy here."""
    result = part.run.outcome
    text = (
        f"The threshold {result.threshold:.3f} was chosen on the validation patches; "
        f"{result.threshold_low:.3f} to {result.threshold_high:.3f} do as well there."
    )
    if contents.split != "valid":
        return text
    text += " The accuracy is measured on these same patches, so it is a little optimistic"
    if part.honest_accuracy is None:
        return f"{text}."
    return (
        f"{text}: at thresholds chosen on other {part.chosen_on} it is {part.honest_accuracy:.4f}."
    )


def views_averaged(part: RunPart) -> str:
    """How many views of a patch each probability is the mean of."""
    match part.run.experiment.model:
        case External():
            return "The probabilities come from another program."
        case Probe(head=head):
            return f"Each probability is the answer of a head ({head}) to the patch's features."
        case Ensemble():
            members = part.run.members
            return f"Each probability is the mean of {len(members)} networks: {', '.join(members)}."
        case _:
            pass
    views = len(VIEWS[part.run.outcome.tta])
    if views == 1:
        return "Each probability is the network's answer to the patch as it is."
    return f"Each probability is the mean over {views} views of a patch ({part.run.outcome.tta})."


def provenance_rows(run: Run) -> list[tuple[str, str]]:
    """What meta.json and the result say of where a run comes from, for people."""
    meta, result = run.meta, run.outcome
    git, precision = _mapping(meta.get("git")), _mapping(meta.get("precision"))
    features = _mapping(meta.get("features"))
    commit = git.get("commit")
    rows: list[tuple[str, Any]] = [
        ("run", run.name),
        ("config", f"{run.experiment.name}, seed {run.experiment.seed}"),
        ("command", " ".join(map(str, _items(meta.get("argv"))))),
        ("changed", ", ".join(map(str, _items(meta.get("overrides"))))),
        ("data", f"{run.competition.title} ({run.competition.slug})"),
        ("store", _short_hash(meta.get("store_fingerprint"))),
        ("validation split", _short_hash(meta.get("split_hash"))),
        ("folds", _short_hash(meta.get("folds_hash"))),
        ("features of", features.get("model")),
        ("licence", features.get("licence")),
        ("leaks", "; ".join(map(str, _items(meta.get("leaks"))))),
        ("pcam-kit", meta.get("pcam_kit")),
        (
            "git commit",
            f"{commit}{', changed since' if git.get('dirty') else ''}" if commit else "",
        ),
        ("Python", meta.get("python")),
        ("system", meta.get("platform")),
        ("backend", meta.get("backend")),
        ("device", meta.get("device")),
        ("devices", meta.get("devices")),
        ("precision", _precision(precision)),
        ("packages", ", ".join(f"{k} {v}" for k, v in _mapping(meta.get("packages")).items())),
        ("sources", _compact(meta.get("sources"))),
        ("teachers", _compact(meta.get("teachers"))),
        ("members", _compact(meta.get("members"))),
        ("started", _time(meta.get("started"))),
        ("resumed", ", ".join(_time(time) for time in _items(meta.get("resumed")))),
        ("ended", _time(meta.get("ended"))),
        ("training took", duration(result.seconds) if result.seconds else ""),
        ("epochs", f"{result.epochs}, best {result.best_epoch}" if result.epochs else ""),
        ("model (SHA-256)", _short_hash(meta.get("model_sha256"))),
    ]
    return [(name, _cut(value)) for name, value in rows if value not in (None, "")]


def commands(contents: Contents) -> list[str]:
    """The commands that make these runs and this report again."""
    first = contents.runs[0].run
    lines: list[str] = []
    commit = _mapping(first.meta.get("git")).get("commit")
    if isinstance(commit, str):
        lines.append(f"git checkout {commit}")
    if isinstance(version := first.meta.get("pcam_kit"), str) and commit is None:
        lines.append(f'pip install "pcam-kit=={version}"')
    stain = first.experiment.data.stain
    fetch = f"pcam fetch {first.competition.slug}"
    lines.append(fetch if stain is None else f"{fetch} --stain {stain}")
    for part in contents.runs:
        if command := _mapping(part.run.meta.get("features")).get("command"):
            lines.append(str(command))
        lines.append(_training_command(part.run))
    return [*lines, contents.command]


def _training_command(run: Run) -> str:
    """The command that trains a run again: by the config that lies in its folder."""
    match run.experiment.model:
        case External():
            return f"pcam import --valid FILE --name {run.experiment.name}"
        case Probe(features=features, head=head):
            return f"pcam probe {features} --head {head} --name {run.experiment.name}"
        case _:
            pass
    folder = Path(run.path.parent.name) / run.name  # not the whole path: reports are passed on
    return f"pcam train {shell_word(folder / 'config.yaml')}"


def _precision(precision: dict[str, Any]) -> str:
    if not precision:
        return ""
    text = str(precision.get("used", ""))
    return f"{text} ({precision['why']})" if precision.get("why") else text


def _mapping(value: object) -> dict[str, Any]:
    """A mapping of meta.json, which people may have edited: `git`, `packages`, ..."""
    return value if isinstance(value, dict) else {}


def _items(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _short_hash(value: object) -> str:
    return f"{value[:16]}…" if isinstance(value, str) and value else ""


def _time(value: object) -> str:
    """`2026-11-26T08:56:08.467+00:00` as `2026-11-26 08:56 UTC`."""
    if not isinstance(value, str) or len(value) < 16:
        return ""
    return f"{value[:10]} {value[11:16]} UTC"


def _compact(value: object) -> str:
    return "" if not value else json.dumps(value, ensure_ascii=False)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def describe_map(saliency: Floats) -> str:
    """An occlusion map in words, for those who do not see it."""
    strongest = float(saliency.ravel()[np.abs(saliency).argmax()])
    row, column = np.unravel_index(np.abs(saliency).argmax(), saliency.shape)
    thirds = saliency.shape[0] / 3
    down = ("top", "middle", "bottom")[int(row // thirds)]
    across = ("left", "centre", "right")[int(column // thirds)]
    side = "for" if strongest > 0 else "against"
    return (
        f"occlusion map: the {down} {across} speaks most strongly {side} tumour, by "
        f"{abs(strongest):.2f} in log-odds"
    )


def effect(saliency: Floats) -> str:
    """The range of an occlusion map: `−0.3 to +1.2`, small ones with two decimals."""
    digits = 1 if np.abs(saliency).max() >= 1 else 2
    low, high = (f"{end + 0.0:+.{digits}f}" for end in (saliency.min(), saliency.max()))
    return f"{low} to {high}".replace("-", "−")
