"""Examples of code from outside: a training method, a network, an attack, a kind of protocol, a section of a report.

Beside them lie the recipes and the protocol that use them.
"""
