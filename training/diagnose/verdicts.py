"""The verdicts as data: which numbers make each, where their limits are and why, and what to do.

A verdict holds when all the rules of one of its cases do. A rule on a number that a run does not
have never holds. The first verdict that holds is the cause, and is named first: what follows from
it (a generator without gradients leaves modes out) is named after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from training.diagnose.record import Finding, Metric

Name = Literal[
    "divergence",
    "oscillation",
    "vanishing gradients",
    "D overpowering",
    "memorisation",
    "undertrained",
    "mode collapse",
    "healthy",
]
HEALTHY: Name = "healthy"


@dataclass(frozen=True)
class Rule:
    """A number beyond a limit, and why the limit is there.

    ``over_real``: what counts is how far the number is above that of real pictures.
    """

    metric: str
    side: Literal["above", "below"]
    limit: float
    reason: str
    over_real: bool = False

    def holds(self, metrics: Mapping[str, Metric]) -> bool:
        """Whether the run has this number, beyond the limit."""
        if self.metric not in metrics:
            return False
        value = metrics[self.metric].value - self._real(metrics)
        return value > self.limit if self.side == "above" else value < self.limit

    def tell(self, metrics: Mapping[str, Metric]) -> str:
        """The number, its limit and the reason."""
        value, limit = metrics[self.metric].value, self.limit + self._real(metrics)
        return f"{self.metric} is {value:.3g}, {self.side} {limit:.3g}: {self.reason}"

    def _real(self, metrics: Mapping[str, Metric]) -> float:
        return (metrics[self.metric].reference or 0.0) if self.over_real else 0.0


@dataclass(frozen=True)
class Verdict:
    """A way in which training fails, the cases that show it, and what helps.

    ``first``: said only where no verdict before it holds; more time mends none of those.
    """

    name: Name
    cases: tuple[tuple[Rule, ...], ...]
    advice: tuple[str, ...]
    first: bool = False

    def finding(self, metrics: Mapping[str, Metric]) -> Finding | None:
        """Why it holds of these numbers, by the first case that does; None when none does."""
        for case in self.cases:
            if all(rule.holds(metrics) for rule in case):
                because = tuple(rule.tell(metrics) for rule in case)
                return Finding(verdict=self.name, because=because, advice=self.advice)
        return None


SEPARATED = (
    Rule("accuracy_real", "above", 0.95, "D tells nearly every real picture"),
    Rule("accuracy_fake", "above", 0.95, "D tells nearly every generated picture"),
    Rule("jsd", "above", 0.55, "log 2 is 0.693: D is four fifths of the way to telling all"),
)

POOR = (
    Rule(
        "coverage",
        "below",
        0.08,
        "hardly a real picture has a generated one near it; real ones: 0.97, and at 1,000 samples "
        "the weakest of small games that had settled 0.11",
    ),
    Rule("near_fake", "above", 0.5, "while generated pictures differ, nearly as real ones do"),
)

VERDICTS: tuple[Verdict, ...] = (
    Verdict(
        "divergence",
        (
            (Rule("diverged", "above", 0, "a loss or a gradient was not finite, and it stopped"),),
            (
                Rule(
                    "loss_growth",
                    "above",
                    100,
                    "a game that goes on keeps its losses within a few times of what they were",
                ),
            ),
        ),
        (
            "lower the learning rates (--set recipe.g_optimizer.lr=...), tenfold at first",
            "use float32 (--set schedule.precision=float32)",
            "bound D: recipe.r1, or recipe.d_norm=spectral where there is one",
            "leave objectives whose cost has no bound (maximum_likelihood)",
        ),
    ),
    Verdict(
        "oscillation",
        (
            (
                Rule(
                    "swings",
                    "above",
                    3.5,
                    "D could tell, then could not, and then could: the two chase each other; in "
                    "games that settle it does not turn so far",
                ),
            ),
        ),
        (
            "lower both learning rates, and beta1 to 0 or 0.5: momentum feeds the rotation",
            "damp D: recipe.r1 and recipe.r2, with the relativistic objective",
            "take turns: recipe.updates=alternating",
            "let the rates fall to zero: decay_from=0.5 of both optimisers; longer ema_kimg",
        ),
    ),
    Verdict(
        "vanishing gradients",
        (
            (
                *SEPARATED,
                Rule(
                    "gradient_left",
                    "below",
                    0.02,
                    "the generator's slope is gone; in games that go on a tenth or more is left",
                ),
            ),
        ),
        (
            "change the cost of G: recipe.objective=nonsaturating or relativistic",
            "fewer steps of D (recipe.d_steps=1), or a lower rate for it",
            "keep D smooth: recipe.r1 above 0, or recipe.d_norm=spectral where there is one",
        ),
    ),
    Verdict(
        "D overpowering",
        (
            (
                *SEPARATED,
                Rule("precision", "below", 0.25, "and G makes hardly one picture like a real one"),
            ),
            (
                Rule("accuracy_real", "above", 0.99, "D tells every real picture"),
                Rule("accuracy_fake", "above", 0.99, "D tells every generated picture"),
                Rule(
                    "precision",
                    "below",
                    0.05,
                    "and G makes none like a real one; how sure D is may not show: hinge and "
                    "least squares have no slope past logits of 1 and 1/2, a jsd of 0.38 and 0.22",
                ),
            ),
        ),
        (
            "fewer steps of D (recipe.d_steps=1), or a lower rate for it than for G",
            "keep D smooth: recipe.r1 above 0, or recipe.d_norm=spectral where there is one",
            "a smaller D (fewer units or channels), or a higher rate for G",
        ),
    ),
    Verdict(
        "memorisation",
        (
            (
                Rule(
                    "copies",
                    "above",
                    0.2,
                    "so many more generated pictures than real ones are all but training pictures",
                    over_real=True,
                ),
                Rule("missing_share", "below", 0.25, "and of all kinds: not one picture for all"),
            ),
        ),
        (
            "more training pictures, or fewer thousands of images (schedule.kimg)",
            "a smaller generator, and a smaller D: it is D that learns the pictures by heart",
            "stronger recipe.r1 and recipe.r2",
        ),
    ),
    Verdict(
        "undertrained",
        (
            (
                Rule(
                    "trained",
                    "below",
                    0.5,
                    "less than half of the schedule: what is missing or poor may still come",
                ),
            ),
            (*POOR, Rule("missing_share", "below", 0.25, "and of all kinds")),
            (*POOR, Rule("precision", "below", 0.25, "hardly one is like a real one")),
        ),
        (
            "go on, if it was stopped: ganymede resume RUN",
            "else train longer (--set schedule.kimg=...), fivefold at first",
            "where longer does not help: a higher rate for both, or larger networks",
        ),
        first=True,
    ),
    Verdict(
        "mode collapse",
        (
            (
                Rule(
                    "missing_share",
                    "above",
                    0.25,
                    "so much of the data is of kinds that are never made; real pictures: 0",
                ),
            ),
            (
                Rule(
                    "near_fake",
                    "below",
                    0.2,
                    "generated pictures are near copies of each other; real ones: 1",
                ),
            ),
        ),
        (
            "let D see a batch as a whole: dcgan's minibatch_deviation, minibatch_kernels, packing",
            "pair real with generated: recipe.objective=relativistic with r1 and r2",
            "a lower rate for G, or a higher one for D: G moves to where D was",
            "a longer latent vector (recipe.latent), and larger batches",
        ),
    ),
)


def judge(metrics: Mapping[str, Metric]) -> tuple[Finding, ...]:
    """What holds of a run, the cause first; one finding, healthy, when nothing does."""
    found: list[Finding] = []
    for verdict in VERDICTS:
        finding = verdict.finding(metrics)
        if finding is not None and not (verdict.first and found):
            found.append(finding)
    return tuple(found) or (Finding(verdict=HEALTHY, because=("no rule of any other holds",)),)
