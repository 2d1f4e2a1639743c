"""Geometry: blocks tile the union of all shapes, each cell once, whatever nests or does not."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from npas.plans import blocks

MANY = settings(deadline=None, derandomize=True, max_examples=300)
BOX = st.tuples(st.integers(1, 9), st.integers(1, 9))
SHAPES = st.builds(
    lambda boxes, kernel: blocks.ordered({(*box, *kernel) for box in boxes}),
    st.lists(BOX, min_size=1, max_size=6),
    st.sampled_from([(), (3, 3), (1, 1), (2,)]),
)


def cells(rect):
    return {
        (row, column)
        for row in range(rect.top, rect.bottom)
        for column in range(rect.left, rect.right)
    }


def inside(shape):
    return {(row, column) for row in range(shape[0]) for column in range(shape[1])}


@MANY
@given(shapes=SHAPES)
def test_added_tiles_what_a_shape_adds_to_all_smaller_ones(shapes):
    covered = set()
    for index, shape in enumerate(shapes):
        rects = blocks.added(shapes[:index], shape)
        parts = [cells(rect) for rect in rects]
        assert sum(map(len, parts)) == sum(rect.area for rect in rects)
        assert set().union(*parts) == inside(shape) - covered
        assert sum(map(len, parts)) == len(inside(shape) - covered)
        covered |= inside(shape)


@MANY
@given(shapes=SHAPES)
def test_added_stores_its_rectangles_end_to_end(shapes):
    for index, shape in enumerate(shapes):
        end = 0
        for rect in blocks.added(shapes[:index], shape):
            assert rect.offset == end
            end += rect.area
        assert blocks.sizes(shapes)[index] == end * math.prod(shape[2:])


@MANY
@given(shapes=SHAPES)
def test_reads_names_the_blocks_a_layer_touches(shapes):
    covered, owned = set(), []
    for shape in shapes:
        owned.append(inside(shape) - covered)
        covered |= inside(shape)
    for shape in shapes:
        touched = {i for i, block in enumerate(owned) if block & inside(shape)}
        assert set(blocks.reads(shapes, shape)) == touched


@MANY
@given(shapes=SHAPES)
def test_overlap_cuts_a_rectangle_to_a_layer(shapes):
    for index, shape in enumerate(shapes):
        for rect in blocks.added(shapes[:index], shape):
            for layer in shapes:
                rows, columns = blocks.overlap(rect, layer)
                assert rows * columns == len(cells(rect) & inside(layer))


@MANY
@given(shapes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_ordered_is_by_size_then_shape(shapes):
    found = blocks.ordered(set(shapes))
    assert [math.prod(s) for s in found] == sorted(math.prod(s) for s in set(shapes))
    assert set(found) == set(shapes)


@MANY
@given(shapes=SHAPES, counts=st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_num_readers_counts_the_layers_that_read_each_block(shapes, counts):
    layers = [shape for shape, count in zip(shapes, counts, strict=False) for _ in range(count)]
    reads = [block for layer in layers for block in blocks.reads(shapes, layer)]
    expected = [reads.count(block) for block in range(len(shapes))]
    assert blocks.num_readers(shapes, layers) == expected


def test_blocks_of_many_shapes_have_hardly_more_rectangles_than_shapes():
    boxes = {(1 + 37 * i % 4001, 1 + 91 * i % 4003) for i in range(4000)}
    shapes = blocks.ordered(boxes)
    rects = [rect for own in blocks.all_added(shapes) for rect in own]
    assert len(rects) <= 2 * len(shapes)


@MANY
@given(shapes=SHAPES, data=st.data())
def test_within_some_layers_is_what_they_cover_of_every_block(shapes, data):
    some = data.draw(st.sets(st.sampled_from(shapes), min_size=1))
    covered = set().union(*map(inside, some))
    kept = blocks.all_within(shapes, blocks.ordered(some))
    for whole, rects in zip(blocks.all_added(shapes), kept, strict=True):
        parts = [cells(rect) for rect in rects]
        wanted = set().union(*map(cells, whole)) & covered
        assert set().union(*parts) == wanted
        assert sum(map(len, parts)) == len(wanted)
        assert [rect.offset for rect in rects] == [
            sum(map(len, parts[:index])) for index in range(len(parts))
        ]
    if some == set(shapes):
        assert kept == blocks.all_added(shapes)


def test_within_is_found_for_many_shapes_in_few_steps():
    """Thousands of blocks, of which some layers read a part: as many cuts as there are corners."""
    shapes = blocks.ordered({(side, 3001 - side) for side in range(1, 3001)})
    some = tuple(shapes[::7])
    kept = blocks.all_within(shapes, some)
    assert sum(map(len, kept)) <= sum(map(len, blocks.all_added(shapes))) + len(some)
