"""Two examples of every command: the end of its --help, also in docs/cli.md."""

from __future__ import annotations

# by the command's words; each: what is typed, and what it is for; a test parses them
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "demo": (
        ("pcam demo", "everything in the folder demo/"),
        ("pcam demo --json", "for a script"),
    ),
    "fetch": (
        ("pcam fetch tnm-112-lab-2-2024", "from Kaggle; needs an account"),
        ("pcam fetch pcam --download", "from its public home; needs no account"),
    ),
    "shift": (
        ("pcam shift", "the data fetched last"),
        ("pcam shift pcam --stain macenko", "with normalised stain"),
    ),
    "leaks": (
        ("pcam leaks", "within and across all data that was fetched"),
        ("pcam leaks pcam --list 10", "of one competition, with ten pairs"),
    ),
    "train": (
        ("pcam train lab --set training.epochs=3", "a shipped config with one change"),
        ("pcam train --resume", "resume the run that was stopped last"),
    ),
    "sweep": (
        ("pcam sweep rates.yaml", "on this machine"),
        ("pcam sweep rates.yaml --ray auto --trials 200", "on a cluster"),
    ),
    "kaggle-run": (
        ("pcam kaggle-run pcam96-p4m", "for the competition fetched last, on a GPU"),
        ("pcam kaggle-run lab --accelerator none --no-wait", "on a CPU; look at it later"),
    ),
    "embed": (
        ("pcam embed --model EfficientNetLite0", "ImageNet's features of the data fetched last"),
        ("pcam embed --model UNI --views d4", "a model of pathology, all symmetries"),
    ),
    "probe": (
        ("pcam probe", "logistic regression on the newest features"),
        ("pcam probe UNI --head mlp --name uni", "a small network on those of UNI"),
    ),
    "evaluate": (
        ("pcam evaluate", "the newest run on the validation patches"),
        ("pcam evaluate 3f2a 91bc", "two runs compared, by the ends of their names"),
    ),
    "benchmark": (
        ("pcam benchmark pcam", "the default network, five seeds"),
        ("pcam benchmark mle-bench --config pcam96 --seeds 1", "a quick network, once"),
    ),
    "plot": (
        ("pcam plot curves", "loss, accuracy and AUC of the newest run"),
        ("pcam plot roc 3f2a 91bc --out roc.pdf", "two runs in one figure, for a paper"),
    ),
    "errors": (
        ("pcam errors --out wrong.csv", "of the newest run, for a spreadsheet"),
        ("pcam errors 3f2a --split test", "where the labels of test are known"),
    ),
    "report": (
        ("pcam report --open", "the newest run, in the browser"),
        ("pcam report 3f2a 91bc --out both.html", "two runs side by side"),
    ),
    "predict": (
        ("pcam predict", "the newest run on the test patches"),
        ("pcam predict 3f2a 91bc --weights fitted", "two runs combined"),
    ),
    "apply": (
        ("pcam apply 3f2a slide.tif --pixel-size 0.25", "a slide scanned at 40x"),
        ("pcam apply 3f2a patches/ --out answers.csv", "a folder of patches"),
    ),
    "submit": (
        ("pcam submit --dry-run", "check the newest CSV, send nothing"),
        ("pcam submit submissions/lab.csv -m 'three seeds'", "send this one, with a note"),
    ),
    "export": (
        ("pcam export --format onnx", "the newest run, for ONNX Runtime"),
        ("pcam export 3f2a --format keras --out model", "one file for Keras, into a new folder"),
    ),
    "runs": (
        ("pcam runs", "the best first"),
        ("pcam runs --sort newest --most 5", "the last five"),
    ),
    "show": (
        ("pcam show", "the newest run"),
        ("pcam show 3f2a --json", "one by the end of its name, for a script"),
    ),
    "submissions": (
        ("pcam submissions --refresh", "with the scores that Kaggle has by now"),
        ("pcam submissions --csv > scores.csv", "for a spreadsheet"),
    ),
    "config": (
        ("pcam config training.learning_rate", "one setting"),
        ("pcam config augment", "all settings of a part"),
    ),
    "doctor": (
        ("pcam doctor", "what is wrong, and what solves it"),
        ("pcam doctor pcam --offline", "for one competition, without the network"),
    ),
    "import": (
        ("pcam import --valid valid.csv --test test.csv", "answers of another program"),
        ("pcam import --valid valid.npz --name resnet18", "those of validation only, named"),
    ),
    "lab layers": (
        ("pcam lab layers --from digits", "a small network, without a download"),
        ("pcam lab layers 3f2a", "the network of a run"),
    ),
    "lab mnist": (
        ("pcam lab mnist --from digits --runs 2", "twice, without a download"),
        ("pcam lab mnist --ablation", "what each regulariser contributes"),
    ),
    "lab pcam": (
        ("pcam lab pcam --seeds 3", "each recipe with three seeds"),
        ("pcam lab pcam pcam --set training.epochs=2", "a quick try"),
    ),
}


def epilog(words: str) -> str:
    """The examples of a command as the last lines of its help; "" where there are none.

    `\\b` keeps the lines as they are.
    """
    lines = [
        line
        for command, purpose in EXAMPLES.get(words, ())
        for line in (f"  # {purpose}", f"  {command}")
    ]
    return "\n".join(["\b", "Examples:", *lines]) if lines else ""
