from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from robustbench_ens.config.lookup import PACKAGE_DIR, names
from robustbench_ens.config.recipes import load_recipe
from robustbench_ens.core.store import Store
from robustbench_ens.errors import UserError
from robustbench_ens.reporting.zoo_table import BEGIN, COSTS, END, costs_of, key_numbers, markdown, publish, read_costs
from robustbench_ens.weights.record import read_record, run_dir
from tests.conftest import BASELINE

ZOO = PACKAGE_DIR.parent / "zoo"


def test_the_readme_holds_the_table_of_today():
    text = (ZOO / "README.md").read_text()
    table = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert table == markdown(read_costs(ZOO)), "run `rbe list --publish`"


def test_the_table_names_every_recipe_its_paper_and_its_cost():
    costs = pd.DataFrame({"recipe": ["digits/dverge-3"], "seconds": [75.0], "hardware": ["a machine"]})
    lines = markdown(costs).splitlines()
    assert len(lines) == 2 + len(names("zoo"))
    (line,) = [line for line in lines if line.startswith("| `digits/dverge-3` |")]
    assert "| DVERGE | [arXiv:2009.14720](https://arxiv.org/abs/2009.14720) |" in line
    assert line.endswith("| 1\N{NO-BREAK SPACE}min 15\N{NO-BREAK SPACE}s on a machine |")


def test_key_numbers():
    assert key_numbers(load_recipe("digits/dverge-3")) == (
        "3 x resnet8; 20 epochs of 64; one-cycle sgd 0.1; eps 0.2; from `digits/baseline-3`"
    )
    assert key_numbers(load_recipe("cifar10-short/dverge-advt-3")) == (
        "3 x resnet20; 700 steps of 128; one-cycle sgd 0.1; bf16; layer step; eps 0.07; steps 5; step_size 0.02; "
        "diversification_weight 1; adversarial.eps 0.03137; adversarial.step_size 0.01961; adversarial.steps 2; "
        "from `cifar10-short/baseline-3`"
    )
    assert key_numbers(load_recipe("cifar10-short/baseline-3-resized")) == (
        "3 x resnet20; 11 epochs of 128; one-cycle sgd 0.2; images 0.5 of the size for the first 50%"
    )


def test_costs_are_means_over_seeds_of_what_ships(tiny_runs):
    changed = read_record(run_dir(Store(tiny_runs), load_recipe(BASELINE), 0))
    assert changed is not None and changed.training is not None
    assert costs_of([changed]).empty  # an override is another recipe
    plain = [
        replace(changed, label=changed.recipe, training=changed.training | {"wall_time_s": seconds})
        for seconds in (10.0, 30.0)
    ]
    (row,) = costs_of([changed, *plain]).itertuples()
    assert (row.recipe, row.seeds, row.seconds) == ("digits/baseline-3", 2, 20.0)
    assert row.hardware.startswith(changed.training["hardware"])


@pytest.mark.slow
def test_publishing_replaces_the_table_and_keeps_older_costs(tmp_path: Path):
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    older = pd.DataFrame([("digits/adp-3", "a machine", 1, 18.0, 33.0), ("gone/adp-3", "a machine", 1, 1.0, 1.0)])
    older.columns = ["recipe", "hardware", "seeds", "seconds", "steps_per_s"]
    older.to_csv(tmp_path / COSTS, index=False)
    publish(tmp_path, [])
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n") and "old\n" not in text
    assert read_costs(tmp_path)["recipe"].tolist() == ["digits/adp-3"]
    publish(tmp_path, [])
    assert (tmp_path / "README.md").read_text() == text


def test_a_folder_without_the_readme_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="expected a README with the marks"):
        publish(tmp_path, [])
