"""What configurations can compute: resolvers of their own, registered by importing this module, which takes no time."""

from __future__ import annotations

from omegaconf import ListConfig, OmegaConf

from benchmarks.inputs.places import check_name, run_folder


def join(values: ListConfig) -> str:
    """``${join:${models}}``: a list as choices of a sweep."""
    return ",".join(map(str, values))


def axes(points: int, *names: str) -> str:
    """``${axes:21,alpha_step,fc}``: choices of ``variation`` that sweep each hyper-parameter alone over 0 to 1."""
    return ",".join(f"{{{name}: {i / max(points - 1, 1):.6g}}}" for name in names for i in range(points))


OmegaConf.register_new_resolver("check_name", check_name, replace=True)
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("join", join, replace=True)
OmegaConf.register_new_resolver("axes", axes, replace=True)
