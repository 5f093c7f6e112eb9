"""Tokens of MIL text, and errors that say where in it they are."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from gristmill.errors import FormatError
from gristmill.ir.printer import ESCAPES

MAX_DEPTH: Final = 50
"""Blocks, types or values inside one another: far from Python's own limit."""

MAX_NUMBER: Final = 400
"""Characters of a number; the longest float64 in decimals has about that many."""

_TOKEN: Final = re.compile(
    r"""\s*+(?:
    (?P<name>[A-Za-z_][A-Za-z0-9_]*+)
    | (?P<number>[-+]?+(?:0[xX][0-9a-fA-F.]++(?:[pP][-+]?+[0-9]++)?+|[0-9][0-9.]*+(?:[eE][-+]?+[0-9]++)?+|inf\b|nan\b))
    | (?P<string>"(?:[^"\\\x00-\x08\x0b\x0c\x0e-\x1f]++|\\.)*+")
    | (?P<sign>->|[()\[\]{}<>=,;?])
    | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_SPACE: Final = re.compile(r"\s*+")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_UNESCAPED: Final = {shown[1]: meant for meant, shown in ESCAPES.items()}


class Lexer:
    """The current token and the way to the next one."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.lines = [match.end() for match in re.finditer("\n", text)]
        self.kind, self.token = "", ""
        self.start = self.end = 0  # of the current token
        self.depth = 0
        self.advance()

    def advance(self) -> str:
        """Moves to the next token and gives the one left."""
        left = self.token
        match = _TOKEN.match(self.text, self.end)
        if match is None:
            self.start = self.after()
            character = self.text[self.start]
            if character == '"':
                raise self.error("the string does not end, or holds a control character")
            raise self.error("unexpected character", actual=repr(character))
        self.kind = match.lastgroup or ""
        self.token = match[self.kind]
        self.start, self.end = match.start(self.kind), match.end()
        if self.kind == "number" and len(self.token) > MAX_NUMBER:
            raise self.error(
                "number too long", expected=f"at most {MAX_NUMBER} characters", actual=f"{len(self.token)} characters"
            )
        return left

    def after(self) -> int:
        """Where the next token begins."""
        match = _SPACE.match(self.text, self.end)
        return match.end() if match else self.end

    def followed_by(self, *signs: str) -> bool:
        """Whether the token after the current one is one of some signs."""
        return self.text.startswith(signs, self.after())

    def raw(self, closing: str) -> str:
        """What follows the current token up to ``closing``, which becomes the current token."""
        stop = self.text.find(closing, self.end)
        if stop < 0:
            raise self.error("there is no end to this", expected=repr(closing))
        found = self.text[self.end : stop]
        self.end = stop
        self.advance()
        return found

    @property
    def line(self) -> int:
        return bisect_right(self.lines, self.start) + 1

    @property
    def place(self) -> str:
        before = self.line - 2
        column = self.start - (self.lines[before] if before >= 0 else 0) + 1
        return f"{self.file}, line {self.line}, column {column}"

    def error(
        self, message: str, *, expected: object = None, actual: object = None, start: int | None = None
    ) -> FormatError:
        """An error at the current token, or where ``start`` says."""
        if start is not None:
            self.start = start
        return FormatError(message, location=self.place, expected=expected, actual=actual)

    def unexpected(self, expected: str) -> NoReturn:
        shown = repr(self.token[:80]) if self.kind != "end" else "the end of the text"
        raise self.error("unexpected token", expected=expected, actual=shown)

    def at(self, token: str) -> bool:
        return self.token == token and self.kind in ("sign", "name")

    def accept(self, token: str) -> bool:
        if self.at(token):
            self.advance()
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.accept(token):
            self.unexpected(repr(token))

    def identifier(self, what: str) -> str:
        if self.kind == "string":
            return self.string()
        if self.kind != "name":
            self.unexpected(what)
        return self.advance()

    def string(self) -> str:
        if self.kind != "string":
            self.unexpected("a string")
        try:
            text = _ESCAPE.sub(_unescape, self.token[1:-1])
        except KeyError as error:
            raise self.error("unknown escape in a string", actual=f"\\{error.args[0]}") from None
        self.advance()
        return text

    def list_of(self, opening: str, closing: str) -> Iterator[None]:
        """Walks over the places of a comma-separated list, which may be empty."""
        self.expect(opening)
        if self.accept(closing):
            return
        yield
        while self.accept(","):
            yield
        if not self.accept(closing):
            self.unexpected(f"',' or '{closing}'")

    @contextmanager
    def nested(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error("nested too deeply", expected=f"at most {MAX_DEPTH} levels")
        yield
        self.depth -= 1


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _UNESCAPED[match[2]]
