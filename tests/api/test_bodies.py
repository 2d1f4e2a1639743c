"""How a body is read: what is not strict JSON is refused with the pointer of the value."""

import pytest
from npas_api import bodies
from npas_api.errors import InvalidJsonError, InvalidRequestError


def refusal(content):
    with pytest.raises(InvalidRequestError) as caught:
        bodies.parse(content)
    return [(error.pointer, error.code) for error in caught.value.errors]


def test_parse_returns_plain_json():
    content = b'{"a": [1, -2.5, null, true, "\\u00e9\\ud83d\\ude00"]}'
    assert bodies.parse(content) == {"a": [1, -2.5, None, True, "\u00e9\U0001f600"]}


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
        bodies.parse(content)
