"""The clock that splits a call between its SAEs, and the page, without the peer."""

from tests.experiments.peer_seconds.__main__ import SIDES, page, ratios, table
from tests.experiments.peer_seconds.clock import Measured, Spent, Timed
from tests.experiments.peer_seconds.inputs import probing_data
from tests.experiments.peer_seconds.theirs import numbers


def taken(first: float, further: float) -> Measured:
    return Measured(Spent(9.0, 9.5), Spent(first, 2 * first), Spent(further, 2 * further), {"torch": "1.2"})


DONE = {"core": [taken(20, 18), taken(5, 2), taken(10, 3)], "absorption": [taken(100, 80), taken(7, 0.4), taken(8, 1)]}


def test_a_loop_over_saes_notes_when_each_is_asked_for():
    saes = Timed([("a", 1), ("b", 2)])
    assert [name for name, _ in saes] == ["a", "b"]
    assert len(saes) == len(saes.asked) == 2
    assert saes.asked[1].since(saes.asked[0]).wall >= 0


def test_measurements_survive_the_file(tmp_path):
    DONE["core"][0].save(tmp_path / "x.json")
    assert Measured.load(tmp_path / "x.json") == DONE["core"][0]


def test_table_has_cpu_and_wall_of_each_side_and_their_sum():
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in table(DONE).splitlines()]
    assert len(rows[0]) == 1 + 2 * len(SIDES)
    assert rows[2][:4] == ["core", "20.0 (40.0)", "18.0 (36.0)", "5.0 (10.0)"]
    assert rows[-1][:4] == ["all three", "120.0 (240.0)", "98.0 (196.0)", "12.0 (24.0)"]


def test_ratios_are_of_sums_of_cpu_seconds():
    assert "takes 10.0 times as long for a first SAE, 40.8 for a further" in ratios(DONE)[0]


def test_page_names_versions_commit_and_sides():
    text = page(DONE, "abc")
    assert all(part in text for part in ("torch 1.2", "commit abc", *SIDES))


def test_texts_keep_part_and_class():
    parts = {"train": {"x": ["a", "b"], "y": ["c"]}, "test": {"x": ["d"], "y": ["e"]}}
    first, second = probing_data({"set": parts}).datasets
    assert first.part is not None
    assert first.part.tolist() == ["train"] * 3 + ["test"] * 2
    assert first.positive.tolist() == [True, True, False, True, False]
    assert (second.positive == ~first.positive).all()


def test_numbers_of_a_nested_result():
    assert numbers({"a": {"b": 1.5, "c": {"d": 2}}, "e": "text"}) == {"b": 1.5, "d": 2}
