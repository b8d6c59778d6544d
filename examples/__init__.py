"""A training method, a network and a kind of protocol of one's own, and the recipes and the protocol that use them."""
