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


def add(*values: int) -> int:
    """``${add:${passes},-1}``: a sum of whole numbers."""
    return sum(values)


def half(value: int) -> int:
    """``${half:${passes}}``: rounded down."""
    return value // 2


def at_least(least: int, value: int) -> int:
    """``${at_least:100,${passes}}``: the larger of the two."""
    return max(least, value)


def last_part(path: str) -> str:
    """``${last_part:${.checkpoint}}``: of a path or another name with slashes, so that a result is of the same model wherever it lies."""
    return path.rstrip("/").rsplit("/", 1)[-1]


OmegaConf.register_new_resolver("last_part", last_part, replace=True)
OmegaConf.register_new_resolver("add", add, replace=True)
OmegaConf.register_new_resolver("half", half, replace=True)
OmegaConf.register_new_resolver("at_least", at_least, replace=True)
OmegaConf.register_new_resolver("check_name", check_name, replace=True)
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("join", join, replace=True)
OmegaConf.register_new_resolver("axes", axes, replace=True)
