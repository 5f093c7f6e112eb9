"""Reading dimensions from text; ``str`` writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from gristmill.errors import DimError
from gristmill.ir import dim_algebra as algebra
from gristmill.ir.dim_expr import FUNCTIONS, MAX_COEFFICIENT_BITS, MAX_NESTING, MAX_TEXT, NAME, Dim, Symbol


def parse_dim(text: str, symbols: Mapping[str, Symbol] | None = None) -> Dim:
    """Read a dimension from the text that ``str`` writes; ``parse_dim(str(d)) == d`` for every dimension.

    Operators are ``+ - * // %`` with Python's precedence, then ``min(a,b)``, ``max(a,b)`` and parentheses. A symbol
    whose bounds are not the default ones carries them where it first occurs: ``n{1..512}*2+n``, ``m{-3..}``.

    Args:
        text: The text.
        symbols: Symbols declared elsewhere, which may then stand without bounds.

    Raises:
        DimError: The text is not a dimension, or is too large.
    """
    return _Parser(text, symbols or {}).parse()


class _Parser:
    """Recursive descent, one method a precedence level."""

    TOKEN: Final = re.compile(r"\s*([0-9]+|[A-Za-z_][A-Za-z0-9_]*|//|\.\.|[-+*%(){},]|$)")

    def __init__(self, text: str, symbols: Mapping[str, Symbol]) -> None:
        if len(text) > MAX_TEXT:
            raise DimError(f"dimension text too long: {len(text)} characters, at most {MAX_TEXT}")
        self.text = text
        self.symbols = dict(symbols)
        self.position = 0  # where the current token ends
        self.nesting = 0
        self.current = ""  # the current token; empty at the end
        self.advance()

    def parse(self) -> Dim:
        result = self.sum()
        if self.current:
            raise self.error("an operator or the end")
        return result

    def error(self, expected: str) -> DimError:
        return DimError(
            f"cannot read {self.text[:200]!r} as a dimension",
            expected=expected,
            actual=f"{self.current or 'the end'!r} before character {self.position + 1}",
        )

    def advance(self) -> str:
        """Move to the next token and return the one left."""
        left = self.current
        match = self.TOKEN.match(self.text, self.position)
        if match is None:
            self.current = self.text[self.position :].strip()[:1]
            raise self.error("a name, a number or an operator")
        self.current, self.position = match[1], match.end()
        return left

    def expect(self, token: str) -> None:
        if self.current != token:
            raise self.error(repr(token))
        self.advance()

    def sum(self) -> Dim:
        terms = [self.product()]
        while self.current in ("+", "-"):
            terms.append(self.product() if self.advance() == "+" else -self.product())
        return algebra.add_up(terms)

    def product(self) -> Dim:
        result = self.factor()
        while self.current in ("*", "//", "%"):
            operator_, right = self.advance(), self.factor()
            if operator_ == "*":
                result = result * right
            else:
                result = algebra.floor_div(result, right) if operator_ == "//" else algebra.mod(result, right)
        return result

    def factor(self) -> Dim:
        negative = False
        while self.current == "-":
            self.advance()
            negative = not negative
        d = self.primary()
        return -d if negative else d

    def primary(self) -> Dim:
        if self.current.isdigit():
            return self.number()
        if self.current == "(":
            return self.nested()[0]
        if not NAME.fullmatch(self.current):
            raise self.error("a name, a number or '('")
        name = self.advance()
        if name in FUNCTIONS:
            return algebra.extremum(FUNCTIONS[name], self.nested(many=True))
        if self.current == "{":
            self.symbols[name] = self.declaration(name)
        elif name not in self.symbols:
            self.symbols[name] = Symbol(name)
        return self.symbols[name]

    def nested(self, many: bool = False) -> list[Dim]:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise DimError(f"dimension text nested too deeply: more than {MAX_NESTING} parentheses")
        self.expect("(")
        dims = [self.sum()]
        while many and self.current == ",":
            self.advance()
            dims.append(self.sum())
        self.expect(")")
        self.nesting -= 1
        return dims

    def declaration(self, name: str) -> Symbol:
        self.expect("{")
        lower = self.number()
        self.expect("..")
        upper = None if self.current == "}" else self.number()
        self.expect("}")
        declared = Symbol(name, lower, upper)
        if self.symbols.get(name, declared) != declared:
            raise DimError(f"dimension {name!r} is declared twice, with different bounds, in {self.text[:200]!r}")
        return declared

    def number(self) -> int:
        sign = 1
        if self.current == "-":
            self.advance()
            sign = -1
        if not self.current.isdigit():
            raise self.error("a number")
        if len(self.current) > MAX_COEFFICIENT_BITS // 3:
            raise DimError(f"number too large in a dimension: {len(self.current)} digits")
        return sign * int(self.advance())
