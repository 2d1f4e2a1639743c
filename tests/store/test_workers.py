"""What the workers say of themselves."""

import pytest
from npas_store import workers
from npas_store.database import reading, transaction


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("told", "largest"), [({}, None), ({"a": 5, "b": 7}, 7), ({"a": 5, "b": None}, None)]
)
def test_largest_memory_is_known_where_every_worker_said_what_it_has(told, largest):
    with transaction() as session:
        for name, memory_bytes in told.items():
            workers.beat(session, name, memory_bytes=memory_bytes)
    with reading() as session:
        assert workers.largest_memory_bytes(session) == largest
