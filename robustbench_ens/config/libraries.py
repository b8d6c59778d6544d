"""The table of other libraries' attacks, such as ``torchattacks:PGD``. It imports neither torch nor a library.

The adapters lie in ``robustbench_ens/perturb/libraries/``, one file for each library.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

OWN_LOSS = "own"
"""The name, in protocols and outcomes, of the objective of an attack that has its own."""

_PLAIN = ("cross_entropy",)
_OWN = (OWN_LOSS,)


@dataclass(frozen=True)
class LibraryAttack:
    """The facts about an attack of a library.

    Attributes:
        draws: whether it draws at random.
        losses: the names of the losses that it can maximise, or empty for any.
    """

    draws: bool = True
    losses: tuple[str, ...] = _PLAIN


@dataclass(frozen=True)
class Library:
    """A library whose attacks protocols may name.

    Attributes:
        title: the library's own name.
        install: the advice if it is not installed.
        adapter: the function that prepares one of its attacks, as ``package.module:name``.
        attacks: its attacks within an l-infinity radius by class, or empty if only the library itself lists them.
    """

    title: str
    install: str
    adapter: str
    attacks: Mapping[str, LibraryAttack] = field(default_factory=dict)


def _extra(name: str) -> str:
    return f"run `pip install 'robustbench_ens[{name}]'`"


def _attacks(drawing: str, fixed: str, losses: tuple[str, ...]) -> dict[str, LibraryAttack]:
    """Return attacks by class, of which those in ``drawing`` draw at random and those in ``fixed`` do not."""
    draws = dict.fromkeys(drawing.split(), True) | dict.fromkeys(fixed.split(), False)
    return {name: LibraryAttack(draws[name], losses) for name in draws}


_HERE = "robustbench_ens.perturb.libraries"

LIBRARIES: dict[str, Library] = {
    "advertorch": Library(
        "advertorch",
        _extra("advertorch"),
        f"{_HERE}.advertorch:prepare",
        _attacks(
            "LinfPGDAttack LinfSPSAAttack PGDAttack",
            "FGSM GradientSignAttack LinfBasicIterativeAttack LinfFABAttack LinfMomentumIterativeAttack "
            "MomentumIterativeAttack",
            losses=(),
        ),
    ),
    "torchattacks": Library(
        "torchattacks",
        _extra("torchattacks"),
        f"{_HERE}.torchattacks:prepare",
        _attacks(
            "APGD DIFGSM EOTPGD FFGSM PGD PGDRS RFGSM TIFGSM VMIFGSM VNIFGSM",
            "BIM FGSM MIFGSM NIFGSM PIFGSM PIFGSMPP SINIFGSM UPGD",
            _PLAIN,
        )
        | _attacks("APGDT Jitter SPSA Square TPGD", "FAB", _OWN),
    ),
    "foolbox": Library(
        "foolbox",
        _extra("foolbox"),
        f"{_HERE}.foolbox:prepare",
        _attacks(
            "LinfAdamPGD LinfAdamProjectedGradientDescentAttack LinfPGD LinfProjectedGradientDescentAttack",
            "FGSM LinfAdamBasicIterativeAttack LinfBasicIterativeAttack LinfFastGradientAttack "
            "LinfMomentumIterativeFastGradientMethod MIFGSM",
            _PLAIN,
        )
        | _attacks(
            "LinfAdditiveUniformNoiseAttack LinfRepeatedAdditiveUniformNoiseAttack",
            "LInfFMNAttack LinfDeepFoolAttack",
            _OWN,
        ),
    ),
    "transferattack": Library(
        "TransferAttack",
        "clone https://github.com/Trustworthy-AI-Group/TransferAttack, put it on PYTHONPATH and install timm; the "
        "package of that name on PyPI is empty",
        f"{_HERE}.transferattack:prepare",
    ),
}
"""Libraries by the prefix of the names of their attacks, without the colon."""

PREFIXES = tuple(f"{name}:" for name in LIBRARIES)


def split(name: str) -> tuple[Library, str] | None:
    """Return the library and class in an attack's name, or none if it names no library."""
    prefix, colon, class_name = name.partition(":")
    return (LIBRARIES[prefix], class_name) if colon and prefix in LIBRARIES else None


def library_attack(name: str) -> LibraryAttack | None:
    """Return the facts of a library's attack, or none if the name has no library or the library no such attack."""
    found = split(name)
    if found is None:
        return None
    library, class_name = found
    if library.attacks:
        return library.attacks.get(class_name)
    return LibraryAttack(losses=_PLAIN + _OWN) if re.fullmatch(r"[A-Za-z_]\w{0,99}", class_name) else None


def unknown_attack(name: str, valid: Iterable[str] = ()) -> str:
    """Return the expectation, for an error, in place of ``name``, which begins like a library's attack but is not one.

    Args:
        name: the name in a protocol.
        valid: the classes that the library lists, if the table does not.
    """
    prefix, _, class_name = name.partition(":")
    library = LIBRARIES[prefix]
    names = list(library.attacks or valid)
    # Compared without case, because case is what people often mistake.
    spelt = {one.lower(): one for one in names}
    close = [spelt[one] for one in difflib.get_close_matches(class_name.lower(), spelt, n=3)]
    likely = f" (the closest: {', '.join(f'{prefix}:{one}' for one in close)})" if close else ""
    listed = f"one of {', '.join(names)}" if names else "by the name that its loader takes"
    return f"expected an l-infinity attack of {library.title}{likely}, {prefix}: and {listed}"
