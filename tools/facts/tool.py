"""The tool that answers questions about the work from the project's own files. Reads only."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from tools.facts.clips import caption_facts, clip_facts, enough_facts
from tools.facts.costs import cost_facts
from tools.facts.delivery import licence_facts, use_facts
from tools.facts.lines import FactsError
from tools.facts.values import change_facts, value_facts
from tools.project import Progress, Project
from tools.spec import Tool
from trainer_core.strict import Strict

Topic = Literal["costs", "values", "changes", "clips", "enough", "captions", "use", "licence"]


class FactsArguments(Strict):
    """The topic asked about."""

    topic: Topic
    name: Annotated[
        str | None,
        Field(description="One value of the plan, one kind of cost, or a clip's number or name; null: all of them."),
    ] = None


class FactsResult(Strict):
    """Sentences that are true of the project now: tell the user those that answer them."""

    topic: Topic
    facts: list[str]


def project_facts(
    project: Project,
    arguments: FactsArguments,
    _progress: Progress | None = None,
) -> FactsResult:
    """Answer a question from the project's files: what training costs, why a value was chosen, what was changed,
    which clips train, whether they are enough, what captions say, how the adapter is used, which licences apply.
    """
    try:
        facts = _TOPICS[arguments.topic](project, arguments.name)
    except FactsError as error:  # that nothing is known yet is an answer too, and no failure
        facts = [line for line in (error.message, error.hint) if line]
    return FactsResult(topic=arguments.topic, facts=facts)


_TOPICS: dict[Topic, Callable[[Project, str | None], list[str]]] = {
    "costs": cost_facts,
    "values": value_facts,
    "changes": change_facts,
    "clips": clip_facts,
    "enough": enough_facts,
    "captions": caption_facts,
    "use": use_facts,
    "licence": licence_facts,
}
FACTS_TOOL = Tool("project_facts", project_facts, FactsArguments)
