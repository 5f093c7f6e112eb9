"""Reshapes and transpositions: what merges, what moves, and that elements arrive where they did."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gristmill.ir import dims
from gristmill.ir.builder import mb
from gristmill.ir.types import TensorType, fp32, int16
from gristmill.passes.common_subexpressions import CommonSubexpressions
from gristmill.passes.dead_code import DeadCode
from gristmill.passes.joined_parts import JoinParts
from gristmill.passes.reshapes import MergeReshapes, inserted_ones
from gristmill.passes.slices import MoveSlices
from gristmill.passes.transposes import MergeTransposes, MoveTransposes, TransposesAsReshapes
from tests.passes.programs import build, changed, expected, fill, ops, shown, transformed

N = dims.symbol("n", 1, 64)
M = dims.symbol("m", 1, 64)
S = {"n": 3, "m": 5}


# --- reshapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda x: mb.reshape(x=mb.reshape(x=x, shape=[-1, 2, 6]), shape=[-1, 3, 4]), "reshape"),
        (lambda x: mb.squeeze(x=mb.expand_dims(x=x, axes=[1]), axes=[1]), None),
        (lambda x: mb.expand_dims(x=mb.expand_dims(x=x, axes=[0]), axes=[3]), "expand_dims"),
        (lambda x: mb.reshape(x=mb.reshape(x=x, shape=[-1]), shape=[-1, 12]), None),
        (lambda x: mb.expand_dims(x=mb.reshape(x=x, shape=[-1, 3, 4]), axes=[0]), "reshape"),
        (lambda x: mb.reshape(x=mb.expand_dims(x=x, axes=[0]), shape=[1, -1, 1, 12]), "expand_dims"),
    ],
)
def test_reshapes_merge(make, left):
    """Two ops become one or none; the batch is not known before the run."""
    program = build(lambda x: mb.relu(x=make(mb.exp(x=x))), (N, 12))
    after = transformed(program, MergeReshapes(), DeadCode(), sizes=S, ulp=0)
    assert ops(after) == ["exp", *([left] if left else []), "relu"]


def test_a_chain_of_reshapes_becomes_one():
    def make(x):
        for shape in ([-1, 6], [2, -1, 3], [-1, 12], [3, -1, 4], [-1]):
            x = mb.reshape(x=x, shape=shape)
        return mb.squeeze(x=mb.expand_dims(x=x, axes=[0]), axes=[0])

    after = transformed(build(make, (N, 12)), MergeReshapes(), DeadCode(), sizes=S, ulp=0)
    assert ops(after) == ["reshape"]


def test_two_unknown_sizes_need_a_shape_that_says_them():
    """A shape computed of an input serves as well after merging; an ``expand_dims`` of such a reshape cannot merge."""
    types = {"x": TensorType(fp32, (N * M * 4,)), "z": TensorType(fp32, (N, M))}

    def shape_of(z):
        return mb.concat(values=[mb.shape(x=z), [4]], axis=0)

    def merges(x, z):
        return mb.reshape(x=mb.reshape(x=x, shape=[-1, 2]), shape=shape_of(z), name="y")

    after = transformed(build(merges, types=types), MergeReshapes(), DeadCode(), sizes=S, ulp=0)
    assert ops(after) == ["shape", "concat", "reshape"]

    def stays(x, z):
        return mb.expand_dims(x=mb.reshape(x=x, shape=shape_of(z)), axes=[1])

    assert changed(build(stays, types=types), MergeReshapes()) == []


def test_a_zero_in_a_shape_copies_from_another_operand_after_merging():
    """``0`` takes a size of the operand: where that is the middle one, the sizes are spelled out."""

    def make(x):
        return mb.reshape(x=mb.reshape(x=x, shape=[4, 6]), shape=[2, 0, 3])

    after = transformed(build(make, (2, 12)), MergeReshapes(), DeadCode(), ulp=0)
    assert ops(after) == ["reshape"]


def test_the_first_reshape_stays_for_its_other_users():
    def make(x):
        flat = mb.reshape(x=x, shape=[-1], name="flat")
        return flat, mb.reshape(x=flat, shape=[-1, 6], name="six")

    program = build(make, (N, 12))
    after = transformed(program, MergeReshapes(), sizes=S, ulp=0)
    assert ops(after) == ["reshape", "reshape"]
    assert after.main.outputs[1].producer.operand("x").name == "x"


@pytest.mark.parametrize(
    ("short", "long", "places"),
    [((2, 3), (1, 2, 3, 1), [0, 3]), ((1, 2), (1, 1, 2), [1]), ((2, 3), (2, 3), None), ((2, 3), (3, 2, 1), None)],
)
def test_where_ones_are_inserted(short, long, places):
    assert inserted_ones(short, long) == places


# --- slices ----------------------------------------------------------------------------------------------------------


def taken(x, axis, begin, end, *, squeeze=False):
    """A slice along one axis."""
    rank = x.rank
    whole = [k != axis for k in range(rank)]
    limits = {
        name: [limit if k == axis else 0 for k in range(rank)] for name, limit in (("begin", begin), ("end", end))
    }
    dropped = [squeeze and k == axis for k in range(rank)]
    return mb.slice_by_index(x=x, **limits, begin_mask=whole, end_mask=whole, squeeze_mask=dropped)


def test_a_joint_projection_is_cut_before_its_layout_changes():
    """As PyTorch's ``MultiheadAttention`` makes queries, keys and values: of 15 ops, nine are left, then three."""

    def make(x):
        joint = mb.transpose(x=mb.reshape(x=x, shape=[1, 7, 1, 3, 8]), perm=[3, 1, 2, 0, 4])
        joint = mb.squeeze(x=joint, axes=[3])
        parts = [taken(joint, 0, k, k + 1, squeeze=True) for k in range(3)]
        heads = [mb.transpose(x=mb.reshape(x=part, shape=[7, 4, 2]), perm=[1, 0, 2]) for part in parts]
        return [mb.reshape(x=head, shape=[1, 4, 7, 2]) for head in heads]

    passes = MoveSlices(), MergeReshapes(), MergeTransposes(), TransposesAsReshapes(), MergeReshapes(), DeadCode()
    after = transformed(build(make, (7, 1, 24)), *passes, ulp=0)
    assert ops(after) == ["slice_by_index"] * 3 + ["reshape", "transpose"] * 3
    assert ops(transformed(after, JoinParts(), DeadCode(), ulp=0)) == ["reshape", "transpose", "split"]


@pytest.mark.parametrize(
    ("layout", "axis", "left"),
    [
        (lambda x: mb.transpose(x=x, perm=[2, 0, 1]), 0, ["slice_by_index", "transpose"]),
        (lambda x: mb.transpose(x=x, perm=[-1, 0, 1]), 1, ["slice_by_index", "transpose"]),
        (lambda x: mb.reshape(x=x, shape=[4, 2, 3, 6]), 0, ["slice_by_index", "reshape"]),
        (lambda x: mb.reshape(x=x, shape=[4, 6, 2, 3]), 2, ["slice_by_index", "reshape"]),
        (lambda x: mb.expand_dims(x=x, axes=[0, 2]), 3, ["slice_by_index", "reshape"]),
    ],
)
@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize("begin", [0, 1])
def test_slices_move_before(layout, axis, left, begin, squeeze):
    """The second and the first of an axis, kept or dropped."""
    program = build(lambda x: taken(layout(x), axis, begin, begin + 1, squeeze=squeeze), (4, 6, 6))
    after = transformed(program, MoveSlices(), DeadCode(), ulp=0)
    assert ops(after) == [*left, *(["squeeze"] if squeeze else [])]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: [taken(mb.transpose(x=x, perm=[1, 0]), 0, 0, 9), taken(mb.transpose(x=x, perm=[1, 0]), 0, 2, 9)],
        lambda x: taken(
            mb.transpose(x=x, perm=[1, 0]), 0, -13, 0, squeeze=True
        ),  # no such element: an error of the run
        lambda x: taken(mb.reshape(x=x, shape=[6, 4, 2]), 1, 1, 3),  # of each of several groups
        lambda x: taken(mb.reshape(x=x, shape=[3, 16]), 0, 1, 2),  # joins a part of one axis with another
        lambda x: mb.slice_by_index(x=mb.transpose(x=x, perm=[1, 0]), begin=[3, 0], end=[0, 4], stride=[-1, 1]),
        lambda x: mb.slice_by_index(x=mb.transpose(x=x, perm=[1, 0]), begin=[0, 0], end=[6, 4], stride=[2, 1]),
    ],
)
def test_slices_stay(make):
    """Where it would be computed twice, or elements are not neighbours before."""
    program = build(make, (4, 12))
    changed(program, CommonSubexpressions())
    assert changed(program, MoveSlices()) == []


def test_a_single_element_counts_from_the_end():
    program = build(lambda x: taken(mb.transpose(x=x, perm=[1, 0]), 0, -1, 0, squeeze=True), (4, 12))
    after = transformed(program, MoveSlices(), DeadCode(), ulp=0)
    assert ops(after) == ["slice_by_index", "transpose", "squeeze"]


def test_a_layout_with_other_users_keeps_its_slices():
    def make(x):
        turned = mb.transpose(x=x, perm=[1, 0])
        return [taken(turned, 0, 0, 1), mb.relu(x=turned)]

    assert changed(build(make, (4, 12)), MoveSlices()) == []


# --- parts -----------------------------------------------------------------------------------------------------------


def heads(part, *, width=2, perm=(0, 2, 1, 3)):
    """[B, T, H·width] to [B, H, T, width]."""
    batch, steps, size = part.shape
    return mb.transpose(x=mb.reshape(x=part, shape=[batch, steps, size // width, width]), perm=list(perm))


def cut(x, *sizes, axis=2):
    ends = np.cumsum([0, *sizes]).tolist()
    return [taken(x, axis, begin, end) for begin, end in itertools.pairwise(ends)]


@pytest.mark.parametrize(
    "parted",
    [
        lambda x: cut(x, 8, 8, 8),
        lambda x: cut(x, 12, 6, 6),  # fewer heads of keys and values than of queries
        lambda x: cut(x, 8, 8, 8)[::-1],  # made in another order
        lambda x: mb.split(x=x, num_splits=3, axis=2),
        lambda x: mb.split(x=x, split_sizes=[12, 6, 6], axis=-1),
    ],
)
def test_parts_are_brought_into_their_layout_together(parted):
    def make(x):
        return [mb.relu(x=heads(part), name=f"y{k}") for k, part in enumerate(parted(x))]

    after = transformed(build(make, (2, 5, 24)), JoinParts(), DeadCode(), ulp=0)
    assert ops(after) == ["reshape", "transpose", "split", "relu", "relu", "relu"]


def test_parts_go_together_as_far_as_they_go_the_same_way():
    """Keys are turned once more than values; outputs keep their names."""

    def make(x):
        keys, values = (heads(part) for part in cut(x, 12, 12))
        return mb.transpose(x=keys, perm=[0, 1, 3, 2], name="keys"), mb.identity(x=values, name="values")

    after = transformed(build(make, (2, 5, 24)), JoinParts(), DeadCode(), ulp=0)
    assert ops(after) == ["reshape", "transpose", "split", "transpose", "identity"]
    assert [value.name for value in after.main.outputs] == ["keys", "values"]


def test_outputs_that_are_parts_keep_their_names():
    def make(x):
        return [mb.transpose(x=part, perm=[1, 0, 2], name=f"y{k}") for k, part in enumerate(cut(x, 12, 12))]

    after = transformed(build(make, (2, 5, 24)), JoinParts(), DeadCode(), ulp=0)
    assert ops(after) == ["transpose", "split"]
    assert [value.name for value in after.main.outputs] == ["y0", "y1"]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: [mb.transpose(x=p, perm=q) for p, q in zip(cut(x, 12, 12), ([1, 0, 2], [2, 0, 1]), strict=True)],
        lambda x: [heads(part, width=w) for part, w in zip(cut(x, 12, 12), (2, 3), strict=True)],
        lambda x: [heads(part) for part in cut(x, 12, 10)],  # something is left out
        lambda x: [heads(part) for part in (*cut(x, 12, 12), taken(x, 2, 6, 18))],  # or taken twice
        lambda x: [*map(heads, cut(x, 12, 12)), mb.relu(x=x)],
        lambda x: [value for part in cut(x, 12, 12) for value in (heads(part), mb.relu(x=part))],
        lambda x: [
            mb.reshape(x=part, shape=[-1, 24]) for part in cut(x, 2, 3, axis=1)
        ],  # the cut axis meets one before
        lambda x: [mb.reshape(x=part, shape=[24, -1]) for part in cut(x, 12, 12)],
        lambda x: cut(x, 12, 12),
    ],
)
def test_parts_stay_apart(make):
    assert changed(build(make, (2, 5, 24)), JoinParts()) == []


def test_types_that_cannot_be_split_stay_apart():
    types = {"x": TensorType(int16, (2, 5, 24))}
    program = build(lambda x: [heads(part) for part in cut(x, 12, 12)], types=types)
    before = shown(program)
    assert changed(program, JoinParts()) == []
    assert shown(program) == before


def test_parts_that_say_a_shape_are_not_reshaped():
    def make(x):
        return [
            mb.reshape(x=x, shape=part) for part in cut(mb.identity(x=np.array([1, 2, 1, 2], np.int32)), 2, 2, axis=0)
        ]

    assert changed(build(make, (2,)), JoinParts()) == []


def test_parts_of_unknown_size_stay_apart():
    program = build(
        lambda x: [mb.transpose(x=p, perm=[1, 0, 2]) for p in mb.split(x=x, num_splits=2, axis=0)], (N * 2, 5, 24)
    )
    assert changed(program, JoinParts()) == []


def test_other_sizes_need_not_be_known():
    def make(x):
        return [mb.transpose(x=part, perm=[1, 0, 2]) for part in cut(x, 12, 12)]

    after = transformed(build(make, (N, M, 24)), JoinParts(), DeadCode(), sizes=S, ulp=0)
    assert ops(after) == ["transpose", "split"]


def test_transpositions_of_ones_become_reshapes():
    """But not where elements move, nor where matrix products take the transposition as a flag."""
    program = build(lambda x: mb.relu(x=mb.transpose(x=x, perm=[1, 0, 3, 2])), (1, N, 1, 4))
    after = transformed(program, TransposesAsReshapes(), sizes=S, ulp=0)
    assert ops(after) == ["reshape", "relu"]
    assert changed(build(lambda x: mb.transpose(x=x, perm=[1, 0]), (3, 4)), TransposesAsReshapes()) == []

    def product(x, y):
        return mb.matmul(x=mb.transpose(x=x, perm=[1, 0]), y=y)

    assert changed(build(product, (4, 1), (4, 3)), TransposesAsReshapes()) == []


def test_a_transposition_between_reshapes_takes_the_rank_of_the_second():
    def make(x):
        return mb.expand_dims(x=mb.transpose(x=mb.reshape(x=x, shape=[-1, 3, 4]), perm=[1, 0, 2]), axes=[0])

    after = transformed(build(make, (N, 12)), MergeReshapes(), DeadCode(), sizes=S, ulp=0)
    assert ops(after) == ["reshape", "transpose"]
    (reshape,) = (op for op in after.main.body if op.op_name == "reshape")
    assert reshape.result.rank == 4


# --- transpositions that follow one another --------------------------------------------------------------------------


def test_transpositions_merge():
    """perm₁ = (1, 2, 0), perm₂ = (0, 2, 1): axis k of the result is axis perm₁[perm₂[k]] = (1, 0, 2) of x."""

    def make(x):
        return mb.transpose(x=mb.transpose(x=x, perm=[1, 2, 0]), perm=[0, -1, 1], name="y")

    after = transformed(build(make, (N, 3, 4)), MergeTransposes(), DeadCode(), sizes=S, ulp=0)
    assert shown(after) == expected("""
        func main<ios17>(tensor<fp32, [n{1..64}, 3, 4]> x) {
                tensor<int32, [3]> y_perm_0 = const()[val = tensor<int32, [3]>([1, 0, 2])];
                tensor<fp32, [3, n{1..64}, 4]> y = transpose(perm = y_perm_0, x = x);
            } -> (y);
    """)


def test_inverse_transpositions_cancel():
    def make(x):
        there = mb.transpose(x=mb.exp(x=x), perm=[2, 0, 1])
        return mb.relu(x=mb.transpose(x=there, perm=[1, 2, 0]))

    assert ops(transformed(build(make, (N, 3, 4)), MergeTransposes(), sizes=S, ulp=0)) == ["exp", "relu"]


@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True), (True, True)])
def test_a_swap_before_a_matrix_product_becomes_its_flag(flags):
    """Whatever the flags were."""
    first = (2, 5, 3) if flags[0] else (2, 3, 5)
    second = (2, 7, 5) if flags[1] else (2, 5, 7)

    def make(x, y):
        a, b = (mb.transpose(x=v, perm=[0, 2, 1]) for v in (x, y))
        return mb.matmul(x=a, y=b, transpose_x=flags[0], transpose_y=flags[1])

    program = build(make, (2, *first[:0:-1]), (2, *second[:0:-1]))
    after = transformed(program, MergeTransposes(), ulp=0)
    assert ops(after) == ["matmul"]


def test_a_swap_becomes_a_flag_rather_than_part_of_the_transposition_before_it():
    """The first one has to stay anyway: it is an output, as a key that a decoder keeps is."""

    def make(x, y):
        key = mb.transpose(x=x, perm=[0, 2, 1, 3], name="key")
        return key, mb.matmul(x=y, y=mb.transpose(x=key, perm=[0, 1, 3, 2]))

    after = transformed(build(make, (N, 6, 2, 4), (N, 2, 5, 4)), MergeTransposes(), sizes=S, ulp=0)
    assert ops(after) == ["transpose", "matmul"]


def test_other_permutations_before_a_matrix_product_stay():
    def make(x, y):
        return mb.matmul(x=mb.transpose(x=x, perm=[1, 0, 2]), y=y)

    assert changed(build(make, (2, 3, 4), (3, 4, 2)), MergeTransposes()) == []


# --- transpositions that move ----------------------------------------------------------------------------------------

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
LAYOUT = (MergeTransposes(), MoveTransposes(), MergeTransposes(), CommonSubexpressions(), DeadCode())


def test_a_pair_around_element_wise_ops_cancels():
    """Channels last for an activation alone is no reason to move data; the constant is transposed instead."""

    def make(x):
        y = mb.transpose(x=x, perm=TO_LAST)
        y = mb.relu(x=mb.add(x=mb.mul(x=y, y=fill((3,))), y=0.5))
        return mb.transpose(x=y, perm=TO_FIRST, name="y")

    after = transformed(build(make, (N, 3, 4, 5)), *LAYOUT, sizes=S, ulp=0)
    assert ops(after) == ["mul", "add", "relu"]
    assert after.main.outputs[0].name == "y"
    (constant,) = [v for v in after.main.values() if v.is_constant and v.rank == 4]
    assert constant.shape == (1, 3, 1, 1)


def test_a_residual_branch_moves_as_a_whole():
    """Both branches arrive transposed, and each of the sums is used twice: as such, and transposed back."""

    def make(x):
        def layer(y):
            y = mb.transpose(x=y, perm=TO_FIRST)
            y = mb.conv(x=y, weight=fill((3, 3, 1, 1)))
            return mb.transpose(x=y, perm=TO_LAST)

        y = mb.transpose(x=x, perm=TO_LAST)
        for _ in range(3):
            y = mb.relu(x=mb.add(x=y, y=layer(y)))
        return mb.transpose(x=y, perm=TO_FIRST)

    after = transformed(build(make, (N, 3, 4, 5)), *LAYOUT, sizes=S, ulp=0)
    assert ops(after) == ["conv", "add", "relu"] * 3


def test_nothing_moves_where_as_many_would_remain():
    def make(x):
        y = mb.transpose(x=x, perm=TO_LAST)
        return mb.relu(x=y), mb.exp(x=y)

    assert changed(build(make, (2, 3, 4, 5)), MoveTransposes()) == []


def test_two_transpositions_become_one_behind_a_sum():
    def make(x, y):
        return mb.add(x=mb.transpose(x=x, perm=TO_LAST), y=mb.transpose(x=y, perm=TO_LAST), name="z")

    after = transformed(build(make, (2, 3, 4, 5), (2, 3, 4, 5)), *LAYOUT, ulp=0)
    assert ops(after) == ["add", "transpose"]
    assert after.main.outputs[0].name == "z"


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: mb.add(x=mb.transpose(x=x, perm=[1, 0, 2]), y=mb.transpose(x=y, perm=[2, 1, 0])),
        lambda x, y: mb.transpose(x=mb.add(x=mb.transpose(x=x, perm=[1, 0, 2]), y=y), perm=[1, 0, 2]),
        lambda x, y: mb.transpose(x=mb.softmax(x=mb.transpose(x=x, perm=[1, 0, 2]), axis=0), perm=[1, 0, 2]),
    ],
)
def test_what_arrives_otherwise_holds_a_group_back(make):
    """Another permutation, no permutation, or an op that is not element-wise."""
    program = build(make, (3, 3, 3), (3, 3, 3))
    assert changed(program, MoveTransposes()) == []


def test_a_broadcast_operand_of_lower_rank_is_not_permuted():
    def make(x, y):
        return mb.transpose(x=mb.add(x=mb.transpose(x=x, perm=[0, 2, 1]), y=y), perm=[0, 2, 1])

    assert changed(build(make, (2, 3, 4), (3,)), MoveTransposes()) == []


def test_parameters_stay_as_they_are():
    def make(x):
        y = mb.clip(x=mb.transpose(x=x, perm=[1, 0]), alpha=-1.0, beta=0.5)
        y = mb.select(cond=mb.greater(x=y, y=fill((2,))), a=y, b=np.float32(3))
        return mb.transpose(x=y, perm=[1, 0])

    after = transformed(build(make, (2, 3)), *LAYOUT, ulp=0)
    assert ops(after) == ["clip", "greater", "select"]
