"""Examples of code from outside: a training method, a network, a kind of protocol, and a section of a report.

Beside them lie the recipes and the protocol that use them.
"""
