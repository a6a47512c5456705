"""Units and counted things after a number: a closed vocabulary with a grammar.

A unit is a product of units with powers: `cm`, `km/h`, `miles per hour`, `square feet`, `kg m^2 / s^2`. Its value is a
dimension and a factor, so that 60 minutes are an hour but 6 feet are not 6 inches. A noun that is not a unit ("18
pens") names what is counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from expo.grading.lexer import GREEK
from expo.grading.tokens import words
from expo.grading.writing import CURRENCIES

# Dimension, then "names: how many of the first unit".
_TABLE = """
length | m meter meters metre metres: 1 | km kilometer kilometers kilometre kilometres: 1000
  | dm decimeter decimeters: 1/10 | cm centimeter centimeters centimetre centimetres: 1/100
  | mm millimeter millimeters millimetre millimetres: 1/1000
  | μm um micrometer micrometers micron microns: 1/1000000 | nm nanometer nanometers: 1/1000000000
  | in inch inches: 127/5000 | ft foot feet: 381/1250 | yd yds yard yards: 1143/1250 | mi mile miles: 201168/125
mass | g gram grams gramme grammes: 1 | kg kgs kilo kilos kilogram kilograms kilogramme kilogrammes: 1000
  | mg milligram milligrams: 1/1000 | lb lbs pound pounds: 45359237/100000 | oz ounce ounces: 45359237/1600000
  | ton tons: 45359237/50 | tonne tonnes: 1000000
time | s sec secs second seconds: 1 | min mins minute minutes: 60 | h hr hrs hour hours: 3600 | day days: 86400
  | week weeks: 604800 | ms millisecond milliseconds: 1/1000
month | month months: 1 | yr yrs year years: 12 | decade decades: 120 | century centuries: 1200
volume | L l liter liters litre litres: 1 | mL ml cc milliliter milliliters millilitre millilitres: 1/1000
  | cL cl centiliter centiliters: 1/100
gallon | gal gallon gallons: 1 | qt quart quarts: 1/4 | pt pint pints: 1/8 | cup cups: 1/16
tablespoon | tbsp tablespoon tablespoons: 1 | tsp teaspoon teaspoons: 1/3
celsius | C Celsius celsius centigrade: 1
fahrenheit | F Fahrenheit fahrenheit: 1
kelvin | K kelvin kelvins: 1
angle | degree degrees deg degs: 1
radian | rad rads radian radians: 1
USD | USD dollar dollars buck bucks: 1 | cent cents ¢: 1/100 | penny pennies: 1/100 | nickel nickels: 1/20
  | dime dimes: 1/10
EUR | EUR euro euros: 1
GBP | GBP: 1 | pence: 1/100
JPY | JPY yen 円: 1
CNY | CNY RMB yuan 元: 1
INR | INR rupee rupees: 1
RUB | RUB ruble rubles: 1
force | N newton newtons: 1
energy | J joule joules: 1 | kJ kilojoule kilojoules: 1000 | kWh: 3600000
  | eV: 1602176634/10000000000000000000000000000
calorie | cal calorie calories: 1 | kcal: 1000
power | W watt watts: 1 | kW kilowatt kilowatts: 1000 | MW megawatt megawatts: 1000000 | hp: 7457/10
voltage | V volt volts: 1 | mV: 1/1000 | kV: 1000
current | A amp amps ampere amperes: 1 | mA: 1/1000
resistance | Ω ohm ohms: 1
frequency | Hz hertz: 1 | kHz: 1000 | MHz: 1000000 | GHz: 1000000000 | rpm: 1/60
pressure | Pa pascal pascals: 1 | kPa: 1000 | atm: 101325 | psi: 689476/100
amount | mol mole moles: 1
byte | B byte bytes: 1 | kB KB kilobyte kilobytes: 1000 | MB megabyte megabytes: 1000000
  | GB gigabyte gigabytes: 1000000000 | TB terabyte terabytes: 1000000000000
bit | bit bits: 1 | Mbit megabit megabits: 1000000
pixel | px pixel pixels: 1
area | acre acres: 1
hectare | hectare hectares ha: 1
speed | mph: 1 | kph kmh: 1000
"""
# These only mean "of what the question asks for".
_BLANK = frozenset(["unit", "units", "u"])
_WHOLE = {"mph": ("mi", "h"), "kph": ("km", "h"), "kmh": ("km", "h")}


def _vocabulary() -> dict[str, tuple[str, Fraction]]:
    words: dict[str, tuple[str, Fraction]] = {}
    for entry in re.sub(r"\n +", " ", _TABLE.strip()).splitlines():
        dimension, *groups = (part.strip() for part in entry.split("|"))
        for group in groups:
            names, _, factor = group.partition(": ")
            words |= {name: (dimension, Fraction(factor)) for name in names.split()}
    return words


UNITS = {code: (code, Fraction(1)) for code in CURRENCIES.values()} | _vocabulary()
# A letter that may also be a variable is a unit only after a space: "5 m", never "5m".
LETTERS = frozenset(name for name in UNITS if len(name) == 1 and name.isascii())
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
_TOKEN = re.compile(
    r"\s*(?:(?P<power>\^ ?(?:\{ ?-?\d ?\}|-?\d))|(?P<per>/|\bper\b)|(?P<times>\\cdot|\*|(?<=[a-z])-(?=[a-z]))"
    r"|\ue000?(?P<word>[^\W\d_]+(?:'[a-z]+)?|¢)\.?)"
)


@dataclass(frozen=True)
class Unit:
    """A product of dimensions with their powers, and the factor relative to the first unit of each dimension.

    `named` are the nouns that are not units. If both are empty, it is a bare number.
    """

    powers: tuple[tuple[str, int], ...] = ()
    factor: Fraction = Fraction(1)
    named: tuple[str, ...] = ()

    @property
    def blank(self) -> bool:
        """Whether it is a bare number."""
        return not self.powers and not self.named


def parse_unit(text: str) -> Unit | None:
    """The unit that a text represents, such as " cm^2" or " miles per hour"; None if it is not a unit.

    The text starts directly after its number: a single letter needs a space before it.
    """
    glued = not text.startswith((" ", "\ue000"))
    powers: dict[str, int] = {}
    factor = Fraction(1)
    named: list[str] = []
    at, sign, coming, last = 0, 1, 1, None
    text = text.rstrip(" .")
    # "2 a" is a product, "2 an hour" is not.
    if text.endswith("/") or text.strip() == "a":
        return None
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            return None
        at = token.end()
        if token["power"]:
            if last is None:
                return None
            exponent = int(re.sub(r"[^\d-]", "", token["power"]))
            powers[last[0]] = powers.get(last[0], 0) + last[2] * (exponent - 1)
            factor *= last[1] ** (last[2] * (exponent - 1))
            last = None
        elif token["per"]:
            sign, last = -1, None
        elif token["times"]:
            last = None
        else:
            word = token["word"]
            if word in _POWERS or word.lower() in _POWERS:
                n = _POWERS[word.lower()]
                if word.lower().endswith("ed"):
                    if last is None:
                        return None
                    powers[last[0]] += last[2] * (n - 1)
                    factor *= last[1] ** (last[2] * (n - 1))
                else:
                    coming = n
                continue
            if word.lower() in _BLANK or (word.lower() in _FILLERS and not glued):
                continue
            if word in _WHOLE and (parts := _WHOLE[word]):
                for part, power in zip(parts, (1, -1), strict=True):
                    dimension, size = UNITS[part]
                    powers[dimension] = powers.get(dimension, 0) + sign * power
                    factor *= size ** (sign * power)
                last = None
                continue
            known = UNITS.get(word) or (UNITS.get(word.lower()) if len(word) > 2 else None)
            if known and not (glued and token.start() == 0 and word not in GLUED):
                dimension, size = known
                power = sign * coming
                powers[dimension] = powers.get(dimension, 0) + power
                factor *= size**power
                last = (dimension, size, sign)
                coming = 1
                continue
            # A noun has at least three letters and stands apart, so that "2xyz" and "2 ab" are not counts.
            if (glued and word.isascii() and not named and not powers) or (len(word) < 3 and word.isascii()):
                return None
            if _is_no_noun(word):
                return None
            named.append("/" * (sign < 0) + _stem(word.lower()))
            last = None
    return Unit(tuple(sorted((d, p) for d, p in powers.items() if p)), factor, tuple(named))


# Units that may touch their number: 5cm. Others that do are variables: 5nm, 2st.
GLUED = words(
    "cm mm km kg mg ml mL cL lb lbs oz hr hrs min mins sec secs ft yd yds mph kph kmh kW kWh MW GB MB TB KB kB "
    "Hz kHz MHz GHz kPa Pa USD EUR GBP JPY CNY INR RUB kcal kJ rpm psi atm mol deg tbsp tsp ¢ 元 円"
)
_FILLERS = words(
    "of the a an each every in total is are were was she he they it that this for at to on with her his their "
    "its or so by as"
)


_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+")
# Numerals, and words that change the number before them: times, power, root, part, below, above, not, or.
_NUMERALS = frozenset(
    "一二三四五六七八九十百千万萬億亿兆〇零两兩半倍割打乗错誤误超弱負负幂方根階阶分未以不没非或乃至除余만억천백"
)
_NO_COUNTS = words(
    "lakh lakhs crore crores gross ppm ppb permille mln bln bil tril tens ones remainder point out subtract add"
    " raised doubled"
    " halved tripled through versus otherwise maybe perhaps not squared cubed repeating recurring than but instead then"
    " until wrong incorrect false least most minimum maximum few off imaginary reciprocal grand basis myriad dot"
    " power modulo modulus rem owed overdrawn excluded rejected and or plus"
    " zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
    # Words that make another unit of one.
    " nautical light fluid troy imperial canadian australian hong singapore zealand"
    # Other languages: a multiple, a part, or "or".
    " oder ou mal fois hoch drittel viertel mille mil nicht pas prozent halbe halb demi тысяч тысячи"
    " googol percentile twice double negated conjugate inverse unless except error"
)


_NUMBER_WORD = re.compile(r"(?:illions?|[^aeiou]ths?|ieths?|[fx]ths?)$|^(?:mill|bill|trill)[ioó]|^милли")


def _is_no_noun(word: str) -> bool:
    """Whether a word after a number changes it, or may be a variable: sixteenths, lakh, theta, cosx, one letter."""
    lower = word.lower()
    if _CJK.search(word):
        return _CJK.fullmatch(word) is None or len(word) > 4 or bool(_NUMERALS & set(word)) or "ない" in word
    if not word.isascii() and len(word) < 3:
        return True
    if lower in _NO_COUNTS or re.search(
        r"(?:illions?|[^aeiou]ths?|ieths?|[fx]ths?)$|^(?:mill|bill|trill)[ioó]|^милли", lower
    ):
        return True
    if lower in _GREEK_NAMES or (word.isascii() and not re.search("[aeiou]" if len(lower) < 4 else "[aeiouy]", lower)):
        return True
    return any(
        lower.startswith(name) and len(lower) - len(name) <= 1 for name in ("sin", "cos", "tan", "sqrt", "log", "abs")
    )


_GREEK_NAMES = frozenset(name.lower() for name in GREEK)


def _stem(word: str) -> str:
    for ending, repaired in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 2 and not word.endswith("ss"):
            return word[: -len(ending)] + repaired
    return word
