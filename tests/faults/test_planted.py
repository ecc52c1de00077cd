"""Tests of the tests: each fault of a list, planted into a copy of the tree, turns its named test red."""

import pytest

from tests.faults.planted import ALL_PASSED, FAULTS, INTERPRETED, Tree, told

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7_200)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("planted") / "tree")


@pytest.mark.parametrize("environment", [{}, INTERPRETED], ids=["compiled", "interpreted"])
def test_without_a_fault_the_same_tests_are_green(tree, environment):
    tests = sorted({fault.test for fault in FAULTS if fault.environment == environment})
    code, said = tree.run(tests, environment)
    assert code == ALL_PASSED, said


def test_every_planted_fault_turns_its_test_red(tree):
    problems = [f"{fault.name}: {problem}" for fault, problem in told(FAULTS, tree) if problem]
    assert not problems, "\n".join(problems)
