"""The tools of delivery, which the monitor node offers beside its own: sample, export, push."""

from tools.deliver.export import ExportAdapterArguments, export_adapter, preview_export
from tools.deliver.hub import PushArguments, preview_push, push_to_hub
from tools.deliver.sample import SampleArguments, adapter_paths, condition_paths, sample_adapter
from tools.spec import Tool

DELIVER_TOOLS: list[Tool] = [
    Tool(
        "sample_adapter",
        sample_adapter,
        SampleArguments,
        paths={"adapters": adapter_paths, "conditions": condition_paths},
    ),
    Tool("export_adapter", export_adapter, ExportAdapterArguments, needs_approval="overwrite", preview=preview_export),
    Tool("push_to_hub", push_to_hub, PushArguments, needs_approval="push", preview=preview_push),
]
