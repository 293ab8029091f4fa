"""A report as one HTML page: Jinja2 templates with autoescape, everything inside the file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from pcam_kit import __version__
from pcam_kit.config.load import dump_yaml
from pcam_kit.data.shift import LIMIT, WORDS
from pcam_kit.evaluation.by_slide import SlideScore, score_slides
from pcam_kit.evaluation.intervals import count_slides
from pcam_kit.formatting import mean_sd
from pcam_kit.html_report import figures, sentences, tiles
from pcam_kit.html_report.contents import Contents, RunPart
from pcam_kit.html_report.thresholds import slider, threshold_row, threshold_rows
from pcam_kit.text import printable_lines

GENERATOR = "pcam-kit report"
# by which a report is recognised before it is replaced
MARK = f'<meta name="generator" content="{GENERATOR}">'.encode()
# Colours of the page and of the plots (`plots.to_svg`), as CSS variables.
LIGHT = """\
--paper: #fbfaf8; --card: #ffffff; --ink: #1f1c26; --muted: #5f5968; --rule: #e3dfe7;
--control: #8d8597; --accent: #67359c; --accent-soft: #c9b3e6; --accent2: #a92461;
--good: #2f7d5b; --focus: #67359c;"""
DARK = """\
--paper: #16141b; --card: #1e1b25; --ink: #ece9f1; --muted: #aaa3b5; --rule: #37323f;
--control: #7d7589; --accent: #c6a9f2; --accent-soft: #5d4585; --accent2: #f08fba;
--good: #72c9a0; --focus: #c6a9f2;"""


def render(contents: Contents) -> str:
    """The page. Names, ids and everything else from files are escaped."""
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    values = {
        "contents": contents,
        "generator": GENERATOR,
        "version": __version__,
        "style": Markup(_style()),
        "script": Markup(script),
        "script_hash": digest,
        "written": f"{contents.written[:10]} {contents.written[11:16]} UTC",
        "single": len(contents.runs) == 1,
        "names": [part.run.name for part in contents.runs],
        **_texts(contents),
        **_numbers(contents),
        **tiles.view(contents.galleries),
        **_origin(contents),
    }
    values["toc"] = _toc(contents, values)
    return _environment().get_template("page.html.j2").render(values)


def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalise,
        trim_blocks=True,
    )


def _finalise(value: Any) -> Any:
    """Text from elsewhere without control characters; markup of our own stays."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable_lines(value)


def _asset(name: str) -> str:
    """A file of `templates/`, also from a wheel."""
    folder = resources.files("pcam_kit.html_report") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def _style() -> str:
    style = _asset("style.css")
    for name, colours in (("light", LIGHT + figures.LIGHT), ("dark", DARK + figures.DARK)):
        style = style.replace(f"@@{name}@@", colours)
    return style


def _toc(contents: Contents, values: dict[str, Any]) -> list[tuple[str, str]]:
    entries = [
        ("result", "Result", True),
        ("differences", "Differences", len(contents.runs) > 1),
        ("thresholds", "Thresholds", True),
        ("training", "Training", bool(values["figures"]["curves"])),
        ("search", "Search", bool(contents.searches)),
        ("calibration", "Calibration", True),
        ("slides", "Slides", True),
        ("patches", "Patches", True),
        ("stain", "Stain", contents.stain is not None),
        ("origin", "How it was made", True),
        ("submissions", "Submissions", True),
    ]
    return [(id, title) for id, title, shown in entries if shown]


def _texts(contents: Contents) -> dict[str, Any]:
    first = contents.runs[0]
    run = first.run
    split = sentences.SPLITS[contents.split]
    fold = run.experiment.data.fold if contents.split != "test" else None
    if len(contents.runs) == 1:
        lede = f"{run.name} on the {split} patches of {run.competition.title}"
    else:
        lede = f"{len(contents.runs)} runs on the {split} patches of {run.competition.title}"
    if fold is not None:
        lede += f", fold {fold.index} of {fold.of}"
    return {
        "lede": lede,
        "measured_on": sentences.measured_on(contents),
        "how_sure": sentences.how_sure(contents),
        "where_chosen": sentences.where_chosen(contents, first),
        "views": sentences.views_averaged(first),
        "stain_text": _stain_text(contents),
        "stain_rows": [(name, name.replace("_sd", ", sd within a patch")) for name in WORDS],
    }


def _stain_text(contents: Contents) -> str:
    if contents.stain is None:
        return ""
    found = [sentence for drift in contents.stain.drifts for sentence in drift.sentences]
    if not found:
        return f"No split differs from train by more than {LIMIT} sd and what sampling explains."
    return f"{'; '.join(found).capitalize()}. The score on other patches may be lower for it."


def _numbers(contents: Contents) -> dict[str, Any]:
    labels, parts = contents.labels, contents.runs
    if len(parts) == 1:
        part = parts[0]
        threshold = part.scored.scores.threshold
        tables = [("", threshold_rows(labels, part.scored.probabilities, threshold))]
    else:
        rows = [
            threshold_row(
                part.run.name, labels, part.scored.probabilities, part.scored.scores.threshold
            )
            for part in parts
        ]
        tables = [("Each run at its own threshold", rows)]
    slides = _slides(contents)
    scored = contents.together if contents.together is not None else parts[0]
    lows = [
        low
        for part in parts
        for low, _ in (part.scored.intervals.auc, part.scored.intervals.accuracy)
    ]
    return {
        "low": 0.5 if min(lows) >= 0.5 else 0,
        "groups": _groups(parts),
        "slider": [
            slider(labels, part.scored.probabilities, part.scored.scores.threshold)
            for part in parts
        ],
        "threshold_tables": tables,
        "slides": [(_slide_name(score, contents.slide_names), score) for score in slides],
        "slides_of": "" if scored is parts[0] else "Those of all runs together.",
        "figures": figures.draw(contents, slides),
        "without_curves": [part.run.name for part in parts if not part.epochs],
        "without_temperature": [part.run.name for part in parts if part.temperature is None],
    }


def _slides(contents: Contents) -> list[SlideScore]:
    """Scores by slide, of all runs together where there are several, lowest accuracy first.

    Empty where the slides are not known.
    """
    if contents.groups is None or count_slides(contents.groups) is None:
        return []
    part = contents.runs[0] if contents.together is None else contents.together
    scores = score_slides(
        contents.labels,
        part.scored.probabilities,
        part.scored.scores.threshold,
        contents.groups,
    )
    return sorted(scores, key=lambda score: (score.accuracy, score.slide))


def _slide_name(score: SlideScore, names: Sequence[str]) -> str:
    """`3, tumor_007.tif`; the number where the store has no names. The plot has the number."""
    return f"{score.slide}, {names[score.slide]}" if score.slide < len(names) else str(score.slide)


def _groups(parts: Sequence[RunPart]) -> list[dict[str, Any]]:
    """Mean and sd of runs whose configs are equal but for seed and name."""
    found: dict[str, list[RunPart]] = {}
    for part in parts:
        recipe = part.run.experiment.recipe().model_dump_json()
        found.setdefault(recipe, []).append(part)
    return [
        {
            "name": group[0].run.experiment.name,
            "n": len(group),
            "auc": mean_sd([part.scored.scores.auc for part in group]),
            "accuracy": mean_sd([part.scored.scores.accuracy for part in group]),
        }
        for group in found.values()
        if len(group) > 1
    ]


def _origin(contents: Contents) -> dict[str, Any]:
    return {
        "provenance": [
            {
                "name": part.run.name,
                "rows": sentences.provenance_rows(part.run),
                "config": dump_yaml(part.run.experiment),
            }
            for part in contents.runs
        ],
        "commands": "\n".join(sentences.commands(contents)),
        "submissions": [
            {
                "csv": entry.file_name or entry.csv.replace("\\", "/").rpartition("/")[2],
                "runs": ", ".join(entry.runs),
                "status": entry.status,
                "public": entry.public_score,
                "private": entry.private_score,
                "valid": entry.valid_score,
                "sent": (entry.sent or "–")[:16].replace("T", " "),
            }
            for entry in contents.submissions
        ],
    }
