"""How well each network does on the same patches: python benchmarks/quality.py --data-dir DIR
[--runs-dir DIR] [--seeds N] [--there].

Trains every shipped config, networks as users of this benchmark write them, and the plain networks
that the equivariant ones are to be compared with, `--seeds` times each; runs that are finished are
used again. Then writes docs/quality.md, where a row stays as it was if it reports more runs than
are here, or as many on a CPU where these are of a GPU. `--there` trains nothing: it writes the table of the runs that are finished. `--only WORD`
trains just the contestants whose name has WORD. DIR has stores of PCam's patches:
`tnm-112-lab-2-2024` (32 px), `pcam` (96 px), or one of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import pcam_kit as pcam
from pcam_kit.cli.console import show_messages
from pcam_kit.config.schema import Ensemble
from pcam_kit.data.store import Store
from pcam_kit.display import ConsoleDisplay
from pcam_kit.errors import DataError
from pcam_kit.evaluation.crossfit import cross_fit
from pcam_kit.evaluation.ensemble import combine
from pcam_kit.formatting import duration, mean_sd
from pcam_kit.metrics import roc_auc
from pcam_kit.run_folders import Predictions, Result, Run
from pcam_kit.training.backend import quiet_import
from pcam_kit.workflows.distillation import teacher_seconds
from pcam_kit.workflows.train import find_runs
from pcam_kit.workspace import Workspace

PAGE = Path(__file__).resolve().parents[1] / "docs" / "quality.md"
# the training of an equivariant network for a plain one, with what that other does by itself
PLAIN32 = (
    "model={name: resnet, dropout: 0.2}",
    "training.most_patches=null",
    "augment.d4=true",
    "evaluation.tta=d4-shifts",
)
PLAIN96 = (
    "model={name: resnet, stem_stride: 2, pool: centre, dropout: 0.2}",
    "training.most_patches=null",
    "augment.d4=true",
    "evaluation.tta=d4-turns",
)
JITTER = (
    "{brightness: [0.8, 1.2], contrast: [0.8, 1.2], saturation: [0.8, 1.2], hue: [-0.05, 0.05]}"
)
STUDENT = (
    "training={epochs: 25, batch_size: 128, optimizer: adamw, learning_rate: 1e-3, schedule: "
    "cosine, weight_decay: 0.01}",
    f"augment.transforms=[{{name: ColorJitter, p: 0.8, options: {JITTER}}}]",
)


@dataclass(frozen=True)
class Contestant:
    """A network and its training: a config with changes."""

    name: str
    config: str
    changes: tuple[str, ...] = ()


CONTESTANTS = {
    "tnm-112-lab-2-2024": (
        Contestant("the lab notebook's CNN, `lab-notebook`", "lab-notebook"),
        Contestant("the report's recipe, `lab-report`", "lab-report"),
        Contestant(
            "a ResNet as students write it",
            "lab",
            ("model={name: resnet, widths: [32, 64, 128], dropout: 0.0}", *STUDENT),
        ),
        Contestant("`lab`", "lab"),
        Contestant("`lab-lite0`, from ImageNet's weights", "lab-lite0"),
        Contestant("`lab-p4m-small`", "lab-p4m-small"),
        Contestant("`lab-p4m`", "lab-p4m"),
        Contestant("**`lab-distilled`**, the default, taught by the two above", "lab-distilled"),
        Contestant(
            "plain network of equal parameters, trained as `lab-p4m`",
            "lab-p4m",
            (*PLAIN32, "model.widths=[11, 22, 45, 90]"),
        ),
        Contestant(
            "plain network of equal compute, trained as `lab-p4m` at half its rate",
            "lab-p4m",
            (*PLAIN32, "model.widths=[32, 64, 128, 256]", "training.learning_rate=3e-3"),
        ),
    ),
    "pcam": (
        Contestant(
            "a ResNet as students write it",
            "pcam96",
            (
                "model={name: resnet, widths: [32, 64, 128, 128], stem_stride: 2, dropout: 0.0}",
                *STUDENT,
                "training.epochs=16",
                "training.batch_size=64",
            ),
        ),
        Contestant("`pcam96`", "pcam96"),
        Contestant("`pcam96-p4m`", "pcam96-p4m"),
        Contestant(
            "**`pcam96-p4m-wide`**, the default without ImageNet's weights", "pcam96-p4m-wide"
        ),
        Contestant("`pcam96-lite0`, from ImageNet's weights", "pcam96-lite0"),
        Contestant("**`pcam96-lite2`**, the default with ImageNet's weights", "pcam96-lite2"),
        Contestant(
            "plain network of equal parameters, trained as `pcam96-p4m`",
            "pcam96-p4m",
            (*PLAIN96, "model.widths=[11, 22, 45, 90]"),
        ),
        Contestant(
            "plain network of equal compute, trained as `pcam96-p4m` at half its rate",
            "pcam96-p4m",
            (*PLAIN96, "model.widths=[32, 64, 128, 256]", "training.learning_rate=2e-3"),
        ),
    ),
}
# what each table shows, and the ensemble of its networks
VERDICTS = {
    "tnm-112-lab-2-2024": """\
Networks with the symmetries built in do best, the more so when they learn from each other.
ImageNet's features bring nothing here.""",
    "pcam": """\
ImageNet's features are worth more than anything else, in less time. Beside an equivariant network,
which errs on other patches, they do best.""",
}
ENSEMBLES = {"tnm-112-lab-2-2024": "best32", "pcam": "best96"}
TITLES = (
    "| network | parameters | AUC | accuracy, threshold from other patches | accuracy at 0.5 | "
    "runs | time a run |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def main() -> None:
    """Train what is missing, then write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--there", action="store_true")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    show_messages()
    workspace = Workspace(data=arguments.data_dir, runs=arguments.runs_dir)
    parts = [HEAD]
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    # the others are of benchmarks/growth.py
    tables, others = sections[: len(CONTESTANTS)], sections[len(CONTESTANTS) :]
    for (slug, contestants), section in zip(CONTESTANTS.items(), tables, strict=True):
        try:
            store = workspace.store(slug)
        except DataError as error:
            print(f"its table stays as it was: {error.message}")
            parts.append(f"## {section}")
            continue
        runs = {one.name: _runs(one, store, workspace, arguments) for one in contestants}
        parts.append(_section(store, runs, f"## {section}"))
    parts += [f"## {section}" for section in others]
    PAGE.write_text("\n".join(parts), encoding="utf-8", newline="\n")
    print(PAGE)


def _runs(
    one: Contestant, store: Store, workspace: Workspace, arguments: argparse.Namespace
) -> list[Run]:
    overrides = [*one.changes, f"competition={store.profile.slug}"]
    if not arguments.there and arguments.only in one.name:
        series = pcam.train_series(
            one.config,
            seeds=arguments.seeds,
            overrides=overrides,
            seed=0,
            workspace=workspace,
            display=ConsoleDisplay(),
        )
        return list(series.runs)
    finished: list[Run] = []
    for seed in range(arguments.seeds):
        experiment = pcam.load_config(one.config, overrides, seed=seed)
        runs = find_runs(experiment, store, workspace)
        finished += [run for run in runs if run.result is not None][-1:]
    return finished


def _section(store: Store, runs: dict[str, list[Run]], before: str) -> str:
    """The table of one store.

    Of the one `before`, if it was of as many patches, rows of more runs than are here are kept.
    """
    splits, size = store.splits, store.images.shape[1]
    heading = (
        f"## {size}x{size} pixels: {splits['train'].n:,} training patches, "
        f"{splits['valid'].n:,} validation patches\n"
    )
    lines = before.splitlines() if before.startswith(heading) else []
    there = {line.split("|")[1].strip(): line for line in lines if "|" in line}
    rows = {name: _row(name, found, size) for name, found in runs.items() if found}
    default = next(name for name in runs if "default" in name)
    together, ensemble = f"mean of the logits of the runs of {default}", _ensemble(store)
    if len(runs[default]) > 1:
        rows[together] = _mean_row(together, [runs[default]])
    by_seed = _by_seed(store, runs)
    if by_seed:
        rows[ensemble] = _mean_row(ensemble, by_seed)
    either = (
        [one for one in (rows.get(name), there.get(name)) if one is not None]
        for name in (*runs, ensemble, together)
    )
    table = [max(told, key=_worth) for told in either if told]
    return "\n".join([heading, VERDICTS[store.profile.slug], "", *TITLES, *table, ""])


def _ensemble(store: Store) -> str:
    return f"`{ENSEMBLES[store.profile.slug]}`, the mean of their logits"


def _by_seed(store: Store, runs: dict[str, list[Run]]) -> list[list[Run]]:
    """The runs of the ensemble's members, those of one seed together, where none is missing."""
    ensemble = pcam.load_config(ENSEMBLES[store.profile.slug]).model
    assert isinstance(ensemble, Ensemble)
    configs = {member.config for member in ensemble.members}
    contestants = CONTESTANTS[store.profile.slug]
    members = [
        {run.experiment.seed: run for run in runs[one.name]}
        for one in contestants
        if one.config in configs and not one.changes
    ]
    seeds = set.intersection(*(set(found) for found in members))
    return [[found[seed] for found in members] for seed in sorted(seeds)]


def _worth(row: str) -> tuple[int, bool]:
    """More runs are better; then those whose time was taken on a CPU."""
    return int(row.split("|")[-3]), "GPU" not in row


def _row(name: str, found: list[Run], size: int) -> str:
    results = [run.outcome for run in found]
    crossed = [
        _crossed(_predicted(run), result) for run, result in zip(found, results, strict=True)
    ]
    cells = [
        f"{_parameters(found[0], size):,}",
        mean_sd([result.valid_auc for result in results]),
        mean_sd(crossed),
        mean_sd([result.valid_accuracy_at_half for result in results]),
        str(len(found)),
        duration(
            statistics.fmean(
                result.seconds + teacher_seconds(run)
                for run, result in zip(found, results, strict=True)
            )
        )
        + ("" if all(run.meta["device"] == "CPU" for run in found) else " on a GPU"),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _mean_row(name: str, groups: Sequence[Sequence[Run]]) -> str:
    """The row of the mean logit of each group of runs."""
    scores = [_mean_scores(runs) for runs in groups]
    count = sum(len(runs) for runs in groups)
    cells = [mean_sd(values) for values in zip(*scores, strict=True)]
    return f"| {name} | | {' | '.join(cells)} | {count} | |"


def _mean_scores(runs: Sequence[Run]) -> tuple[float, float, float]:
    """AUC, cross-fitted accuracy and accuracy at 0.5 of the mean logit of some runs."""
    made = [_predicted(run) for run in runs]
    mean = combine(
        np.stack([one.probability(run.outcome.tta) for one, run in zip(made, runs, strict=True)]),
        "logits",
    )
    labels = made[0].labels
    crossed = cross_fit(labels, mean, made[0].groups)
    accuracy = float("nan") if crossed is None else crossed.accuracy
    return roc_auc(labels, mean), accuracy, float(((mean >= 0.5) == labels).mean())


def _crossed(made: Predictions, result: Result) -> float:
    found = cross_fit(made.labels, made.probability(result.tta), made.groups)
    return float("nan") if found is None else found.accuracy


def _predicted(run: Run) -> Predictions:
    made = run.load_predictions("valid")
    assert made is not None  # a finished run has them
    return made


def _parameters(run: Run, size: int) -> int:
    with quiet_import():
        from pcam_kit.models import build_model
        from pcam_kit.models.task import Task
    return build_model(run.experiment.model, Task(run.experiment.data.crop or size)).count_params()


HEAD = """# How well the networks do

Written by `python benchmarks/quality.py`. Every network is trained and measured on the same
patches, without downloads. Rows of several runs give the mean ± sd over seeds.

- **All figures are optimistic, alike for all rows.** Everything was chosen on the validation
  patches, the best epoch included.
- **The standard error of one accuracy is about 0.008 or more.** 0.008 is its value for 2,407
  independent patches. Patches of one slide are not independent, and the slides are not known here.
  They are other slides than those of the training patches.
- **Most predictions are averages over views of a patch.** `lab-notebook` and `lab-report` see it
  once. The other plain networks see the 8 symmetries of the square (D4). The rotation- and
  reflection-equivariant networks (p4m) have these built in. They see 5 shifts (32x32) or 4 rotations
  (96x96).
- **The plain networks of equal parameters and of equal compute** are what the p4m networks are to
  be compared with. They have the training of the p4m network, with D4 as augmentation. They see the
  8 symmetries of its shifts or rotations. That of equal compute has half the learning rate, which
  suits it better at 32x32 (not measured at 96x96).
- **Times include those of the teachers.** They were not all measured under the same conditions.
  Most runs had one core, with the other one busy. The plain networks of equal parameters and of
  equal compute, the students' networks and `pcam96` had cores 1.3 to 1.8 times as fast.
- **`pcam96-lite0`, `pcam96-lite2` and the ensembles** were trained on a GPU that other trainings
  shared. On 2 CPU cores `pcam96-lite0` takes 9 minutes, `pcam96-lite2` about 21.

EXPERIMENTS.md has every experiment behind these tables, failures included.

![AUC of each network against its training time](pictures/quality.png)
"""

if __name__ == "__main__":
    main()
