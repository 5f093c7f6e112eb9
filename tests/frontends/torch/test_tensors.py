# ruff: noqa: E501, E741
# One case a line: the tables are read across, and I holds the integers.
"""Rearranging, indexing, creating, reducing and sorting agree with PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from gristmill.frontends.torch import lower
from gristmill.ir.opset import iOS15, iOS17
from tests.frontends.torch.harness import Case, agree, bools, case, exported, floats, ints, run

X, V, I = floats(2, 3, 4), floats(6), ints(2, 3, 4)
M, B, COLUMNS = floats(4, 5), bools(4, 5), floats(4, 2)

SHAPE = [
    case("view", lambda x: (x.view(6, 4), x.view(-1), x.reshape(4, -1), x.flatten(1)), X),
    case("view of bools", lambda x: x.view(-1), B),
    case("scalar", lambda x: (x.reshape(1, 1), x.flatten(), x.sum(), x.expand(3)), torch.tensor(2.0)),
    case("permute", lambda x: (x.permute(2, 0, 1), x.transpose(0, -1), x.mT, x.movedim(0, 2), x[0].t()), X),
    case("squeeze", lambda x: (x.unsqueeze(1).squeeze(1), x[:1].squeeze(), x.squeeze(0), x[None, ..., None].squeeze((0, 4))), X),
    case("unflatten", lambda x: x.unflatten(2, (2, -1)), X),
    case("expand", lambda x: (x[:, :1].expand(-1, 5, -1), x.expand(2, 2, 3, 4), x[:, :, :1].expand_as(x)), X),
    case("repeat", lambda x: (x.repeat(2, 1, 3), x.repeat(2, 1, 1, 1), torch.tile(x, (2,))), X),
    case("broadcast", lambda x, y: torch.broadcast_tensors(x, y), floats(3, 1), floats(4)),
    case("slices", lambda x: (x[0], x[:, 1:], x[..., ::2], x[-1, -2:, -3], x[:, 5:], x[1:1], x[:, -9:2]), X),
    case("select the last", lambda x: (x.select(1, -1), x[..., -2]), X),
    case("narrow", lambda x: x.narrow(2, 1, 2), X),
    case("split", lambda x: (x.split(2, 2), x.chunk(3, 1), x.split([1, 3], 2), x.tensor_split(3, 2), x.unbind(1)), X),
    case("uneven split", lambda x: x.split(4), V),
    case("cat", lambda x: (torch.cat([x, x[:1]]), torch.cat([x, x], -1), torch.stack([x, x], 1), torch.hstack([x, x])), X),
    case("cat promotes", lambda x, y: torch.cat([x, y]), V, ints(3)),
    case("cat of bools", lambda x: torch.cat([x, x]), B),
    case("cat skips empty vectors", lambda x: torch.cat([torch.zeros(0), x]), X),
    case("flip", lambda x: (x.flip(0, 2), torch.fliplr(x[0])), X),
    case("roll", lambda x: (x.roll(1, 2), x.roll((1, -1), (0, 1)), x.roll(5)), X),
    case("diagonal", lambda x: (x.diagonal(), x.diagonal(1), x.diagonal(-2), x.trace(), torch.diag_embed(x[0])), M),
    case("triangles", lambda x: (x.tril(), x.triu(1), x.tril(-1)), M),
    case("triangle of bools", lambda x: x.triu(), B),
    case("unfold", lambda x: x.unfold(1, 3, 2), M),
    case("pixel shuffle", lambda x: (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.channel_shuffle(x, 4)), floats(2, 8, 4, 6)),
    case("pixel shuffle of another rank", lambda x: F.pixel_shuffle(x, 2), floats(8, 4, 6)),
    case("pad", lambda x: (F.pad(x, (1, 2)), F.pad(x, (0, 1, 2, 0), value=3.0), F.pad(x, (-1, 1))), X),
    case("pad of ints and bools", lambda x, b: (F.pad(x, (1, 0), value=7), F.pad(b, (0, 2), value=True)), I, B),
    case("reflect", lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect"), floats(1, 2, 3, 4)),
    case("replicate", lambda x: F.pad(x, (1, 2, 3, 0), mode="replicate"), floats(1, 2, 3, 4)),
    case("replicate volumes", lambda x: F.pad(x, (1, 1, 0, 2, 1, 0), mode="replicate"), floats(1, 2, 3, 4, 2)),
    case("circular", lambda x: F.pad(x, (1, 2), mode="circular"), floats(1, 2, 4)),
    case("as_strided", lambda x: x.as_strided((3, 2), (1, 2), 1), V),
    case("meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij"), floats(3), floats(4)),
    case("rot90", lambda x: torch.rot90(x, 1, (0, 1)), M),
    case("cross", lambda x, y: torch.linalg.cross(x, y), floats(4, 3), floats(4, 3) + 1),
]  # fmt: skip

WRITING = [
    case("in place", lambda x: x.clone().add_(1).mul_(2), X),
    case("write through a view", lambda x: _filled(x, 5.0), X),
    case("write a slice", lambda x: _assigned(x, (slice(None), slice(1, 3)), 7.0), X),
    case("write a strided slice", lambda x: _assigned(x, (slice(None), slice(None), slice(0, 4, 2)), 7.0), X),
    case("write a row", lambda x: _assigned(x, (0,), x[1]), X),
    case("write by a mask", lambda x, b: _assigned(x, (b,), 0.0), M, B),
    case("write by places", lambda x, i: _assigned(x, (i,), 0.0), M, torch.tensor([0, 2])),
    case("write by pairs", lambda x, i: _assigned(x, (i, i), torch.arange(3.0)), M, torch.tensor([0, 2, 3])),
    case("write by places of a later axis", lambda x, i: _assigned(x, (slice(None), i), COLUMNS), M, torch.tensor([0, -1])),
    case("write to bools", lambda x, i: _assigned(x, (i,), True), B, torch.tensor([1])),
    case("accumulate", lambda x, i: x.index_put((i,), torch.ones(2, 5), accumulate=True), M, torch.tensor([1, 1])),
    case("slice_scatter", lambda x: torch.slice_scatter(x, torch.ones(4, 2), 1, 1, 3), M),
    case("select_scatter", lambda x: torch.select_scatter(x, torch.ones(4), 1, -1), M),
    case("diagonal_scatter", lambda x: torch.diagonal_scatter(x, torch.ones(4), 1), M),
    case("copy", lambda x, y: x.clone().copy_(y), M, ints(5)),
    case("masked_scatter", lambda x, b: x.masked_scatter(b, torch.arange(20.0)), M, B),
]  # fmt: skip


def _filled(x, value):
    y = x.clone()
    y[:, 0].fill_(value)
    return y


def _assigned(x, index, value):
    y = x.clone()
    y[index] = value
    return y


P = torch.tensor([[2, 0], [1, -1]])
INDEXING = [
    case("by places", lambda x, p: x[p], M, P),
    case("by places of a later axis", lambda x, p: x[:, p], M, P),
    case("by pairs", lambda x, p: x[p, p], M, P),
    case("by pairs apart", lambda x, p: x[p, :, p], floats(3, 4, 3), P),
    case("by adjoining pairs behind", lambda x, p: x[:, p, p], X, P),
    case("by broadcast places", lambda x, p: x[p[:, None], p[None]], M, torch.tensor([0, 3])),
    case("by a constant", lambda x: x[:, [0, 2]], M),
    case("bools by places", lambda x, p: x[p], B, P),
    case("by a mask", lambda x, b: x[b], M, B),
    case("by a mask of rows", lambda x: x[x[:, 0] > 0], M),
    case("index_select", lambda x, p: x.index_select(1, p[0]), M, P),
    case("gather", lambda x, p: x.gather(1, p), M[:2], P % 3),
    case("gather by a shorter index", lambda x, p: x.gather(1, p), M, P % 3),
    case("take", lambda x, p: x.take(p), M, P),
    case("scatter", lambda x, p: (x.scatter(1, p, 9.0), x.scatter(1, p, x * 2)), M[:2], P % 3),
    case("scatter by a shorter index", lambda x, p: x.scatter(0, p, 9.0), M, P % 3),
    case("scatter_add", lambda x, p: x.scatter_add(1, p * 0, x), M[:2], torch.zeros(2, 5, dtype=torch.long)),
    *(
        case(f"scatter_reduce {mode} {self}", lambda x, p, mode=mode, self=self: x.scatter_reduce(1, p, x + 1, mode, include_self=self), M[:2], ints(2, 5, low=0, high=2))
        for mode in ("sum", "prod", "mean", "amax", "amin") for self in (True, False)
    ),
    case("index_add", lambda x, p: x.index_add(0, p, torch.ones(2, 5), alpha=2), M, torch.tensor([1, 1])),
    case("index_copy", lambda x, p: x.index_copy(0, p, torch.ones(2, 5)), M, torch.tensor([3, 0])),
    case("index_fill", lambda x, p: x.index_fill(1, p, 4.0), M, torch.tensor([3, 0])),
    case("nonzero", lambda x: (x.nonzero(), torch.argwhere(x > 0)), B),
    case("masked_select", torch.masked_select, M, B),
    case("repeat_interleave", lambda x: (x.repeat_interleave(2), x.repeat_interleave(3, 1)), M),
    case("repeat_interleave by a constant", lambda x: x.repeat_interleave(torch.tensor([1, 0, 2, 1]), 0), M),
    case("embedding", lambda w, p: F.embedding(p, w), M, P % 3),
    case("one_hot", lambda p: F.one_hot(p, 4), P % 3),
    case("searchsorted", lambda s, x: (torch.searchsorted(s, x), torch.searchsorted(s, x, right=True)), V.sort()[0], V.reshape(2, 3)),
    case("searchsorted by rows", torch.searchsorted, M.sort()[0], M),
    case("bucketize", lambda x: torch.bucketize(x, torch.tensor([-1.0, 0, 1])), M),
    case("bucketize to the right", lambda x: torch.bucketize(x, torch.tensor([1, 3]), right=True), P),
    case("unique", lambda x: torch.unique(x, return_inverse=True, return_counts=True), ints(12, low=0, high=5)),
    case("unique_consecutive", lambda x: torch.unique_consecutive(x, return_counts=True), ints(12, low=0, high=2)),
]  # fmt: skip

CREATION = [
    case("filled", lambda x: (torch.zeros(2), torch.ones(3) + x.sum(), torch.full((2, 2), 1.5), torch.zeros_like(x), torch.full_like(x, 2)), M),
    case("new", lambda x: (x.new_zeros(2), x.new_ones(3), x.new_full((1,), 4), torch.ones_like(x, dtype=torch.int32)), M),
    case("arange", lambda x: (torch.arange(4) + x[0, :4], torch.arange(1, 9, 2), torch.arange(0, 1, 0.25)), M),
    case("linspace", lambda x: torch.linspace(-1, 2, 7) + x.sum(), M),
    case("eye", lambda x: (torch.eye(4) @ x, torch.eye(2, 3)), M),
    case("tensor constants", lambda x: x + torch.tensor([1.0, 2, 3, 4, 5]), M),
]  # fmt: skip

REDUCTION = [
    case("sum", lambda x: (x.sum(), x.sum(1), x.sum((0, 2), keepdim=True)), X),
    case("sum of bools and ints", lambda b, i: (b.sum(), i.sum(0), b.sum(1)), B, I),
    case("mean", lambda x: (x.mean(), x.mean(-1), x.mean((0, 1), keepdim=True)), X),
    case("prod", lambda x: (x.prod(), x.prod(1)), X),
    case("extremes", lambda x: (x.max(), x.min(), x.amax((0, 1)), x.amin(2, keepdim=True), x.max(1), x.min(2, keepdim=True)), X),
    case("extremes of ints", lambda x: (x.max(), x.amin(0)), I),
    case("argmax", lambda x: (x.argmax(), x.argmin(1), x.argmax(2, keepdim=True)), X),
    case("argmax takes the first", lambda x: x.argmax(1), torch.tensor([[1, 3, 3], [2, 2, 1]])),
    case("any all", lambda b: (b.any(), b.all(), b.any(0), b.all(1, keepdim=True)), B),
    case("any of floats", lambda x: (x > 1.9).any(1), M),
    case("logsumexp", lambda x: x.logsumexp(1), X * 50),
    case("var std", lambda x: (x.var(), x.std(1), x.var(1, unbiased=False), x.std((0, 2), correction=2, keepdim=True), torch.var_mean(x, 1)), X),
    case("norms", lambda x: (x.norm(), torch.linalg.vector_norm(x, 1, 2), x.norm(p=3, dim=1), torch.linalg.vector_norm(x, float("inf"), 1), torch.linalg.vector_norm(x, 0, 1)), X),
    case("matrix norms", lambda x: (torch.linalg.matrix_norm(x), torch.linalg.matrix_norm(x, 1), torch.linalg.matrix_norm(x, float("inf"))), M),
    case("normalize", lambda x: F.normalize(x, dim=1), M),
    case("cosine similarity", lambda x: F.cosine_similarity(x, x.flip(0)), M),
    case("scalar reductions", lambda x: (x.sum(0), x.max(0)), torch.tensor(3.0)),
    case("cumsum", lambda x: (x.cumsum(1), x.cumsum(-1)), X),
    case("cumsum of bools", lambda b: b.cumsum(0), B),
    case("cumprod", lambda x: x.cumprod(2), floats(2, 3, 7)),
    case("cummax", lambda x: (x.cummax(1), x.cummin(1)), torch.tensor([[1, 3, 2, 3, 0], [2, 2, 1, 5, 4]])),
    case("logcumsumexp", lambda x: x.logcumsumexp(1), M * 40),
    case("losses", lambda x: (F.mse_loss(x, x * 0), F.l1_loss(x, x + 1), F.smooth_l1_loss(x, x * 2)), M),
    case("cross entropy", lambda x: F.cross_entropy(x, torch.tensor([0, 3, 1, 4])), M),
]  # fmt: skip

ORDER = [
    case("topk", lambda x: (x.topk(2), x.topk(3, 0, largest=False)), M),
    case("sort", lambda x: (x.sort(), x.sort(0, descending=True), x.argsort(1)), M),
    case("sort of bools", lambda b: b.sort(stable=True)[0], B),
    case("median", lambda x: (x.median(), x.median(1), x.kthvalue(2, 0)), M),
]

DISTANCE = [
    case("cdist", lambda x: torch.cdist(x, x[:2]), M, tolerance=1e-5),
    case("pdist", lambda x: F.pdist(x), M, tolerance=1e-5),
    case("pdist p=1", lambda x: F.pdist(x, 1.0), M),
    case("histogram", lambda x: torch.histc(x, 6, -1, 2), M),
    case("bincount", lambda x: torch.bincount(x), ints(12, low=0, high=5)),
    case("histogram by one_hot", lambda x: F.one_hot(x, 5).sum(0), ints(12, low=0, high=5)),
]


@pytest.mark.parametrize("case", [*SHAPE, *CREATION, *REDUCTION, *ORDER, *DISTANCE])
def test_agrees_with_pytorch(case):
    agree(case)


@pytest.mark.parametrize("case", [*INDEXING, *WRITING])
def test_indexing_agrees_with_pytorch_in_old_and_new_opsets(case):
    """The ops' operands, and whether they check indices, differ between them."""
    agree(case._replace(opsets=(iOS15, iOS17)))


WORDS, PLACES, STARTS = torch.tensor([1, 2, 0, 3, 2, 2, 1]), floats(4, 5), torch.tensor([0, 3, 3, 5])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"include_last_offset": True}], ids=str)
@pytest.mark.parametrize("known", [True, False], ids=["known limits", "limits as input"])
def test_bags_of_embeddings(mode, options, known):
    """Empty bags, padding, limits that end the last bag; limits known at conversion or given to each prediction."""
    starts = torch.tensor([0, 3, 3, 7]) if options.get("include_last_offset") else STARTS

    def bags(words, starts):
        return F.embedding_bag(words, PLACES, starts, mode=mode, **options)

    if known:
        agree(Case(lambda words: bags(words, starts), (WORDS,)))
    else:
        agree(Case(bags, (WORDS, starts)))


def test_weighted_bags_of_embeddings():
    agree(
        Case(
            lambda w, s, p: F.embedding_bag(w, PLACES, s, mode="sum", per_sample_weights=p), (WORDS, STARTS, floats(7))
        )
    )


def test_a_random_permutation_is_one():
    """Every number once; the order is no one's business."""
    program = lower(exported(lambda x: torch.randperm(9) + x.to(torch.int64) * 0, floats(1)))
    (found,) = run(program, floats(1))
    assert sorted(found.tolist()) == list(range(9))
