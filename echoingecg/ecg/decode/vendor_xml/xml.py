"""XML as a tree of elements, parsed safely: no entities, no outside references, no unbounded growth."""

import codecs
import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from echoingecg.common import Refusal

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# What expat reads by itself; Python's decoders read the other encodings, and the document goes to expat in UTF-8.
_OF_EXPAT = re.compile(r"utf-?(?:8|16(?:le|be)?)|us-ascii|ascii|iso-8859-1", re.IGNORECASE)
_DECLARATION = re.compile(rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["'](?P<encoding>[A-Za-z][\w.:-]{0,39})["'][^>]*?\?>""")
_UTF_8 = b'<?xml version="1.0" encoding="UTF-8"?>'
_DECLARED_WITHIN_BYTES = 256
# Names as writers of XML give them, for the Python decoder of the same or a wider set of characters.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "cp950"}
_TEXT_CODECS = re.compile(
    r"gb18030|hz|cp\d{3,4}|big5hkscs|shift_jis\w*|euc_j\w+|iso2022_\w+|johab|iso8859-\d+|koi8-[rut]|mac-\w+|tis-620",
)

_MAX_ELEMENTS = 500_000  # a 12-lead export has some hundreds to a few thousand
_MAX_DEPTH = 100


def parse_xml(content: bytes) -> "Element":
    """The root element. A document type may be named but is never read; entities are refused (defusedxml).

    Raises:
        Refusal: truncated when the document ends early, else unreadable.
    """
    from xml.etree.ElementTree import ParseError, TreeBuilder

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import XMLParser

    class Bounded(TreeBuilder):
        count = depth = 0

        def start(self, tag: Any, attrs: Any, /) -> "Element":
            self.count, self.depth = self.count + 1, self.depth + 1
            if self.count > _MAX_ELEMENTS or self.depth > _MAX_DEPTH:
                raise Refusal("unreadable", "more or deeper XML elements than an ECG needs")
            return super().start(tag, attrs)

        def end(self, tag: str, /) -> "Element":
            self.depth -= 1
            return super().end(tag)

    parser = XMLParser(target=Bounded())  # forbids entities and outside references
    try:
        parser.feed(_in_utf_8(content))
        return parser.close()
    except Refusal:
        raise
    except DefusedXmlException as fault:
        raise Refusal("unreadable", "the XML declares entities or refers to outside files") from fault
    except ParseError as fault:
        if fault.code in _ENDS_EARLY:
            raise Refusal("truncated", "the XML document ends early") from fault
        raise Refusal("unreadable", "not well-formed XML") from fault
    except (ValueError, LookupError) as fault:  # an encoding that expat or Python does not know
        raise Refusal("unreadable", "the XML's encoding cannot be read") from fault


def _in_utf_8(content: bytes) -> bytes:
    """The document as it is, or in UTF-8 where it declares an encoding that expat does not read by itself.

    Raises:
        Refusal: unreadable for an encoding that is none of text, or bytes that are not of it.
    """
    declared = _DECLARATION.match(content[:_DECLARED_WITHIN_BYTES])
    if declared is None:
        return content
    name = declared["encoding"].decode("ascii")
    if name.lower().startswith("utf-16"):  # of bytes that are not: a string that a program wrote in UTF-8
        return _UTF_8 + content[declared.end() :]
    if _OF_EXPAT.fullmatch(name):
        return content
    plain = re.sub(r"^x-|^(?:windows|ms|ibm)-?(?=\d)|^cs(?=[a-z])", lambda match: "cp" if match[0][0] in "wmi" else "",
                   name.lower())  # fmt: skip
    try:
        codec = codecs.lookup({"sjis": "shift_jis", "cp31j": "cp932"}.get(plain, plain)).name
        codec = _WIDER.get(codec, codec)
        if not _TEXT_CODECS.fullmatch(codec):
            raise Refusal("unreadable", "the XML's encoding cannot be read")
        text = content[declared.end() :].decode(codec)
    except UnicodeDecodeError as fault:
        raise Refusal("unreadable", "the XML holds bytes that are not of its encoding") from fault
    except (LookupError, UnicodeError) as fault:
        raise Refusal("unreadable", "the XML's encoding cannot be read") from fault
    return _UTF_8 + text.encode()


# expat: no element found, unclosed token, unclosed CDATA section, partial character.
_ENDS_EARLY = (3, 5, 20, 6)


# How an XML document starts in the encodings it may have: `<` after any byte order mark and white space.
_STARTS = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<\0", b"\xfe\xff\0<", b"<\0", b"\0<")
_START_BYTES = 64


def starts_as_xml(head: bytes) -> bool:
    """Returns whether the first bytes of a file are those of an XML document."""
    return head[:_START_BYTES].lstrip().startswith(_STARTS)


def local(element: "Element") -> str:
    """The element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def children(element: "Element | None", name: str) -> "Iterator[Element]":
    """The direct children of a name, in any namespace."""
    return (child for child in (element if element is not None else ()) if local(child) == name)


def child(element: "Element | None", *names: str) -> "Element | None":
    """The first element at a path of names, in any namespace; None when there is none."""
    for name in names:
        element = next(children(element, name), None)
    return element


def descendants(element: "Element", name: str) -> "Iterator[Element]":
    """All elements of a name below, in document order."""
    return (below for below in element.iter() if local(below) == name)


def text(element: "Element | None") -> str:
    """The element's own text, stripped; empty when there is no such element."""
    return (element.text or "").strip() if element is not None else ""


def base64_bytes(spelling: str) -> bytes:
    """The bytes that Base64 text spells. Raises Refusal(unreadable) for what is not Base64."""
    try:
        return b64decode("".join(spelling.split()), validate=True)
    except (Error, ValueError) as fault:
        raise Refusal("unreadable", "samples that are not Base64") from fault
