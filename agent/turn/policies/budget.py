"""What the chat model may spend and has spent: tokens as the endpoint counts them, money by the settings' prices."""

import json
from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from agent.context import AgentContext
from agent.llm.choose import is_endpoint, name_of
from agent.turn.policies.compaction import CHARACTERS_A_TOKEN
from trainer_core.errors import ApprovalNeeded


def refuse_overspending(context: AgentContext, model: BaseChatModel) -> None:
    """Raise ApprovalNeeded when this conversation's budget is spent; rules cost nothing."""
    budget = context.settings.budget
    if context.store is None or not is_endpoint(model):
        return
    spent = context.store.spent(context.conversation)
    hint = "Raise it with /budget, or go on with the built-in planner."
    if budget.tokens is not None and spent.tokens >= budget.tokens:
        raise ApprovalNeeded(f"The budget of {budget.tokens} tokens is spent ({spent.tokens} used).", hint)
    if budget.money is not None and spent.money >= budget.money:
        currency = context.settings.prices.currency
        raise ApprovalNeeded(
            f"The budget of {budget.money:g} {currency} is spent ({spent.money:.2f} {currency} used).", hint
        )


def charge(context: AgentContext, model: BaseChatModel, messages: Sequence[BaseMessage], reply: AIMessage) -> None:
    """Write down what a reply cost; where the endpoint counts no tokens, they are estimated from the text."""
    if context.store is None or not is_endpoint(model):
        return
    usage = reply.usage_metadata
    if usage is not None:
        tokens_in, tokens_out = usage["input_tokens"], usage["output_tokens"]
    else:
        tokens_in = sum(len(message.text) for message in messages) // CHARACTERS_A_TOKEN
        tokens_out = (len(reply.text) + len(json.dumps(reply.tool_calls))) // CHARACTERS_A_TOKEN
    prices = context.settings.llm
    money = (
        tokens_in * (prices.price_per_million_input or 0) + tokens_out * (prices.price_per_million_output or 0)
    ) / 1e6
    context.store.spend(context.conversation, name_of(model), tokens_in, tokens_out, money)
