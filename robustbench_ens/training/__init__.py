"""The trainer, checkpoints, and one file per training method."""

from robustbench_ens.training.method import Batch, Context, Method

__all__ = ["Batch", "Context", "Method"]
