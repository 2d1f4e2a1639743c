"""How a body is read: what is not strict JSON is refused with the pointer of the value."""

import asyncio
import json
import threading

import pytest
from npas_api import request_body, validation
from npas_api.errors import InvalidJsonError, InvalidRequestError
from pydantic import BaseModel, field_validator
from starlette.requests import Request


def refusal(content):
    with pytest.raises(InvalidRequestError) as caught:
        request_body.parse(content)
    return [(error.pointer, error.code) for error in caught.value.errors]


def test_parse_returns_plain_json():
    content = b'{"a": [1, -2.5, null, true, "\\u00e9\\ud83d\\ude00"]}'
    assert request_body.parse(content) == {"a": [1, -2.5, None, True, "\u00e9\U0001f600"]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', ("/b/c", "duplicate_key")),
        (b'{"a": [0, NaN]}', ("/a/1", "not_a_number")),
        (b'{"a": -Infinity}', ("/a", "not_a_number")),
        (b'{"a": 1e999}', ("/a", "number_too_large")),
        (b'{"a": 9223372036854775808}', ("/a", "number_too_large")),
        (b'{"a": %s}' % (b"9" * 100_000), ("/a", "number_too_large")),
        (b'{"a": "\\u0000"}', ("/a", "invalid_text")),
        (b'{"a~/": ["\\ud800"]}', ("/a~0~1/0", "invalid_text")),
        (b'{"\\udfff": 1}', ("/\udfff", "invalid_text")),
        (b'{"a": %s}' % (b"[" * 40 + b"]" * 40), ("/a" + "/0" * 31, "too_deep")),
        (b"[" * 200_000 + b"]" * 200_000, ("", "too_deep")),
        (b"[%s0]" % (b"0," * 50_000), ("/19999", "too_many_values")),
    ],
)
def test_parse_refuses_what_json_should_not_hold(content, expected):
    assert refusal(content) == [expected]


@pytest.mark.parametrize("given", [b"[%s0]" % (b"0," * 19_998), b"[[%s0]]" % (b"0," * 19_997)])
def test_parse_takes_as_many_values_as_are_allowed(given):
    assert request_body.parse(given) == json.loads(given)
    more = given.replace(b"]", b", 0]", 1)
    assert [code for _, code in refusal(more)] == ["too_many_values"]


def test_parse_names_every_refused_value_in_order():
    assert refusal(b'{"a": NaN, "b": ["\\u0000", 1e400]}') == [
        ("/a", "not_a_number"),
        ("/b/0", "invalid_text"),
        ("/b/1", "number_too_large"),
    ]


def test_parse_names_only_the_first_of_very_many():
    assert len(refusal(b"[%sNaN]" % (b"NaN," * 10_000))) == 20


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{'a': 1}", b'{"a": 1,}', b'{"a": "\xff"}', b"\xef\xbb\xbf{}", b'"\x00"'],
)
def test_parse_refuses_what_is_not_json(content):
    with pytest.raises(InvalidJsonError):
        request_body.parse(content)


class Noted(BaseModel):
    """Notes in which threads it is checked."""

    numbers: list[int]

    @field_validator("numbers")
    @classmethod
    def _note(cls, value):
        THREADS.add(threading.get_ident())
        return value


THREADS = set()


def read(content):
    """Have a body read on an event loop of this thread."""

    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    kind = [(b"content-type", b"application/json")]
    request = Request({"type": "http", "method": "POST", "headers": kind}, receive)
    return asyncio.run(request_body.body(Noted)(request))


def test_body_that_is_large_is_checked_beside_the_event_loop():
    THREADS.clear()
    large = b'{"numbers": [1]%s}' % (b" " * request_body.SMALL_BYTES)
    assert read(large).numbers == [1]
    assert THREADS.isdisjoint({threading.get_ident()})


def test_body_with_too_much_wrong_is_not_told_field_by_field():
    with pytest.raises(InvalidRequestError) as caught:
        read(b'{"numbers": [%s0]}' % (b"[]," * request_body.MAX_COMPLAINTS + b"[],"))
    assert [error.code for error in caught.value.errors] == ["too_many_errors"]


def test_blamed_looks_no_further_than_it_tells():
    looked_at = []

    def complaints():
        for index in range(9000):
            looked_at.append(index)
            yield {"loc": ("body", index), "type": "int_type", "msg": "no", "input": "x"}

    told = validation.blamed(complaints(), ["x"] * 9000)
    assert [error.pointer for error in told] == [f"/{i}" for i in range(validation.MAX_ERRORS)]
    assert len(looked_at) == validation.MAX_ERRORS + 1
