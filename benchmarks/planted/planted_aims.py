"""What planted worlds ask of our protocol, and whether it is met: misses stay in the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from planted_rules import OURS
from planted_tables import Mean, mean_of, ratio_of

__all__ = ["Aim", "aims_of", "format_aims"]

Q = 0.05
#: Least power of clear and of sub-concept links in proteins, and of clear ones in weather.
CLEAR, SUB, WEATHER = 0.93, 0.60, 0.95
COVERAGE = (0.93, 0.97)
PRECISION, RECALL = 0.97, 0.95

Found = dict[str, Any]


class Aim(NamedTuple):
    """One number that is asked for.

    Attributes
    ----------
    world, what : str
        Where, and what of.
    low, high : float
        What it shall be.
    found : Mean
        What it is.
    slack : float
        Standard errors by which it may be beyond.
    """

    world: str
    what: str
    low: float
    high: float
    found: Mean
    slack: float = 0.0

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or ``missed, within two standard errors``."""
        value, error = self.found.value, np.nan_to_num(self.found.error)
        away = max(self.low - value, value - self.high)
        if away <= self.slack * error:
            return "met"
        return "**missed**" + (", within two standard errors" if away <= 2 * error else "")

    @property
    def text(self) -> str:
        """What is asked for, in words."""
        if self.low <= 0:
            return f"at most {self.high:g}" + (" and two standard errors" if self.slack else "")
        return f"{self.low:g} or more" if self.high >= 1 else f"{self.low:g} to {self.high:g}"


def aims_of(world: str, title: str, found: list[Found]) -> Iterator[Aim]:
    """Yield what is asked of one world's replicates.

    Parameters
    ----------
    world
        Key of the world; weather asks for other powers than proteins.
    title
        Its name in the table.
    found
        Its replicates.
    """
    if "sources" in found[0]:
        yield from _of_autoencoders(title, found)
        return
    scores = [one["rules"][OURS] for one in found]
    if "intervals" not in found[0]:
        fired = float(np.mean([score["n_calls"] > 0 for score in scores]))
        nominal = float(np.sqrt(Q * (1 - Q) / len(found)))
        yield Aim(title, "runs with a call", 0, Q, Mean(fired, nominal), 2)
        return
    rate = mean_of(score["n_false"] / max(score["n_calls"], 1) for score in scores)
    yield Aim(title, "FDR", 0, Q, rate, 2)
    asked = {"clear": WEATHER} if "weather" in world else {"clear": CLEAR, "sub-concept": SUB}
    for kind, least in asked.items():
        power = ratio_of(
            (score["own"].get(kind, 0), one["planted"][kind])
            for score, one in zip(scores, found, strict=True)
        )
        yield Aim(title, f"power, {kind}", least, 1, power)
    for measure in found[0]["intervals"]:
        covered = ratio_of(one["intervals"][measure] for one in found)
        yield Aim(title, f"coverage, {measure}", *COVERAGE, covered)
    of = [one["candidates"]["gates"] for one in found if "candidates" in one]
    if of:
        precision = ratio_of((one["n_right"], one["n_listed"]) for one in of)
        recall = ratio_of((one["n_right"], one["n_planted"]) for one in of)
        yield Aim(title, "candidates, precision", PRECISION, 1, precision)
        yield Aim(title, "candidates, recall", RECALL, 1, recall)


def _of_autoencoders(title: str, found: list[Found]) -> Iterator[Aim]:
    main = [next(iter(one["sources"].values())) for one in found]
    rate = mean_of(one["n_false"] / max(one["n_calls"], 1) for one in main)
    yield Aim(title, "FDR", 0, Q, rate, 2)
    learned = [one["learned"] for one in found]
    precision = ratio_of((one["n_right"], one["n_listed"]) for one in learned)
    recall = ratio_of((one["n_hidden_listed"], one["n_hidden"]) for one in learned)
    yield Aim(title, "candidates, precision", PRECISION, 1, precision)
    yield Aim(title, "candidates, recall", RECALL, 1, recall)


def format_aims(worlds: Mapping[str, list[Found]], titles: Mapping[str, str]) -> list[str]:
    """Return the table of aims, as lines of Markdown."""
    lines = ["| world | number | asked | measured | |", "|---" * 5 + "|"]
    for world, found in worlds.items():
        for aim in aims_of(world, titles[world], found):
            cells = (aim.world, aim.what, aim.text, str(aim.found), aim.verdict)
            lines.append(f"| {' | '.join(cells)} |")
    return lines
