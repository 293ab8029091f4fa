r"""Text from elsewhere made safe to show: `\x1b`, never a control sequence.

The lowest module, because error messages need it too. File names, answers of servers and the
contents of files may hold characters that move the cursor, change the colour, retitle the
terminal, reverse the direction of writing, or cannot be encoded.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Text from elsewhere for a terminal, a log or a message: `\x1b`, never a control sequence.

    Control characters, line breaks, marks that change the direction of writing, invisible
    characters and halves of characters are shown as escapes.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def printable_lines(text: str) -> str:
    r"""The same for a text of several lines: its `\n` stay."""
    return "\n".join(map(printable, text.split("\n")))
