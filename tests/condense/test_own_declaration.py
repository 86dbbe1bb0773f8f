"""A method of one's own that could not run says so where it is declared, or at its first step."""

from dataclasses import dataclass, replace

import pytest
import torch

import refluence as rf
from refluence.condense.dm import METHOD
from refluence.condense.statistics import Gradient
from refluence.errors import InputError
from refluence.matching.discrepancies import FlatCosine


@dataclass(frozen=True)
class Numbers:
    """A distance that leaves autograd."""

    def uses(self, tensor):
        return True

    def value(self, a, b):
        return sum((a[name] - b[name]).detach().square().sum().item() for name in a)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"discrepancy": FlatCosine}, r"method dm: discrepancy is the class FlatCosine: give an object, FlatCosine\(\)"),
        ({"discrepancy": torch.dist}, "method dm: discrepancy is a builtin_function_or_method, which has no value"),
        ({"statistic": None}, "method dm: statistic is a NoneType, which has no at"),
        ({"statistic": Gradient}, r"method dm: statistic is the class Gradient: give an object, Gradient\(\)"),
        ({"settings": {"ipc": 1}}, r"method dm: settings is a dict: give a function \(ipc, size, shape\) -> Settings"),
        ({"networks": None}, "method dm: networks is a NoneType: give a class of networks"),
    ],
)
def test_a_part_that_is_none_is_refused_where_it_is_declared(change, said):
    with pytest.raises(InputError, match=f"^{said}"):
        replace(METHOD, **change)


def test_a_selection_needs_a_function():
    with pytest.raises(InputError, match=r"^selection first: select is a Tensor: give a function"):
        rf.Selection("first", "the first", torch.arange(3))


def test_a_distance_without_a_gradient_is_refused_at_the_first_step():
    mine = replace(METHOD, name="mine", discrepancy=Numbers())
    with pytest.raises(rf.RunError, match=r"the discrepancy gave a float: its value\(a, b\) must be one number, a tensor"):
        rf.distill("digits", mine, ipc=1, iterations=1, width=4)


@pytest.mark.parametrize("name", ["dm+x", "My method", "a:b", "a,b", "..", "", None])
def test_a_name_that_no_arm_can_spell_is_refused(name):
    with pytest.raises(InputError, match=r"an arm can name letters, digits, '-', '_' and '.'"):
        rf.distill("digits", replace(METHOD, name=name))
