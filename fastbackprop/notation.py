"""The plain notation of formulas, as LaTeX and as MathML.

Formulas in docstrings, tables and documents are plain text: `z^l_k = sum_j a^{l-1}_j w^l_jk`.
A superscript is one character, or is in braces or parentheses; a subscript is a word, or is in
braces. The superscript of e is a factor, as in `e^-z_k`. A quotient `x y / z` has the product to
its left as numerator and one factor as denominator, or a whole sum. `dC/dz` is a derivative, `(.)`
the element-wise product, `1[k=j]` an indicator. Other words are words: `z for z > 0, else 0`.
"""

import re
from collections.abc import Callable
from html import escape

GREEK = {"alpha": "α", "delta": "δ", "epsilon": "ε", "pi": "π", "sigma": "σ", "theta": "θ"} | {
    "mu": "μ",
    "Delta": "Δ",
}
FUNCTIONS = (
    *("cos", "cosh", "erf", "exp", "expm1", "log", "log1p", "max", "mean", "min", "sin", "tanh"),
    "var",
)
COMMANDS = {
    name: f"\\{name}" for name in FUNCTIONS if name not in ("erf", "expm1", "log1p", "mean", "var")
}
OPERATORS = {  # LaTeX and MathML
    **{"+": ("+", "+"), "-": ("-", "−"), "=": ("=", "="), "<": ("<", "<"), ">": (">", ">")},
    **{"*": (r"\cdot", "·"), "<=": (r"\le", "≤"), ">=": (r"\ge", "≥"), ",": (",", ",")},
    **{"(.)": (r"\odot", "⊙"), "...": (r"\dots", "…"), ":": (":", ":"), "|": (r"\mid", "|")},
}
_TOKEN = re.compile(
    r"\s*(\(\.\)|\.\.\.|<=|>=|\d+(?:\.\d+)?(?:e[+-]?\d+)?|log1p|expm1|[A-Za-z]+|\S)"
)
_ATOM = r"[A-Za-z]+(?:\^(?:\{[^}]*\}|\w))?(?:_(?:\{[^}]*\}|\w+))?"
_DERIVATIVE = re.compile(rf"\s*d(?=({_ATOM})/d)\1/d({_ATOM})")
_SCRIPT = re.compile(r"\^(?:\{([^}]*)\}|(-?\w))|_(?:\{([^}]*)\}|(\w+))")
_STOP = (")", "]", "}")


class Tex:
    """LaTeX."""

    text = staticmethod(lambda word: rf"\text{{ {word} }}")
    number = staticmethod(lambda digits: digits)
    function = staticmethod(lambda name: COMMANDS.get(name, rf"\operatorname{{{name}}}"))
    operator = staticmethod(lambda sign: OPERATORS[sign][0] if sign in OPERATORS else sign)
    total = staticmethod(lambda index: rf"\sum_{{{index}}}")
    root = staticmethod(lambda x: rf"\sqrt{{{x}}}")
    size = staticmethod(lambda x: rf"\left\lvert {x} \right\rvert")
    fraction = staticmethod(lambda x, y: rf"\frac{{{x}}}{{{y}}}")
    joined = staticmethod(" ".join)
    nabla, indicator, infinity = r"\nabla", r"\mathbf{1}", r"\infty"

    @staticmethod
    def name(word: str, primes: int) -> str:
        """A variable."""
        return (f"\\{word}" if word in GREEK else word) + "'" * primes

    @staticmethod
    def bracketed(left: str, x: str, right: str) -> str:
        """x in brackets."""
        left, right = (f"\\{sign}" if sign in "{}" else sign for sign in (left, right))
        tall = re.search(r"\\(frac|sum|sqrt)", x)
        return rf"\left{left} {x} \right{right}" if tall else f"{left}{x}{right}"

    @staticmethod
    def scripts(base: str, above: str, below: str) -> str:
        """A base with a superscript and a subscript, where they are not empty."""
        base = base if re.fullmatch(r"\\?\w+|\(.*\)", base) else f"{{{base}}}"
        return base + (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")

    @staticmethod
    def change(x: str) -> str:
        """The differential of x in a derivative."""
        return rf"\partial {x}"


class MathML:
    """The elements of MathML that browsers draw by themselves."""

    text = staticmethod(lambda word: f"<mtext>&nbsp;{escape(word)}&nbsp;</mtext>")
    number = staticmethod(lambda digits: f"<mn>{digits}</mn>")
    function = staticmethod(lambda name: f"<mi>{name}</mi><mspace width='0.17em'/>")
    total = staticmethod(lambda index: f"<munder><mo>∑</mo><mrow>{index}</mrow></munder>")
    root = staticmethod(lambda x: f"<msqrt>{x}</msqrt>")
    size = staticmethod(lambda x: f"<mrow><mo>|</mo>{x}<mo>|</mo></mrow>")
    fraction = staticmethod(lambda x, y: f"<mfrac><mrow>{x}</mrow><mrow>{y}</mrow></mfrac>")
    joined = staticmethod("".join)
    nabla, indicator, infinity = "<mo>∇</mo>", "<mn>1</mn>", "<mi>∞</mi>"

    @staticmethod
    def operator(sign: str) -> str:
        """A sign between two factors or terms."""
        return f"<mo>{escape(OPERATORS[sign][1] if sign in OPERATORS else sign)}</mo>"

    @staticmethod
    def name(word: str, primes: int) -> str:
        """A variable."""
        return f"<mi>{GREEK.get(word, word)}{'′' * primes}</mi>"

    @staticmethod
    def bracketed(left: str, x: str, right: str) -> str:
        """x in brackets."""
        return f"<mrow><mo>{left}</mo>{x}<mo>{right}</mo></mrow>"

    @staticmethod
    def scripts(base: str, above: str, below: str) -> str:
        """A base with a superscript and a subscript, where they are not empty."""
        kind = "msubsup" if above and below else "msup" if above else "msub"
        rows = "".join(f"<mrow>{x}</mrow>" for x in (base, below, above) if x)
        return f"<{kind}>{rows}</{kind}>"

    @staticmethod
    def change(x: str) -> str:
        """The differential of x in a derivative."""
        return f"<mo>∂</mo>{x}"


def latex(formula: str) -> str:
    """A formula in LaTeX's mathematical mode."""
    return _Reader(formula, Tex).all()


def mathml(formula: str) -> str:
    """A formula as a `<math>` element."""
    return f"<math>{_Reader(formula, MathML).all()}</math>"


class _Reader:
    """Reads a formula once, from left to right, and writes it in a language."""

    def __init__(self, formula: str, language: type[Tex] | type[MathML]) -> None:
        self.text, self.at, self.language = formula, 0, language

    def all(self) -> str:
        parts = []
        while self.peek():
            parts.append(self.expression())
            if self.peek():  # a bracket that closes nothing
                parts.append(self.language.operator(self.take()))
        return self.language.joined(parts)

    def peek(self) -> str:
        found = _TOKEN.match(self.text, self.at)
        return found[1] if found else ""

    def take(self) -> str:
        found = _TOKEN.match(self.text, self.at)
        self.at = found.end() if found else len(self.text)
        return found[1] if found else ""

    def inner(self, text: str) -> str:
        return _Reader(text, self.language).all()

    def expression(self) -> str:
        """Products with signs, words and commas between them, up to a closing bracket."""
        parts: list[str] = []
        while (token := self.peek()) and token not in _STOP:
            if self.at_word():
                parts.append(self.language.text(self.words()))
            elif self.at_factor():
                parts.append(self.product())
            else:
                parts.append(self.language.operator(self.take()))
        return self.language.joined(parts)

    def at_factor(self) -> bool:
        token = self.peek()
        return token in ("(", "[", "{") or token.isalnum() or token[:1].isdigit()

    def at_word(self) -> bool:
        """Whether a word of English comes."""
        token, found = self.peek(), _TOKEN.match(self.text, self.at)
        if not found or not token.isalpha() or _DERIVATIVE.match(self.text, self.at):
            return False
        scripts = self.text[found.end() : found.end() + 1] in ("^", "_")
        known = token in GREEK or token in FUNCTIONS or token in ("sqrt", "abs", "grad", "inf")
        return not (len(token) == 1 or scripts or known)

    def words(self) -> str:
        words = [self.take()]
        while self.at_word():
            words.append(self.take())
        return " ".join(words)

    def product(self) -> str:
        """Factors; "/" divides those before it by the one after it."""
        factors: list[str] = []
        while token := self.peek():
            if token == "/" and factors:
                self.take()
                below = self.product() if self.peek() == "sum" else self.factor(bare=True)
                factors = [self.language.fraction(self.language.joined(factors), below)]
            elif self.at_factor() and not self.at_word():
                factors.append(self.factor())
            else:
                break
        return self.language.joined(factors)

    def factor(self, bare: bool = False) -> str:
        """One factor; `bare`, without parentheses around the whole."""
        language = self.language
        if found := _DERIVATIVE.match(self.text, self.at):
            self.at = found.end()
            above, below = (language.change(self.inner(x)) for x in found.groups())
            return language.fraction(above, below)
        token = self.peek()
        if token in ("(", "[", "{"):
            begin = self.at
            group = self.group()
            if bare and self.text[self.at : self.at + 1] != "^":
                return self.inner(self.text[begin : self.at].strip()[1:-1])
            return self.with_scripts(group)
        self.take()
        if token == "d" and self.peek() == "(":
            return language.joined([language.change(self.group()), self.rest_of_derivative()])
        if token[:1].isdigit():
            if token == "1" and self.text[self.at : self.at + 1] == "[":
                return language.joined([language.indicator, self.group()])
            return self.with_scripts(language.number(token))
        return self.named(token)

    def rest_of_derivative(self) -> str:
        """After `d(...)`: `/da`."""
        found = re.compile(rf"\s*/\s*d({_ATOM})").match(self.text, self.at)
        if not found:
            return ""
        self.at = found.end()
        sign = self.language.operator("/")
        return self.language.joined([sign, self.language.change(self.inner(found[1]))])

    def group(self) -> str:
        """From a bracket to the one that closes it."""
        left = self.take()
        x = self.expression()
        return self.language.bracketed(left, x, self.take() if self.peek() else "")

    def named(self, word: str) -> str:
        language = self.language
        if word == "sum" and (found := _SCRIPT.match(self.text, self.at)):
            self.at = found.end()
            return language.total(self.inner(found[3] or found[4]))
        if word == "sqrt":
            return language.root(self.argument())
        if word == "abs" and self.peek() == "(":
            return language.size(self.argument())
        if word == "e" and self.text[self.at : self.at + 1] == "^":
            return self.power_of_e()
        if word in FUNCTIONS:
            return self.with_scripts(language.function(word))
        if word == "grad":
            return language.nabla
        if word == "inf":
            return language.infinity
        return self.with_scripts("", lambda primes: language.name(word, primes))

    def argument(self) -> str:
        """What follows a root or a modulus, without its parentheses."""
        if self.peek() != "(":
            return self.factor()
        self.take()
        x = self.expression()
        if self.peek() == ")":
            self.take()
        return x

    def power_of_e(self) -> str:
        """The exponent is a factor, with a sign perhaps; of a power, a product."""
        language, exponents = self.language, list[str]()
        while self.text[self.at : self.at + 1] == "^":
            self.at += 1
            sign = [language.operator(self.take())] if self.peek() == "-" else []
            alone = self.peek() == "("
            follows = self.argument() if alone else self.factor_of_exponent()
            again = exponents and alone
            exponents += [*sign, language.bracketed("(", follows, ")") if again else follows]
        return language.scripts(language.name("e", 0), language.joined(exponents), "")

    def factor_of_exponent(self) -> str:
        """A factor; a power of it in parentheses is one of the power of e."""
        found = re.compile(rf"{_ATOM}(?=\^\()").match(self.text, self.at)
        if not found:
            return self.factor()
        self.at = found.end()
        return self.inner(found[0])

    def with_scripts(self, base: str, named: Callable[[int], str] | None = None) -> str:
        above = below = ""
        primes = 0
        while True:
            if self.text[self.at : self.at + 1] == "'":
                primes, self.at = primes + 1, self.at + 1
            elif self.text[self.at : self.at + 2] == "^(":
                self.at += 1
                above = self.argument()
            elif found := _SCRIPT.match(self.text, self.at):
                self.at = found.end()
                if found[1] or found[2]:
                    above = self.inner(found[1] or found[2])
                else:
                    below = self._index(found[3] or found[4])
            else:
                break
        base = named(primes) if named else base
        return self.language.scripts(base, above, below) if above or below else base

    def _index(self, text: str) -> str:
        """A subscript: letters side by side are several indices."""
        if text.isalpha() and text not in GREEK:
            return self.language.joined([self.language.name(letter, 0) for letter in text])
        return self.inner(text)
