"""The tables of attacks and losses, and the facts about attacks that protocols use. It imports no torch.

The class of an attack has its own file under ``robustbench_ens/perturb/attacks/``, named in ``runs``. One from outside,
``package.module:Name``, states its facts itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from robustbench_ens.config.finding import is_outside
from robustbench_ens.config.identity import Code, code_of, code_of_library, merged
from robustbench_ens.config.libraries import LIBRARIES, PREFIXES, library_attack, split, unknown_attack
from robustbench_ens.config.outside import import_object
from robustbench_ens.errors import UserError


@dataclass(frozen=True)
class AttackFacts:
    """The facts about an attack that the rest of the project uses.

    Attributes:
        title: its name in tables and plans.
        paper: the source, such as ``arXiv:1706.06083``, or empty.
        draws: whether it draws at random. Without draws each restart would craft the same images again.
        follows_gradient: whether it needs a differentiable model.
        needs_skips: whether it works only on networks with residual blocks whose skip is the identity.
        losses: the names of the losses that it can maximise, or empty for any.
        begins_anywhere: whether it can start at given images, those of ``Problem.random_start``.
        numerics: a number that is raised when a change of the code moves results.
        runs: the class that crafts, as ``package.module:Name``. A class from outside leaves it empty.
    """

    title: str
    paper: str = ""
    draws: bool = True
    follows_gradient: bool = True
    needs_skips: bool = False
    losses: tuple[str, ...] = ()
    begins_anywhere: bool = False
    numerics: int = 1
    runs: str = ""


_HERE = "robustbench_ens.perturb.attacks"

ATTACKS: dict[str, AttackFacts] = {
    "pgd": AttackFacts("PGD", "arXiv:1706.06083", begins_anywhere=True, runs=f"{_HERE}.pgd:Pgd"),
    "momentum_pgd": AttackFacts(
        "momentum PGD", "arXiv:1710.06081", begins_anywhere=True, runs=f"{_HERE}.momentum_pgd:MomentumPgd"
    ),
    "m_di2_fgsm": AttackFacts("M-DI2-FGSM", "arXiv:1803.06978", runs=f"{_HERE}.m_di2_fgsm:MDi2Fgsm"),
    "sgm": AttackFacts("SGM", "arXiv:2002.05990", draws=False, needs_skips=True, runs=f"{_HERE}.sgm:Sgm"),
    "ni_fgsm": AttackFacts("NI-FGSM", "arXiv:1908.06281", draws=False, runs=f"{_HERE}.ni_fgsm:NiFgsm"),
    "sim": AttackFacts("SIM", "arXiv:1908.06281", draws=False, runs=f"{_HERE}.sim:Sim"),
    "si_ni_fgsm": AttackFacts("SI-NI-FGSM", "arXiv:1908.06281", draws=False, runs=f"{_HERE}.si_ni_fgsm:SiNiFgsm"),
    "tim": AttackFacts("TIM", "arXiv:1904.02884", draws=False, runs=f"{_HERE}.tim:Tim"),
    "admix": AttackFacts("Admix", "arXiv:2102.00436", runs=f"{_HERE}.admix:Admix"),
    "vmi_fgsm": AttackFacts("VMI-FGSM", "arXiv:2103.15571", runs=f"{_HERE}.vmi_fgsm:VmiFgsm"),
    "pgn": AttackFacts("PGN", "arXiv:2306.05225", runs=f"{_HERE}.pgn:Pgn"),
    "bsr": AttackFacts("BSR", "arXiv:2308.10299", runs=f"{_HERE}.bsr:Bsr"),
    "sia": AttackFacts("SIA", "arXiv:2309.14700", runs=f"{_HERE}.sia:Sia"),
    "svre": AttackFacts("SVRE", "arXiv:2111.10752", runs=f"{_HERE}.svre:Svre"),
    "adaea": AttackFacts("AdaEA", "arXiv:2308.02897", draws=False, runs=f"{_HERE}.adaea:AdaEa"),
    "cwa": AttackFacts("CWA", "arXiv:2303.09105", draws=False, runs=f"{_HERE}.cwa:Cwa"),
    "apgd": AttackFacts("APGD", "arXiv:2003.01690", begins_anywhere=True, runs=f"{_HERE}.apgd:Apgd"),
    "mora": AttackFacts("MORA", "arXiv:2211.08008", begins_anywhere=True, runs=f"{_HERE}.mora:Mora"),
    "mora_targeted": AttackFacts(
        "targeted MORA",
        "arXiv:2211.08008",
        begins_anywhere=True,
        runs=f"{_HERE}.mora_targeted:MoraTargeted",
    ),
    "eot_pgd": AttackFacts("EoT-PGD", "arXiv:1707.07397", begins_anywhere=True, runs=f"{_HERE}.eot_pgd:EotPgd"),
    "square": AttackFacts("Square", "arXiv:1912.00049", follows_gradient=False, runs=f"{_HERE}.square:Square"),
    "arc": AttackFacts("ARC", "arXiv:2206.06737", begins_anywhere=True, runs=f"{_HERE}.arc:Arc"),
}
"""The project's own attacks by name."""

LOSSES: dict[str, str] = {
    "cross_entropy": "robustbench_ens.perturb.losses:cross_entropy",
    "cw": "robustbench_ens.perturb.losses:cw",
    "cw_legacy": "robustbench_ens.perturb.losses:cw_legacy",
}
"""The losses, which attacks maximise, by name. A protocol may also name one as ``package.module:name``."""


def names_outside_code(name: str) -> bool:
    """Return whether ``name`` names code from outside the project, as ``package.module:Name``."""
    module, _, attribute = name.partition(":")
    return bool(module and attribute) and module not in LIBRARIES and is_outside(name)


EXPECTED_LOSS = f"expected one of {', '.join(LOSSES)}, or package.module:name"


def expected_attack(name: str) -> str:
    """Return the expectation, for an error, in place of ``name``, which is not an attack."""
    if name.startswith(PREFIXES) and name not in PREFIXES:
        return unknown_attack(name)
    return (
        f"expected one of {', '.join(ATTACKS)}, an attack of a library by class ({', '.join(PREFIXES)}), or "
        "package.module:Name"
    )


def is_attack(name: str) -> bool:
    """Return whether ``name`` is in the table, is an attack of a library, or has the form of code from outside."""
    return name in ATTACKS or library_attack(name) is not None or names_outside_code(name)


def is_loss(name: str) -> bool:
    """Return whether ``name`` is in the table or has the form of code from outside."""
    return name in LOSSES or names_outside_code(name)


def expected_loss(loss: str, attack: str | None = None) -> str | None:
    """Return the expectation, for an error, in place of ``loss``, or none if ``attack`` can maximise that loss."""
    valid = attack_facts(attack).losses if attack is not None else ()
    if valid:
        return None if loss in valid else f"expected {' or '.join(valid)}, which is what {attack} maximises"
    return None if is_loss(loss) else EXPECTED_LOSS


def attack_facts(name: str) -> AttackFacts:
    """Return the facts of an attack. Code from outside the project is imported.

    Raises:
        UserError: there is no such attack, or the imported object states no facts.
    """
    if not is_attack(name):
        raise UserError(f"attack: {expected_attack(name)}, got {name!r}")
    if name in ATTACKS:
        return ATTACKS[name]
    library = split(name)
    known = library_attack(name)
    if library and known:
        title = f"{library[0].title}'s {library[1]}"
        return AttackFacts(title, draws=known.draws, losses=known.losses)
    facts = getattr(_imported("attack", name), "facts", None)
    if not isinstance(facts, AttackFacts):
        raise UserError(
            f"attack {name!r}: expected a subclass of robustbench_ens.perturb.attack.Attack that states 'facts', as "
            f"AttackFacts, got none"
        )
    return facts


def attack_class(name: str) -> Any:
    """Import and return the class of an attack of the table or from outside, and thereby torch.

    Raises:
        UserError: there is no such class.
    """
    return _imported("attack", attack_facts(name).runs or name)


def loss_function(name: str) -> Any:
    """Import and return the function ``(scores, labels) -> values`` of a loss, and thereby torch.

    Raises:
        UserError: there is no such loss.
    """
    if not is_loss(name):
        raise UserError(f"loss: {EXPECTED_LOSS}, got {name!r}")
    found = _imported("loss", LOSSES.get(name, name))
    if not callable(found):
        raise UserError(f"loss {name!r}: expected a function (scores, labels), got {type(found).__name__}")
    return found


def code_of_names(names: Iterable[str]) -> Code:
    """Return the identity of the code of attacks and losses from outside and of libraries.

    It is empty if ``names`` has only the project's own.
    """
    found: Code = {}
    for name in sorted(set(names)):
        module = name.partition(":")[0]
        if names_outside_code(name):
            found = merged(found, code_of(module))
        elif name.startswith(PREFIXES):
            found = merged(found, code_of_library(module))
    return found


def raised_numerics(attacks: Iterable[str], losses: Iterable[str]) -> dict[str, int]:
    """Return the ``numerics`` above 1 by the name of the attack or loss.

    A loss from outside may have its own, as an attribute of the function.
    """
    found = {name: attack_facts(name).numerics for name in attacks}
    found |= {name: getattr(loss_function(name), "numerics", 1) for name in losses if names_outside_code(name)}
    return {name: found[name] for name in sorted(found) if found[name] != 1}


def _imported(what: str, spec: str) -> Any:
    return import_object(spec, f"{what} {spec!r}")
