"""Recipes: the TOML files under ``zoo/``, one per ensemble, parsed, validated and hashed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from inspect import isfunction
from typing import Any

from pydantic import ValidationError

from robustbench_ens.config import aggregations
from robustbench_ens.config.aggregations import DEFAULT_AGGREGATION
from robustbench_ens.config.files import CHOSEN_ON, Content, load_content
from robustbench_ens.config.finding import is_outside
from robustbench_ens.config.identity import Code, code_of, merged
from robustbench_ens.config.lookup import locate
from robustbench_ens.config.method_facts import MethodFacts, method_facts
from robustbench_ens.config.methods import METHODS, MethodSettings
from robustbench_ens.config.outside import import_object
from robustbench_ens.config.recipe_keys import RecipeFile
from robustbench_ens.config.references import label, split_reference
from robustbench_ens.config.trust import may_import_outside_code
from robustbench_ens.config.validation import explain, validate
from robustbench_ens.core.limits import DEEPEST, shown
from robustbench_ens.core.notices import silenced
from robustbench_ens.core.store import short_hash
from robustbench_ens.errors import UserError

SHARED_WITH_PARENT = ("dataset", "max_pixels", "network", "network_args", "sub_models")
"""Keys in which an ensemble and its parent must agree. An override of one applies to the parent, too."""

AGGREGATION, PROBABILITIES = "aggregation", "member_probabilities"
ANSWER = (AGGREGATION, PROBABILITIES)
"""Keys that do not affect the weights."""


@dataclass(frozen=True)
class Recipe:
    """A recipe with its name, its overrides and the recipe it starts from.

    ``settings`` are the validated keys, ``method`` is the training method with its hyper-parameters, ``parent`` the
    recipe of ``init_from``, ``file`` the path of its file, and ``members`` the recipe of ``members_of``.
    """

    name: str
    overrides: dict[str, Any]
    settings: RecipeFile
    method: Any
    parent: Recipe | None
    file: str = field(default="", compare=False)
    members: Recipe | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a reference, because a method's class may have been made from a function."""
        return _load_again, (self.file or self.name, self.overrides, self.hash)

    @property
    def label(self) -> str:
        """The name with overrides, a reference that loads this recipe again."""
        return label(self.name, self.overrides)

    @cached_property
    def trained(self) -> Recipe:
        """The recipe that the sub-models are trained by: itself, unless it only combines those of another recipe."""
        if self.members is not None:
            return self.members
        if self.settings.aggregation == DEFAULT_AGGREGATION:
            return self
        overrides = {key: value for key, value in self.overrides.items() if key not in ANSWER}
        with silenced():
            found = load_recipe(self.file or self.name, overrides)
            if found.settings.aggregation != DEFAULT_AGGREGATION:
                plain: dict[str, Any] = {PROBABILITIES: []} if found.settings.member_probabilities else {}
                found = load_recipe(self.file or self.name, overrides | plain | {AGGREGATION: DEFAULT_AGGREGATION})
        return found

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The keys that differ from their defaults, so that a key added later changes no hash."""
        content = self.settings.model_dump(mode="json", exclude_defaults=True, exclude={"hyperparameters", CHOSEN_ON})
        hyperparameters = self.method.model_dump(mode="json", exclude_defaults=True)
        return content | ({"hyperparameters": hyperparameters} if hyperparameters else {})

    @cached_property
    def hash(self) -> str:
        """The ten digits that name the recipe, from its name, keys, numerics, parent and code from outside."""
        # With the name, from which seeds derive. Without later additions at their defaults, so that old hashes stay.
        return short_hash(
            {
                "name": self.name,
                "recipe": self.resolved,
                "numerics": self.method.numerics,
                "parent": self.parent.hash if self.parent else None,
                **({"code": self.code} if self.code else {}),
                **(
                    {"numerics of": raised}
                    if (raised := aggregations.raised_numerics([self.settings.aggregation]))
                    else {}
                ),
            }
        )

    @property
    def names_outside_code(self) -> bool:
        """Whether the recipe or its parent names code from outside the project, which its hash then needs."""
        specs = (self.settings.method, self.settings.network, self.settings.aggregation)
        own = any(":" in spec and is_outside(spec) for spec in specs)
        return own or (self.parent is not None and self.parent.names_outside_code)

    @cached_property
    def code(self) -> Code:
        """The identity of the code from outside that its keys name, or empty."""
        found: Code = {}
        for key in ("method", "network", AGGREGATION):
            spec = getattr(self.settings, key)
            if ":" not in spec or not is_outside(spec):
                continue
            if may_import_outside_code():
                # Imported first, because the code may add folders to the path, from which its other imports come.
                # Errors are ignored here: the step that uses the object reports them.
                with suppress(UserError):
                    import_object(spec, f"recipe {self.label!r}: key {key!r}")
            found = merged(found, code_of(spec.partition(":")[0]))
        return found

    def initialisations(self, seed: int) -> list[str]:
        """Return the name of the initialisation of each sub-model, as ``recipe#seed/member``."""
        if self.members is not None:
            return self.members.initialisations(seed)
        return [f"{self.name}#{seed}/{member}" for member in range(self.settings.sub_models)]

    def lineage(self, seed: int) -> list[str]:
        """Return the initialisations that this ensemble descends from, its own and its ancestors'."""
        return self.initialisations(seed) + (self.parent.lineage(seed) if self.parent else [])


def _parent(path: str, settings: RecipeFile, overrides: dict[str, Any], chain: tuple[str, ...]) -> Recipe | None:
    if settings.init_from is None:
        return None
    if settings.init_from in chain:
        raise UserError(f"{path}: key 'init_from': expected no cycle, got {' -> '.join((*chain, settings.init_from))}")
    if len(chain) > DEEPEST:
        raise UserError(f"{path}: key 'init_from': expected a chain of at most {DEEPEST} recipes, got more")
    locate("zoo", split_reference(settings.init_from)[0], f"{path}: key 'init_from': ")
    shared = {key: value for key, value in overrides.items() if key.split(".")[0] in SHARED_WITH_PARENT}
    parent = load_recipe(settings.init_from, shared, (*chain, settings.init_from))
    for key in SHARED_WITH_PARENT:
        mine = getattr(settings, key)
        theirs = getattr(parent.settings, key)
        if mine != theirs:
            raise UserError(
                f"{path}: key {key!r}: expected {theirs!r} as in {parent.label!r}, from which it starts, got {mine!r}"
            )
    return parent


def load_recipe(reference: str, overrides: dict[str, Any] | None = None, _chain: tuple[str, ...] = ()) -> Recipe:
    """Load a recipe by path or name, with overrides as in ``digits/dverge-3[epochs=5]``.

    Args:
        reference: path of a TOML file, or a name such as ``digits/baseline-3``, with overrides in brackets.
        overrides: further values by dotted key, which replace those of the reference.

    Raises:
        UserError: the recipe or method is unknown, a key or value is invalid, or `extends` or `init_from` form a cycle.
    """
    content = load_content("zoo", reference, overrides)
    members = _members(content)
    keys = content.keys if members is None else members.settings.model_dump(exclude_defaults=True) | content.keys
    settings = validate(RecipeFile, keys, content.where)
    _check_aggregation(settings, members, content.where)
    method = load_method(settings, content.where)
    parent = members.parent if members is not None else None
    if members is None:
        parent = _parent(content.where, settings, content.overrides, _chain or (split_reference(reference)[0],))
    return Recipe(content.name, content.overrides, settings, method, parent, content.file, members)


def _members(content: Content) -> Recipe | None:
    """Return the recipe of ``members_of`` with the overrides of the recipe that names it, or none.

    Raises:
        UserError: there is no such recipe, or it is not trained itself.
    """
    reference = content.keys.get("members_of")
    where = f"{content.where}: key 'members_of'"
    if reference is None:
        return None
    if not isinstance(reference, str):
        raise UserError(f"{where}: expected the name or path of a recipe, got {shown(reference)}")
    locate("zoo", split_reference(reference)[0], f"{where}: ")
    overrides = {key: value for key, value in content.overrides.items() if key not in (*ANSWER, "members_of")}
    own = load_content("zoo", reference, overrides).keys
    for key in (AGGREGATION, "members_of"):
        if own.get(key, DEFAULT_AGGREGATION) != DEFAULT_AGGREGATION:
            raise UserError(f"{where}: expected a recipe that is trained, got {reference!r}, which has a key {key!r}")
    return load_recipe(reference, overrides)


def _check_aggregation(settings: RecipeFile, members: Recipe | None, where: str) -> None:
    """Check the aggregation and its probabilities, and that other keys agree with those of ``members``.

    Raises:
        UserError: the aggregation is unknown or needs more sub-models, the probabilities are invalid, or keys differ.
    """
    name = settings.aggregation
    if not aggregations.is_aggregation(name):
        raise UserError(f"{where}: key 'aggregation': {aggregations.EXPECTED_AGGREGATION}, got {name!r}")
    if may_import_outside_code() or not aggregations.from_outside(name):
        aggregations.check_sub_models(name, settings.sub_models, f"{where}: key 'aggregation'")
        if settings.member_probabilities and not aggregations.aggregation_facts(name).at_random:
            raise UserError(
                f"{where}: key {PROBABILITIES!r}: expected no such key, since under {name!r} no sub-model answers at "
                "random"
            )
    aggregations.check_probabilities(
        settings.member_probabilities, settings.sub_models, f"{where}: key {PROBABILITIES!r}"
    )
    for key in RecipeFile.model_fields if members is not None else ():
        mine = getattr(settings, key)
        if key not in (*ANSWER, "members_of", CHOSEN_ON) and mine != getattr(members and members.settings, key):
            raise UserError(f"{where}: key {key!r}: expected no such key beside 'members_of', got {shown(mine)}")


def load_method(settings: RecipeFile, where: str) -> Any:
    """Return the training method of a recipe with its checked hyper-parameters.

    Raises:
        UserError: the method is unknown, or a hyper-parameter is unknown or invalid.
    """
    spec = METHODS.get(settings.method, settings.method)
    if ":" not in spec:
        raise UserError(
            f"{where}: key 'method': expected one of {', '.join(METHODS)} or package.module:Name, got {spec!r}"
        )
    method_class = import_object(spec, f"{where}: key 'method'")
    if isfunction(method_class):
        from_function = import_object("robustbench_ens.training.method:from_function", where)
        method_class = from_function(method_class, f"{where}: key 'method'")
    if not (isinstance(method_class, type) and issubclass(method_class, MethodSettings)):
        raise UserError(
            f"{where}: key 'method': expected a function or a subclass of robustbench_ens.training.Method, got {spec!r}"
        )
    method = validate(method_class, settings.hyperparameters, where, ("hyperparameters",))
    # Checked now, because invalid facts of a class from outside would make the record unreadable after the training.
    try:
        method_facts(method)
    except ValidationError as error:
        raise explain(error, MethodFacts, f"{where}: key 'method': facts of {spec}") from None
    return method


def _load_again(reference: str, overrides: dict[str, Any], expected: str) -> Recipe:
    """Load a recipe again in another process.

    Raises:
        UserError: its file, or code that it names, has changed since.
    """
    with silenced():  # the process that planned it has shown the notices
        recipe = load_recipe(reference, overrides)
    if recipe.hash != expected:
        raise UserError(f"recipe {recipe.label!r}: expected the one that was planned, got another; run it again")
    return recipe
