"""Recipes: YAML in and out, one-line errors, overrides, METHOD's numbers."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.conventions import STAGES
from echoingecg.common import RecipeError
from echoingecg.recipe import (
    EcgSettings,
    Recipe,
    combinations,
    ecg,
    evaluation,
    read_recipe,
    with_overrides,
    write_recipe,
)
from echoingecg.recipe import stages as sections
from echoingecg.recipe import stages as teaching
from echoingecg.recipe.ecg import FindingRules
from flows.request import find_recipe, shipped_recipes


def test_shipped_recipes_come_back_from_yaml(tmp_path: Path) -> None:
    assert set(shipped_recipes()) == {"demo", "ecg_findings", "echonext", "findings", "paper", "smoke", "teacher"}
    for name in shipped_recipes():
        recipe = find_recipe(name, [])
        path = tmp_path / "recipe.yaml"
        path.write_text(write_recipe(recipe), encoding="utf-8")
        assert read_recipe(path) == recipe


def test_every_field_is_described() -> None:
    known = [value for module in (sections, evaluation, teaching, ecg) for value in vars(module).values()]
    for section in (one for one in known if isinstance(one, type) and issubclass(one, Recipe.__base__)):
        for name, field in section.model_fields.items():
            nested = isinstance(field.default, sections.Section)
            assert field.description or nested, f"{section.__name__}.{name}"


def test_paper_recipe_holds_the_published_numbers() -> None:
    recipe = find_recipe("paper", [])
    student, model = recipe.student, recipe.student.model
    assert (recipe.ecg.band_low, recipe.ecg.band_high, recipe.ecg.filter_order, recipe.ecg.kaiser_beta) == (
        0.5,
        40,
        4,
        5,
    )
    assert (model.embed_dim, model.init_dim, model.blocks, model.width_factors) == (
        512,
        96,
        (3, 4, 23, 3),
        (2, 4, 8, 16),
    )
    assert (student.scale_start, student.shift_start, student.match_weight) == (5, 5, 2)
    assert (student.kl_weight, student.kl_limit, student.pseudo_positive_weight) == (1e-4, 1e4, 0.1)
    assert (student.learning_rate, student.weight_decay, student.betas) == (3e-5, 0.01, (0.9, 0.999))
    assert (student.warmup_share, student.warmup_start, student.gradient_clip, student.seed) == (0.03, 0.001, 1.0, 43)
    assert (student.loss, student.variance, student.same_partner) == ("pcmepp", "pcmepp", "negative")
    assert model.log_var_start is None
    assert recipe.teacher.model == "hf-hub:mkaichristensen/echo-clip"
    assert recipe.teacher.variance_epsilon == 1e-8
    assert (recipe.teacher.region, recipe.teacher.mask, recipe.teacher.target) == ("first", False, "frames")
    assert recipe.pairs.text_methods == ("ECG",)
    assert (model.text_tokens, student.patience) == (512, student.epochs)


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("student.epochs=0", "student.epochs: Input should be greater than or equal to 1 (got 0)"),
        ("student.epoch=5", "student.epoch: unknown key"),
        ("students.epochs=5", "no section 'students'"),
        ("ecg.band_low=50", "band_low 50.0 Hz is not below band_high 40.0 Hz"),
        ("pairs.split.train=0.5", "pairs.split: split shares do not sum to 1"),
        ("pairs.split_by={measurement: f, validation: [9], test: ['9']}", "validation and test: both hold '9'"),
        ("pairs.split_by.measurement=fold", "pairs.split_by.validation: Field required"),
        ("student.model.text_width=30", "not a multiple of text_heads"),
        ("student.echo_weight={}", "student.echo_weight"),
        ("evaluation.external={student: a.parquet}", "one is called 'student'"),
        ("evaluation.compare=[a@b]", "evaluation.compare.0: String should match pattern"),
        ("evaluation.regressions=[{prompts: [LVEF IS 5 %.]}]", "evaluation.regressions.0."),
        ("student={variance: likelihood, loss: infonce}", "variance likelihood needs loss pcmepp"),
        ("student={variance: likelihood, echo_weight: 0}", "variance likelihood needs loss pcmepp"),
        ("student.likelihood_weight=0", "student.likelihood_weight: Input should be greater than 0"),
        ("student.epochs", "write section.field=value"),
        ("student.epochs=[", "not YAML"),
    ],
)
def test_impossible_values_are_one_line(assignment: str, says: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)) as fault:
        with_overrides(find_recipe("demo", []), [assignment])
    assert "\n" not in str(fault.value)


def test_overrides_reach_deep_and_leave_the_rest() -> None:
    demo = find_recipe("demo", [])
    changed = with_overrides(demo, ["student.model.init_dim=16", "pairs.text_methods=[ECG]"])
    assert changed.student.model.init_dim == 16
    assert changed.pairs.text_methods == ("ECG",)
    assert {stage for stage in STAGES if changed.part(stage) != demo.part(stage)} == {"student", "pairs"}


def test_a_published_split_is_written_only_where_it_is_used() -> None:
    """Versions of the artefacts of other recipes stay as they were."""
    plain = Recipe()
    assert "split_by" not in plain.part("pairs")
    stated = with_overrides(
        plain, [f"pairs.split_by.{field}" for field in ("measurement=strat_fold", "validation=[9]", "test=[10]")]
    )
    assert stated.part("pairs")["split_by"] == {"measurement": "strat_fold", "validation": [9.0], "test": [10.0]}
    assert Recipe.parse(yaml.safe_load(write_recipe(stated)), "written") == stated
    assert with_overrides(stated, ["pairs.split_by=null"]) == plain
    with pytest.raises(RecipeError, match="section teaching holds out by the keyed hash"):
        with_overrides(stated, ["teaching.steps=5"])


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().student.epochs = 5  # type: ignore[misc]


@pytest.mark.parametrize("text", ["- a", "a: [", "student: 5", "\x00"])
def test_broken_files_are_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as fault:
        read_recipe(path)
    assert "\n" not in str(fault.value)
    with pytest.raises(RecipeError):
        read_recipe(tmp_path / "absent.yaml")


@given(st.integers(1, 10**6), st.floats(1e-9, 1e9))
def test_numbers_survive_yaml(epochs: int, rate: float) -> None:
    recipe = with_overrides(Recipe(), [f"student.epochs={epochs}", f"student.learning_rate={rate!r}"])
    assert recipe.student.epochs == epochs
    assert recipe.student.learning_rate == rate


def test_manifests_and_cards_that_refuse_by_name_are_still_read() -> None:
    """Before `rules`, `refuse` listed findings, and `refuse_leads` said on how many leads."""
    earlier = EcgSettings().model_dump(mode="json")
    del earlier["rules"]
    read = EcgSettings.model_validate(earlier | {"refuse": ["flat", "mains"], "refuse_leads": 3})
    assert read == EcgSettings(rules=FindingRules(flat="refuse", mains="refuse"))
    assert EcgSettings.model_validate(earlier | {"refuse": [], "refuse_leads": 1}) == EcgSettings()
    mixed = EcgSettings.model_validate(earlier | {"refuse": ["flat"], "rules": {"flat": "keep", "nan": "refer"}})
    assert mixed == EcgSettings(rules=FindingRules(flat="keep", nan="refer"))
    with pytest.raises(ValidationError):
        EcgSettings.model_validate(earlier | {"refuse": ["no_such_finding"]})


def test_a_rule_is_set_by_name() -> None:
    recipe = with_overrides(Recipe(), ["ecg.rules.mains=leave_out"])
    assert recipe.ecg.rules == FindingRules(mains="leave_out")
    assert Recipe.parse(yaml.safe_load(write_recipe(recipe)), "written") == recipe
    with pytest.raises(RecipeError, match=r"ecg\.rules\.mains"):
        with_overrides(Recipe(), ["ecg.rules.mains=ignore"])


def test_every_combination_is_a_list_of_assignments() -> None:
    rates = "student.learning_rate=1e-4, 0.001"
    found = combinations([rates, "student.model.blocks=[1, 1],[2, 1]", "student.freeze_batch_norm=true"])
    assert len(found) == 4
    assert found[1] == (
        "student.learning_rate=1e-4", "student.model.blocks=[2, 1]", "student.freeze_batch_norm=true"
    )  # fmt: skip
    two = with_overrides(find_recipe("demo", []), list(combinations([rates])[0]))
    assert two.student.learning_rate == 1e-4


@pytest.mark.parametrize("field", ["student.seed", "student.seed=", "student.seed=[1", "student.seed=1]"])
def test_a_field_without_values_has_no_combinations(field: str) -> None:
    with pytest.raises(RecipeError, match=r"write section\.field=value,value"):
        combinations([field])
