from __future__ import annotations

import shlex

from robustbench_ens.reporting.collect import with_distinct_labels
from robustbench_ens.reporting.missing import attack_commands


def documents(files, *kinds):
    return [f.provenance for f in with_distinct_labels(files) if f.provenance["protocol"]["kind"] in kinds]


def test_nothing_is_missing(seeds):
    assert attack_commands(documents(seeds, "whitebox"), "whitebox") == []


def test_a_kind_that_nobody_has(seeds):
    assert attack_commands(documents(seeds, "whitebox"), "blackbox") == [
        "rbe attack digits/blackbox digits/baseline-3 digits/dverge-3 --seeds 0,1,2"
    ]


def test_one_ensemble_lacks_a_kind(files):
    some = documents(files, "whitebox") + documents(files, "blackbox")[:1]
    assert attack_commands(some, "blackbox") == ["rbe attack digits/blackbox digits/dverge-3 --seeds 0"]


def test_the_protocol_has_its_overrides_and_a_recipe_by_path_its_suffix(files, relabelled):
    some = documents(relabelled(files, label="mine[epochs=5]"), "whitebox")[:1] + documents(files, "blackbox")[:1]
    some[-1] = some[-1] | {"protocol": some[-1]["protocol"] | {"reference": "digits/blackbox[images=5]"}}
    assert attack_commands(some, "blackbox") == [
        "rbe attack 'digits/blackbox[images=5]' 'mine.toml[epochs=5]' --seeds 0"
    ]


def test_labels_with_overrides_and_blanks_are_quoted(files, relabelled):
    label = "digits/dverge-3[epochs=5]; rm -rf ~"
    commands = attack_commands(documents(relabelled(files[:1], label=label), "whitebox"), "blackbox")
    assert shlex.split(commands[0])[3] == label


def test_where_nobody_has_it_a_shipped_protocol_of_the_dataset_is_named(files, relabelled):
    """By the dataset, not by the recipe's folder; and by what ships where none is named after the kind."""
    there = relabelled(files[:1], dataset="cifar10-jpeg", label="mine/a-3", recipe="mine/a-3")
    there = documents(there, "whitebox")
    assert attack_commands(there, "diversity") == ["rbe attack cifar10-jpeg/diversity mine/a-3 --seeds 0"]
    assert attack_commands(there, "blackbox") == ["rbe attack cifar10-jpeg/blackbox-one-surrogate mine/a-3 --seeds 0"]
