"""Examples of code from outside.

There is a training method, a network, an attack, a kind of protocol, a report section and an executor. Beside them lie
the recipes and protocols that use them, or that extend shipped ones.
"""
