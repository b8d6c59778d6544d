"""The trainer, checkpoints, and training methods, one file each."""

from robustbench_ens.training.method import Batch, Context, Method

__all__ = ["Batch", "Context", "Method"]
