r"""Find the final answer in a completion. Rules are tried in this order; the first that finds an answer decides.

1. The text after `</think>` is searched first; if it holds no answer, the whole text is searched. 2. The last
`\boxed{...}`. An empty box or a placeholder ("...", "your answer") does not count. A box whose brace is never closed,
with no closed box after it, means that the text broke off: no answer. Boxes joined by "and", "or" or commas are one
list. 3. The last `<answer>...</answer>`. 4. The last cue: "#### X", "answer is X", "answer: X", "answer = X", a heading
"Final Answer" before its line, "X is the answer", and the like in Chinese, Spanish, French, German and Russian. After
the hashes X is the rest of the line. After "answer" X ends with its clause; it is the formulas at its start, if any;
the letter of a choice; in prose that does not begin with its number, what follows the last "is", or the last number;
else the clause. 5. The last number of the text, or the formula that contains it. A list number ("2.", "Step 3:") does
not count.

A box or tag that holds a sentence is read by rules 4 and 5. A line that starts with "Question:", "Q:" or "Problem:"
ends the text if an answer is stated before it. If a text was cut at its token limit, the part after the last finished
clause or formula is not read, and its last number is not an answer.

More than 300 lines: the rules build on each other's results, and their patterns take half of the lines.
"""

from __future__ import annotations

import re
from dataclasses import replace

from expo.grading.hedging import DOUBTED, NEGATED, QUALIFIED, is_hedged, is_taken_back, names_again
from expo.grading.rules import USUAL, Rules
from expo.grading.units import GLUED as _GLUED
from expo.grading.units import UNITS
from expo.grading.writing import closing

# No answer is this long, and parsing time grows faster than length.
MAX_CHARS = 2_000

# Repetitions that can backtrack are bounded, so that each search is linear in the text.
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*")
_PLACEHOLDER = re.compile(
    r"\W*(?:\\text\s*\{)?\W*"
    r"(?:(?:your|the|final|insert)\b.{0,30}?(?:answer|solution|result|here)|answer(?: here)?)?\W*\}?",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"[\s$]*(?:[,;&]|(?:[,;]|\\text\s*\{|[\w() ,]){0,40}\b(?:and|or)\b\s*\}?)[\s$\\[\]]*", re.IGNORECASE
)
_MATHS_OPEN = r"(?=\$|\\\(|\\\[)"
_CUE = re.compile(
    r"####:?([^\n]*)"
    r"|answers?\b(?:[^.:=\n]{0,60}?\b(?:is|are)\b\s?:?|[*_]{0,2}\s?(?:[:：]|=>?|->)|\s{1,3}" + _MATHS_OPEN + r")[\s*]*"
    r"|final answer\W{0,6}\n[\s*]*|(?:(?<=\n)|\A)#{1,6} {0,3}\**answer\W{0,6}\n[\s*]*"
    r"|(?:correct|right|best) (?:option|choice) is:?\s*"
    r"|答案(?:是|为|:|：)\s*|答え(?:は|:|：)[、\s]*|정답(?:은|:|：)\s*|(?:respuesta|réponse|risposta|resposta)\b[^.\n]{0,30}?\b(?:es|est|è|é)\b\s?:?[\s*]*"
    r"|(?:respuesta|réponse|antwort|ответ|risposta|resposta)[*\s]{0,3}[:：][\s*]*|antwort\s(?:ist|lautet)\s?:?[\s*]*",
    re.IGNORECASE,
)
_BEHIND = re.compile(r"\bis\s(?:the|our|my)\s(?:final\s|correct\s)?answer\b", re.IGNORECASE)
_LEAD_IN = re.compile(r"answers?\b(?:[^.\n]{0,60}(?:\bis|\bare|[:=]))?\**$", re.IGNORECASE)
_OPENING = re.compile(r"(?:(?<!\S)(?:\$\$?|\\[\[(]|\*\*)|\s)*$")
_CLAUSE_END = re.compile(
    r"\n|(?<!\.)(?:[.!?]|\.{2,})(?=\s|$)|[。，；！]|(?:です|である|になり|となり|입니다)|[,;](?=\s+(?!and\b|or\b)[a-zA-Z]{2})|\s[-–—]\s+(?=[a-zA-Z]{2})|\s(?=\bbecause\b|\bsince\b)"
)
# A dollar sign opens maths unless an amount and then words follow: "$18 a day, not $20".
_MATHS = re.compile(
    r"\$\$?(?!\d[\d,.]*\s+[a-zA-Z])((?:\\.|[^$\\]){1,1000})\$\$?|\\\((.{1,1000}?)\\\)|\\\[(.{1,1000}?)\\\]", re.DOTALL
)
_CONNECTIVE = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|and|now|we (?:see|get|find|conclude)(?: that)?|(?:this|which) means)\b[,:]?"
    r"\s*){0,3}",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\(([A-Z])\)|([A-Z])(?=[.):]|$)")
_NUMBER = re.compile(
    r"(?<![\w.,])(?:(?<![\w)\].] )(?<![\w)\].])[-−–‑‐]|(?<=[=(:] )[-−–‑‐] |(?<=\bis )[-−–‑‐] ?"
    r"|(?<=[a-z] )[-−–‑‐](?=\d))?"
    r"\\?\$?(?:\\[dt]?frac\{\d+\}\{\d+\}|\d+(?:,\d{3})*(?:\.\d+)?(?:\s?/\s?\d+(?:\.\d+)?)?|\.\d+)(?:\s?\\?%)?"
)
_LISTED = re.compile(
    r"(?:^|\n)[ \t>*_-]{0,6}(?:(?:Step|Case|Part|Problem)\s)?$|\b(?:[Ss]tep|[Cc]ase|[Pp]art|[Pp]roblem|[Qq]uestion)\s$"
)
# "x = 1 or x = -2" at the end.
_SOLUTION = r"[a-z] ?= ?[-−–\w./\\{}^√]{1,40}"
_SOLUTIONS = re.compile(
    r"(?:^|[\n.:,;]|\b(?:so|hence|thus|therefore|then)\b)\s*"
    rf"\$?((?:{_SOLUTION}\$?(?:,? (?:or|and) \$?|, \$?)){{1,8}}{_SOLUTION}?)\$?\.?\s*$",
    re.IGNORECASE,
)
# The right side of an operation whose result is missing.
_OPERATOR = re.compile(r"[\d)][ \t]*(?:[*×·+÷]|\\times|\\cdot|(?<=[ \t])[-−–x])[ \t]*\$?$")
_SIZES = frozenset(("hundred", "thousand", "million", "billion", "trillion", "dozen"))
# Values with several numbers in prose: a pair, a ratio or a time, a mixed number.
_WHOLE = re.compile(r"[(\[][^()\[\]]*\d[^()\[\]]*,[^()\[\]]*[)\]]|\d+(?::\d+)+|\d+ \d+/\d+")
_GOES_ON = re.compile(
    r"\s*(?:[-+/^*=<>]|(?:million|billion|trillion|thousand|hundred|dozen|squared|cubed|times|to|or|but|nor|plus|minus"
    r"|divided|over|inches|inch|feet|foot)\b)"
)
_FINISHED = re.compile(r"\n|[.!?](?=\s+[\"'(*]{0,2}[A-Z])|[。！]|\*\*[^*\n]{1,200}\*\*|</answer>")
# A heading with a number may be a part of the question.
_NEXT_QUESTION = re.compile(
    r"(?<=\n)[ \t#*]{0,6}(?:(?:Question|Q|Problem|Exercise)[*]{0,2}:(?=[^?]{1,1500}\?)"
    r"|(?:User|Human|Instruction)[*]{0,2}:)"
)
# A text that is only a choice.
_WHOLE_TEXT = re.compile(r"\*{0,2}(?:\(?[A-H]\)?|[Yy]es|[Nn]o|[Tt]rue|[Ff]alse)\.?\*{0,2}\.?")
_IS = re.compile(r"\b(?:is|are|equals|was|were)\b(?: equal to)?\s*:?\s*")


def extract(text: str, rules: Rules = USUAL, truncated: bool = False) -> tuple[str, int] | None:
    """The final answer of a completion, and the index at which its statement starts; None if there is none.

    `truncated` says that the text was cut at its token limit.

    The index is that of the sentence or line that holds the statement, including a preceding "the answer is:" on its
    own line. `text[:index]` is the CoT. If nothing states the answer, the index is `len(text)`: all of it is CoT.
    """
    if truncated:
        if _boxes(text) is None:
            return None
        text, rules = text[: _finished(text)], replace(rules, last_number=False)
    thought = text.rfind("</think>")
    if thought >= 0:
        start = thought + len("</think>")
        if (found := _first_of(text[start:], rules)) is not None:
            return found[0], start + found[1]
    return _first_of(text, rules)


def next_question(text: str) -> int:
    """Where the text continues with another question, as base models do; its length if it does not."""
    found = _NEXT_QUESTION.search(text)
    return found.start() if found else len(text)


def _first_of(text: str, rules: Rules) -> tuple[str, int] | None:
    """The answer stated before the next question, if that part computes; else the answer of the whole text."""
    asked = next_question(text)
    before = _extract(text[:asked], replace(rules, last_number=False)) if asked < len(text) else None
    # "The answer is found in two parts. Question: ..." does not state an answer.
    if before is not None and re.search(r"[\d\\]|^\(?[A-Z]\)?$", before[0]):
        return before
    return _extract(text, rules)


def _finished(text: str) -> int:
    """The end of the last clause, formula, box or tag of a text that breaks off: the rest may be incomplete."""
    ends = [found.end() for found in _FINISHED.finditer(text)]
    ends += [found.end() for found in _MATHS.finditer(text)]
    ends += [end for _, end, _ in _boxes(text) or ()]
    return max(ends, default=0)


def _extract(text: str, rules: Rules) -> tuple[str, int] | None:
    boxes = _boxes(text)
    if boxes is None:
        return None
    if boxes:
        answers, start = _joined(text, boxes)
        touched, after = _touched(text, boxes[-1]), text[boxes[-1][1] :]
        if touched is None or is_taken_back(after, answers, _last):
            return None
        # Another answer is stated later.
        later = _cued(after) if touched == "" else None
        if later and re.search(r"\d", later[0]) and not names_again(later[0], answers):
            return None
        return touched + answers, _box_statement(text, start)
    if rules.boxed_only:
        return None
    if (tagged := _tagged(text)) is not None:
        return tagged
    if (cued := _cued(text)) is not None:
        return cued
    last = _last(text) if rules.last_number else None
    return None if last is None else (last, len(text))


# ---- boxes and tags


def _boxes(text: str) -> list[tuple[int, int, str]] | None:
    """Start, end and content of each non-empty box; None if the last one is never closed."""
    found: list[tuple[int, int, str]] = []
    broken = False
    for box in _BOX.finditer(text):
        if found and box.start() < found[-1][1]:
            continue
        if text.startswith("{", box.end()):
            end = closing(text, box.end())
            if end is None:
                # Without this, no brace after it closes either, and the text would be read in quadratic time.
                broken = True
                break
            content = text[box.end() + 1 : end].strip()
            if re.fullmatch(r"\\\{\s*\\\}", content) or (content and not _PLACEHOLDER.fullmatch(content[:100])):
                found.append((box.start(), end + 1, content))
        elif (word := re.compile(r"[^\s$.,]+(?:\.\d+)?").match(text, box.end())) and re.match(r"[-+]?[\d\\]", word[0]):
            found.append((box.start(), word.end(), word[0]))
    return None if broken else found


_TOUCHES_AFTER = re.compile(
    r"\^(?! ?(?:\\circ|\{ ?\\circ))|\d|!(?!\s|$)| ?(?:\\times|\\cdot|[*/+]) ?[\d\\]| - \d"
    r"|\\(?:pi|sqrt|frac)(?![a-zA-Z])| (?:thousand|million|billion|hundred|dozen)\b"
)
_TOUCHES_BEFORE = re.compile(r"(?<![a-zA-Z\\])[\da-z)]$|\^$|\\(?:sqrt|frac)\{$|\\sqrt\[[^\]]*\]\{$|\\frac\{[^{}]*\}\{$")


def _touched(text: str, box: tuple[int, int, str]) -> str | None:
    r"""The sign before a box, which is part of its answer; None if more of a formula touches the box: 2\boxed{5}^2."""
    start, end, _ = box
    before, after = text[max(0, start - 24) : start], text[end : end + 16]
    # Marks of emphasis, and of a list item.
    before = re.sub(r"(?:^|(?<=[\s:.]))\*{1,3} ?$", "", before)
    before = re.sub(r"(?:^|\n)[ \t]*[-+*] +$|(?<=[a-z]) - $", "", before)
    after = after.removeprefix("**")
    if _TOUCHES_AFTER.match(after) or _TOUCHES_BEFORE.search(before):
        return None
    before = before.rstrip(" ")
    if re.search(r"(?:^|[=($]) ?[-−–]$", before) or re.search(r"(?:^|\s)[-−–]$", text[max(0, start - 2) : start]):
        return "-"
    return "" if not re.search(r"[-−–+*/^]$|\\(?:times|cdot|pm)$", before) else None


def _tagged(text: str) -> tuple[str, int] | None:
    """The content of the last pair of tags, and where it opens."""
    low = re.sub("ANSWER", "answer", text)
    end = low.rfind("</answer>")
    start = low.rfind("<answer>", 0, max(end, 0))
    if start < 0 or not (content := text[start + len("<answer>") : end].strip()):
        return None
    return _sentence_inside(content), start


def _joined(text: str, boxes: list[tuple[int, int, str]]) -> tuple[str, int]:
    first = len(boxes) - 1
    while first and len(text[boxes[first - 1][1] : boxes[first][0]]) <= 80:
        if not _JOINT.fullmatch(text[boxes[first - 1][1] : boxes[first][0]]):
            break
        first -= 1
    contents = [_sentence_inside(content) for _, _, content in boxes[first:]]
    if len(set(contents)) == 1:
        return contents[0], boxes[first][0]
    return ", ".join(contents), boxes[first][0]


def _sentence_inside(content: str) -> str:
    """The answer in a box or tag that holds a sentence."""
    words = re.sub(r"\\text(?:bf|it|rm)?\s*\{([^{}]*)\}", r"\1", content)
    prose = re.fullmatch(r"[A-Za-z' ]{6,80}\b(?:is|are|equals)\b:?(.*)", words, re.DOTALL)
    if prose and (answer := _stated(prose[1])):
        return answer
    if cues := list(_CUE.finditer(words)):
        rest = words[cues[0].end() :]
        # Several answers in one box do not count.
        said = _stated(rest) if len(cues) == 1 else ""
        return said if said and not re.search(r"\w", rest.partition(said)[2]) else content
    maths = _MATHS.fullmatch(content.strip().rstrip("."))
    return next(filter(None, maths.groups())).strip() if maths else content


def _box_statement(text: str, box: int) -> int:
    """Start of the statement that ends in a box: before `$$` or `\\[`, and before "The answer is:" on its own line."""
    opening = _OPENING.search(text, max(0, box - 40), box)
    start = opening.start() if opening else box
    lead_in = _LEAD_IN.search(text, max(0, start - 80), start)
    return _sentence(text, lead_in.start() if lead_in else box - len(text[start:box].lstrip()))


def _sentence(text: str, at: int) -> int:
    ends = [(text.rfind(mark, 0, at), mark) for mark in ("\n", ". ", "! ", "? ")]
    start = max((i + len(mark) for i, mark in ends if i >= 0), default=0)
    return at - len(text[start:at].lstrip())


# ---- cues


def _cued(text: str) -> tuple[str, int] | None:
    cues = sorted([*_CUE.finditer(text), *_BEHIND.finditer(text)], key=lambda m: m.start(), reverse=True)
    for cue in cues[:20]:
        if cue.re is _BEHIND:
            start = _sentence(text, cue.start())
            answer = _before(text[max(start, cue.start() - MAX_CHARS) : cue.start()])
        else:
            line = cue[1]
            answer = _stated(text[cue.end() : cue.end() + MAX_CHARS]) if line is None else line.strip()
            start = _sentence(text, cue.start())
        if answer and NEGATED.search(cue[0]):
            return None
        if answer and not _PLACEHOLDER.fullmatch(answer[:100]):
            told = answer.split("...")[0] if cue[0].startswith("####") else answer
            at = text.find(told, cue.start()) if cue.re is not _BEHIND else -1
            after = text[at + len(told) :] if at >= 0 else text[cue.end() :]
            return None if is_taken_back(after, answer, _last) else (answer, start)
    return None


def _before(clause: str) -> str | None:
    """The answer in "So 42 is the answer": a number with its unit, or a formula, after at most one such word."""
    bare = _CONNECTIVE.sub("", clause.strip()).strip(" *")
    if maths := _MATHS.fullmatch(bare):
        return next(filter(None, maths.groups())).strip()
    number = _NUMBER.match(bare)
    if (
        number
        and re.fullmatch(r"(?: ?[a-zA-Z]{1,15}){0,3}", bare[number.end() :])
        and not _GOES_ON.match(bare, number.end())
    ):
        return bare
    return None


def _stated(rest: str) -> str:
    rest = rest.lstrip()
    if listed := _formulas(rest):
        return listed
    end = _CLAUSE_END.search(rest)
    clause = (rest[: end.start()] if end else rest).strip(" \t*`")
    if end and end[0].startswith("...") and re.search(r"\d\.\d+$", clause):  # 0.333... is a third
        clause += "..."
    clause = re.sub(r"\s+or (?:so|thereabouts)$", "", clause)
    if _SOLUTIONS.fullmatch(clause):
        return clause
    if choice := _CHOICE.match(clause):
        more = re.search(r"\([A-Z]\)|\b[A-H][.)]|\b(?:or|nor|not)\b", clause[choice.end() :])
        return clause if more else choice[0]
    begins = _NUMBER.match(clause) or _MATHS.match(clause)
    plain = re.sub(r"\$[^$]*\$|\b(?:sqrt|sin|cos|tan|log|exp|ln)\b", "", clause)
    is_prose = re.search(r"(?<![\\a-zA-Z{])[a-zA-Z]{3}", plain) and not begins
    # Prose that qualifies the number is read as it stands, or not at all.
    if is_prose and (below := re.fullmatch(rf"(?:negative|minus) ({_NUMBER.pattern})", clause, re.IGNORECASE)):
        return f"-{below[1]}"
    # The result of a calculation is not a qualified number.
    computed = re.search(rf"(?<![<>!≠])= ?({_NUMBER.pattern})(?: [a-zA-Z/]+){{0,6}}$", clause)
    if is_prose and computed:
        return computed[1].strip()
    # The text before the last "is" belongs to the subject, unless it casts doubt on all of it.
    says = list(_IS.finditer(clause))
    said = clause[says[-1].end() :] if says and not DOUBTED.search(clause) else clause
    if is_prose and QUALIFIED.search(said or clause):
        return clause
    if is_prose and (whole := list(_WHOLE.finditer(clause))) and not _NUMBER.search(clause, whole[-1].end()):
        return whole[-1][0]
    if is_prose and (says := list(_IS.finditer(clause))) and (after := clause[says[-1].end() :].strip()):
        return _stated(after)
    if is_prose or begins:
        maths = list(_MATHS.finditer(clause))
        if maths:
            return next(filter(None, maths[0].groups())).strip()
    if is_prose and (numbers := list(_NUMBER.finditer(clause))):
        return numbers[-1][0].strip() + _size(clause[numbers[-1].end() :])
    return clause


def _size(rest: str) -> str:
    """A size word or a unit directly after a number."""
    match = re.match(r"\s+([a-zA-Z]+)\b", rest)
    return match[0] if match and (match[1].lower() in _SIZES or match[1] in UNITS) else ""


def _formulas(rest: str) -> str | None:
    """The formulas at the start: one, or several separated only by commas, "and" or "or"."""
    found: list[str] = []
    at = 0
    while (maths := _MATHS.match(rest, at)) is not None:
        found.append(next(filter(None, maths.groups())).strip())
        at = maths.end()
        joint = re.compile(r"\s*(?:,\s*(?:and|or)?|and|or)\s*(?=\$|\\\(|\\\[)").match(rest, at)
        if joint is None:
            break
        at = joint.end()
    if not found:
        return None
    if _GOES_ON.match(rest, at):
        end = _CLAUSE_END.search(rest, at)
        return (rest[: end.start()] if end else rest).replace("$", "").strip()
    says = _IS.match(rest[at:].lstrip())
    if says and (after := rest[at:].lstrip()[says.end() :].strip()):
        return _stated(after)
    return ", ".join(found)


# ---- no cue


def _last(text: str) -> str | None:
    """The last number, or the formula around it."""
    if solutions := _SOLUTIONS.search(text[-400:]):
        return solutions[1]
    if _WHOLE_TEXT.fullmatch(text.strip()):
        return text.strip().strip("*. ")
    text = re.sub(r"\*\*([^*\n]{1,80})\*\*", r"\1", text)
    last = None
    for number in _NUMBER.finditer(text):
        if not _is_listed(text, number):
            last = number
    start = max(0, len(text) - 4 * MAX_CHARS)
    maths = list(_MATHS.finditer(text[start:]))
    if maths:
        formula = maths[-1]
        content = next(filter(None, formula.groups())).strip()
        ends = start + formula.end()
        # "$40 + $10 = $50" opens and closes no formula.
        is_whole = re.search(r"\d|\\pi|\\frac", content) and not re.search(
            r"(?:[-=+*/×,]|\d x)\s*$|^\s*[a-z]{3}", content
        )
        if (last is None or last.start() < ends) and is_whole:
            return None if is_hedged(text, start + formula.start(), start + formula.end()) else content
    if last and (whole := _whole_around(text, last)):
        return whole
    if last is None or _OPERATOR.search(text[max(0, last.start() - 24) : last.start()]):
        return None
    if is_hedged(text, last.start(), last.end()):
        return None
    before, after = text[max(0, last.start() - 2) : last.start()], text[last.end() : last.end() + 1]
    if re.search(r"[\^√{/+×*_]\s?$", before) or re.match(r"[\^√π_({]", after):
        return None
    if re.search(r"\($", before) and (after != ")" or before[0].isalpha()):
        return None
    if after.isalpha() and not re.match(
        rf"(?:{'|'.join(map(re.escape, _GLUED))})\b", text[last.end() : last.end() + 6]
    ):
        return None
    return last[0].strip() + _size(text[last.end() : last.end() + 30])


def _whole_around(text: str, number: re.Match[str]) -> str | None:
    """The pair, ratio or time that contains the last number."""
    start = max(0, number.start() - 60)
    near = [m for m in _WHOLE.finditer(text[start : number.end() + 20]) if m.end() >= number.end() - start]
    return near[-1][0] if near and near[-1].start() <= number.start() - start else None


def _is_listed(text: str, number: re.Match[str]) -> bool:
    """Whether a number only numbers the lines of a text: "2. The shepherd", "Step 3: ..."."""
    if not _LISTED.search(text[max(0, number.start() - 20) : number.start()]):
        return False
    before = text[max(0, number.start() - 20) : number.start()]
    after = text[number.end() : number.end() + 2]
    named = re.search(r"[a-z][ \t]$", before, re.IGNORECASE) is not None
    ends = not text[number.end() :].strip(" .\n")
    return number[0].isdigit() and (named or (re.match(r"[.):](?:\s|$)", after) is not None and not ends))
