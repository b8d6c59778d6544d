"""Addressable layers for any network that can be traced: named nodes, through torchvision's feature extraction."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from robustbench_ens.errors import UserError


class NamedNodes(nn.Module):
    """A network whose layers 1, 2, ... are the named nodes; the last must be the logits.

    Args:
        network: maps normalised images ``(B, C, H, W)`` to logits; traceable by ``torch.fx``.
        nodes: names as ``torchvision.models.feature_extraction.get_graph_node_names`` lists them, in order.

    Raises:
        UserError: a node does not exist.
    """

    def __init__(self, network: nn.Module, nodes: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.num_layers = len(nodes)
        try:
            extractors = [create_feature_extractor(network, [node]) for node in nodes]
        except ValueError as error:
            raise UserError(f"nodes: {error}") from None
        # In a tuple, so that the parameters they share with the network are not listed twice.
        self._extractors = tuple(zip(nodes, extractors, strict=True))

    def features(self, x: Tensor, layer: int) -> Tensor:
        """Output of the ``layer``-th node, computed without the nodes after it."""
        node, extractor = self._extractors[layer - 1]
        if extractor.training != self.training:  # picks another graph, and must not undo what single layers were told
            flags = [(module, module.training) for module in self.network.modules()]
            extractor.train(self.training)
            for module, training in flags:
                module.training = training
        found: Tensor = extractor(x)[node]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)``."""
        logits: Tensor = self.network(x)
        return logits
