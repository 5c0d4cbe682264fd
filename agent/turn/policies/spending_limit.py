"""SpendingLimit: what the chat model may spend and has spent, tokens by the endpoint's count, money by set prices."""

import json

from langchain_core.language_models import BaseChatModel

from agent.context import AgentContext
from agent.llm.choose import is_endpoint, name_of
from agent.turn.policies.compaction import CHARACTERS_A_TOKEN
from agent.turn.turn import Request, Turn, TurnPolicy
from trainer_core.errors import ApprovalNeeded


class SpendingLimit(TurnPolicy[None]):
    """Refuses to ask a model whose budget is spent, and writes down what each reply cost; rules cost nothing."""

    def before_model(self, turn: Turn) -> Turn:
        if turn.reply is None and not turn.state.get("fallback"):
            refuse_overspending(turn.context, turn.context.model)
        return turn

    def after_model(self, turn: Turn) -> Turn:
        if turn.request is not None and not turn.state.get("fallback"):
            charge(turn.context, turn.context.model, turn.request)
        return turn


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


def charge(context: AgentContext, model: BaseChatModel, request: Request) -> None:
    """Write down what a reply cost; where the endpoint counts no tokens, they are estimated from the text."""
    if context.store is None or not is_endpoint(model):
        return
    messages, reply = request.messages, request.reply
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
