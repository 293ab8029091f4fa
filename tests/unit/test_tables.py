"""Tables as Markdown and LaTeX: what their syntax means is escaped."""

from __future__ import annotations

from pcam_kit.formatting import as_latex, as_markdown
from pcam_kit.metrics import Confusion


def test_markdown() -> None:
    text = as_markdown(["config", "AUC"], [["a|b\n", "0.9 ± 0.1"]])
    assert text == "| config | AUC |\n| --- | ---: |\n| a\\|b\\n | 0.9 ± 0.1 |\n"


def test_latex() -> None:
    text = as_latex(["config", "AUC"], [["lab_p4m & 50% \\x", "0.9 ± 0.1"]])
    assert text.splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"config & AUC \\",
        r"\midrule",
        r"lab\_p4m \& 50\% \textbackslash{}x & 0.9 $\pm$ 0.1 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_shares_of_a_confusion_matrix() -> None:
    counts = Confusion(tn=6, fp=2, fn=1, tp=3)
    assert (counts.sensitivity, counts.specificity) == (0.75, 0.75)
    assert (counts.precision, counts.f1, counts.accuracy) == (0.6, 6 / 9, 0.75)
    assert Confusion(tn=2, fp=0, fn=0, tp=0).sensitivity is None
    assert Confusion(tn=2, fp=0, fn=3, tp=0).precision is None
