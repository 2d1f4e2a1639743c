"""Server-sent events are split as the standard says."""

from npas_client.stream import messages


def test_messages_have_id_type_and_data():
    lines = ["retry: 3000", "id: 7", "event: metrics", 'data: {"a":', "data: 1}", ""]
    (message,) = messages(lines)
    assert (message.id, message.event, message.data) == ("7", "metrics", {"a": 1})


def test_messages_without_type_or_id_are_plain():
    (message,) = messages(["data:[1]", ""])
    assert (message.id, message.event, message.data) == ("", "message", [1])


def test_messages_leave_out_pings_and_a_torn_end():
    assert [*messages([": ping", "", "retry: 5", "", "id: 1", "data: {"])] == []


def test_messages_do_not_inherit_fields():
    first, second = messages(["id: 1", "event: end", "data: 1", "", "data: 2", ""])
    assert (first.id, second.id, second.event) == ("1", "", "message")
