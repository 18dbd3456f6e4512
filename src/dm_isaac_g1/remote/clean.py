"""Text from a host, made harmless: the one function at the agent boundary.

A terminal obeys escape sequences in data (OSC 52 writes the clipboard, `ESC[2J` clears the screen, bidirectional
marks reorder a line), and widgets hand data through. So every string that a host sent passes here once, before
anything else sees it; after that it goes to widgets as `Content` or `Text`, never as markup.
"""

from __future__ import annotations

import re

#: Whole sequences, introducer to terminator, in their 7 bit and C1 forms (ECMA-48 5.4 and 5.6). A string control
#: (OSC, DCS, SOS, PM, APC) ends at ST or BEL; one that never ends goes to the end of the text. Alternatives begin
#: with different characters, so nothing is tried twice: linear on hostile input.
_SEQUENCES = re.compile(
    r"""
    (?: \x1b[\]PX^_] | [\x9d\x90\x98\x9e\x9f] ) [^\x07\x1b\x9c]* (?: \x07 | \x9c | \x1b\\ | (?=\x1b) | $ )
    | (?: \x1b\[ | \x9b ) [\x30-\x3f]* [\x20-\x2f]* [\x40-\x7e]?
    | \x1b [\x20-\x2f]* [\x30-\x7e]?
    """,
    re.VERBOSE,
)

#: What may remain after the sequences are gone: C0 but for tab, DEL, C1; marks that reorder or hide text
#: (Unicode TR 9 and TR 36): bidi embeddings, overrides, isolates and marks, zero-width characters, the byte order
#: mark, soft hyphen, line and paragraph separators, interlinear annotations, tags; and lone surrogates.
_LEFTOVERS = {
    point: None
    for first, last in (
        (0x00, 0x08),
        (0x0A, 0x1F),
        (0x7F, 0x9F),
        (0xAD, 0xAD),
        (0x61C, 0x61C),
        (0x180E, 0x180E),
        (0x200B, 0x200F),
        (0x2028, 0x202E),
        (0x2060, 0x206F),
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB),
        (0xE0000, 0xE007F),
        (0xD800, 0xDFFF),
    )
    for point in range(first, last + 1)
}


def clean(text: str) -> str:
    """`text` as one line without control, escape, bidirectional and zero-width characters; tabs stay.

    Idempotent. Printable text, by far the most, costs one look.
    """
    if text.isprintable():
        return text
    return _SEQUENCES.sub("", text).translate(_LEFTOVERS)


def clean_bytes(data: bytes) -> str:
    """`data` as cleaned text; what is no UTF-8 shows as U+FFFD."""
    return clean(data.decode("utf-8", "replace"))


def clean_tree(value: object) -> object:
    """A decoded JSON value with every string in it cleaned, keys too."""
    match value:
        case str():
            return clean(value)
        case list():
            return [clean_tree(each) for each in value]
        case dict():
            return {clean(str(key)): clean_tree(each) for key, each in value.items()}
        case _:
            return value
