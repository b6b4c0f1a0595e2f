"""The growth measurement moves every saga that it counts."""

from bench.growth import Shape, build_shapes, measure_growth


def test_each_measurement_changes_one_thing_only() -> None:
    usual = Shape(live=2000)
    for what, shape in build_shapes(live=(2000, 10_000)):
        changed = [name for name in Shape.__slots__ if getattr(shape, name) != getattr(usual, name)]
        assert changed in ([], [what])


def test_a_shape_is_measured_with_the_record_that_it_asks_for() -> None:
    usual, large = measure_growth(
        lambda _: None, [("live", Shape(live=1000)), ("metadata_bytes", Shape(live=1000, metadata_bytes=3000))]
    )
    assert (usual.amount, large.amount) == (1000, 3000)
    assert large.record_bytes - usual.record_bytes == 2700
    assert usual.microseconds_per_event > 0
