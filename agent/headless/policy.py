"""policy.yaml: what a run without a person may do. Every approval it permits is named, every budget is a limit.

    approvals: [captions, inputs, plan, start]
    budgets: {gpu_hours: 2, disk_gb: 20, tokens: 50000, money: 5}

What isn't named is refused, and a cost that nobody knows beforehand is watched while it grows.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from agent.llm.settings import Budget
from agent.session.events import Approval, Question
from trainer_core.errors import ConfigError
from trainer_core.strict import Strict

GB = 10**9
Limit = Annotated[float, Field(gt=0)]


class Budgets(Strict):
    """Limits of one run of the pipeline; None sets none. `money` covers the language model and the GPU's time."""

    gpu_hours: Limit | None = None
    disk_gb: Limit | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    money: Limit | None = None


class Policy(Strict):
    """The permitted approvals by name, the budgets, and what follows when memory runs out.

    `out_of_memory: next_rung` lets a run that ran out go on with the saving its trainer offers (`resume` must be
    permitted too), and a plan that didn't fit its rehearsal take the switches it lacked (`change` must be).
    `incomplete_samples: leave_out` lets the plan train without samples that lack an input of the objective, by name.
    """

    approvals: list[Approval] = []
    budgets: Budgets = Budgets()
    out_of_memory: Literal["stop", "next_rung"] = "stop"
    incomplete_samples: Literal["refuse", "leave_out"] = "refuse"

    def refusal(self, question: Question, spent_money: float = 0.0) -> str:
        """Return why the policy doesn't give this approval; empty when it does."""
        if question.approval not in self.approvals:
            return (
                f"the policy doesn't permit `{question.approval}` (it permits: {', '.join(self.approvals) or 'none'})"
            )
        for cost in question.costs:
            limit = self._limit(cost.kind)
            spent = spent_money if cost.kind == "money" else 0.0
            if limit is not None and cost.value is not None and cost.value + spent > limit:
                return f"it would cost {cost.text}, more than the policy's {self._named(cost.kind)}"
        return ""

    def model_budget(self) -> Budget:
        """Return the budget of the chat model."""
        return Budget(tokens=self.budgets.tokens, money=self.budgets.money)

    def overrun(self, seconds: float, disk_bytes: int) -> str:
        """Return the limit that a run has grown over; empty while it keeps all."""
        hours, disk = self.budgets.gpu_hours, self.budgets.disk_gb
        if hours is not None and seconds > hours * 3600:
            return f"training took {seconds / 3600:.2f} h, the policy permits {hours:g} GPU-hours"
        if disk is not None and disk_bytes > disk * GB:
            return f"the project takes {disk_bytes / GB:.2f} GB, the policy permits {disk:g} GB"
        return ""

    def _limit(self, kind: str) -> float | None:
        budgets = self.budgets
        hours, disk = budgets.gpu_hours, budgets.disk_gb
        limits = {
            "time": hours * 3600 if hours is not None else None,
            "disk": disk * GB if disk is not None else None,
            "money": budgets.money,
        }
        return limits.get(kind)

    def _named(self, kind: str) -> str:
        budgets = self.budgets
        names = {"time": f"{budgets.gpu_hours} GPU-hours", "disk": f"{budgets.disk_gb} GB", "money": f"{budgets.money}"}
        return names[kind]


def load_policy(path: Path) -> Policy:
    """Read a policy file. Raises ConfigError naming the wrong key: a misspelt permission must not pass as none."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return Policy.model_validate(values)
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no policy file {path}.", "Name the approvals and budgets of the run in one."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} can't be read: {' '.join(str(error).split())}.", "Correct it.") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"{path} is no policy: {faults}.", "See examples/ci/policy.yaml.") from error
