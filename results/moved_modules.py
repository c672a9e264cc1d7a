"""Names that functions had before: records and configurations keep working when a module moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METHODS = ["cam", "extremal_perturbation", "gradcam", "gradient", "guided_backprop", "integrated_gradients", "occlusion"]
METHODS += ["references", "rise"]
MEASURES = ("insertion", "mar", "pointing", "rise_metrics", "sufficiency")

MOVED_MODULES = {  # the module that a function was found in: the package that it is found in now
    **{f"baselines.{name}": "baselines" for name in METHODS},
    **{f"benchmarks.{name}": "benchmarks.measures" for name in MEASURES},
    **{f"benchmarks.{name}": "results.artefacts" for name in ("artefacts", "beyond", "galleries")},
    **{f"da.{name}": "da" for name in ("minimal", "minimal_by_score", "walk")},
    "benchmarks.datasets": "benchmarks.data",
}


def current_name(target: str) -> str:
    """The dotted name by which a function is found now."""
    module, _, name = target.rpartition(".")
    return f"{MOVED_MODULES[module]}.{name}" if module in MOVED_MODULES else target


def with_current_names(node: Any) -> Any:
    """A configuration as plain Python, with the current name of each function (``_target_``) in it."""
    if isinstance(node, Mapping):
        return {
            name: current_name(value) if name == "_target_" and isinstance(value, str) else with_current_names(value)
            for name, value in node.items()
        }
    return [with_current_names(one) for one in node] if isinstance(node, list | tuple) else node
