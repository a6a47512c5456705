"""Appendix B for any number of samples: the changes under pushes, and which of two changes is the larger.

A push multiplies one e^z by a factor. The samples not pushed count by the sum of their e^z alone; so with the two that
are pushed, one other and the rest there are four numbers, whatever the number of samples.
"""

from __future__ import annotations

from typing import Any

import sympy
import z3

from theory import shifts
from theory.evidence import Given, for_all, identity, no_identity, proved, satisfiable
from theory.relations import Said, both, eq
from theory.test_shifts import moved, pushed, shares

# e^z of the two that are pushed, of one other, and of all the rest together; the factors.
A, B, C, REST, ALPHA, BETA = sympy.symbols("a b c rest alpha beta", positive=True)


def change(own: Any, weight: Any, up: Any, down: Any) -> Any:
    """What a push changes a probability `weight` by, of symbols or numbers; `own` is the factor on its own e^z.

    `up` and `down` are what Z'/Z gains and loses: (alpha - 1) pi_i and (1 - beta) pi_j. B0's form.
    """
    return weight * (own / (1 + up - down) - 1)


def is_the_library(instance: Any) -> Said:
    """The forms that are proved here are those of the library, and changes of the softmax."""
    w, i, alpha, j, beta = instance
    pi = shares(w)
    up, down = (alpha - 1) * pi[i], (1 - beta) * pi[j]
    form = [change({i: alpha, j: beta}.get(k, 1), x, up, down) for k, x in enumerate(pi)]
    return both(eq(form, list(shifts.push(pi, i, alpha, j, beta))), eq(form, moved(w, {i: alpha, j: beta})))


def test_forms_are_those_of_the_library() -> None:
    for_all(is_the_library, pushed, 300)


# B0, B5: the forms


def formulas(down: Any) -> list[sympy.Expr]:
    """The printed e^z (factor/Z' - 1/Z) of i, j and another minus B0's form; `down` is the factor on e^z_j in Z'."""
    z, z_after = A + B + C + REST, ALPHA * A + down * B + C + REST
    gained, lost = (ALPHA - 1) * A / z, (1 - BETA) * B / z
    return [
        sympy.cancel(w * (own / z_after - 1 / z) - change(own, w / z, gained, lost))
        for own, w in ((ALPHA, A), (BETA, B), (1, C))
    ]


def finite(push: int) -> list[sympy.Expr]:
    """A push on k alone: pi_k (1 - pi_k) c for itself, -pi_i pi_k c for i, c = (alpha - 1) / (1 + (alpha - 1) pi_k).

    `push` is 1; with 0, c = alpha - 1.
    """
    k, i = sympy.symbols("pi_k pi_i", positive=True)
    gained = (ALPHA - 1) * k
    c = (ALPHA - 1) / (1 + gained * push)
    return [
        sympy.cancel(change(ALPHA, k, gained, 0) - k * (1 - k) * c),
        sympy.cancel(change(1, i, gained, 0) + i * k * c),
    ]


def first_derivative(constant: int) -> sympy.Expr:
    """d pi_i / d z_k plus `constant` times pi_i pi_k; all others count by the sum of their e^z."""
    z_i, z_k = sympy.symbols("z_i z_k", real=True)
    total = sympy.exp(z_i) + sympy.exp(z_k) + REST
    pi_i, pi_k = sympy.exp(z_i) / total, sympy.exp(z_k) / total
    return sympy.diff(pi_i, z_k) + constant * pi_i * pi_k


def mixed_derivative(constant: int) -> sympy.Expr:
    """d2 pi_k / dz_i dz_j minus `constant` pi_i pi_j pi_k, which is 2; all others count by the sum of their e^z."""
    z = sympy.symbols("z_i z_j z_k", real=True)
    total = sum(map(sympy.exp, z)) + REST
    pi = [sympy.exp(x) / total for x in z]
    return sympy.diff(pi[2], z[0], z[1]) - constant * pi[0] * pi[1] * pi[2]


def test_formulas() -> None:
    """Any sample is i, j or another one."""
    identity(formulas(BETA), "any number of samples")


def test_product() -> None:
    """As `test_formulas`, with the push down left out: beta = 1."""
    identity([first_derivative(1), *finite(1)], "any number of samples")


def test_second_order() -> None:
    """As `test_formulas`."""
    identity(mixed_derivative(2), "any number of samples")


def test_form_controls() -> None:
    no_identity(mixed_derivative(0))
    no_identity(formulas(1)[0])
    no_identity(first_derivative(2))
    no_identity(finite(0)[0])


# B5-impact, B6-less: which change is larger


def less_than_the_other(in_total: bool) -> list[Any]:
    """Negation: of k and i with pi_k > pi_i, a push on k changes any third sample m by more than the same push on i.

    `in_total`: changes all probabilities by more in sum, which is twice the change of the pushed one.
    """
    k, i, m, alpha = z3.Reals("pi_k pi_i pi_m alpha")
    known = [Given("probabilities are above 0 and sum to 1", i > 0, m > 0, k > 0, k + i + m <= 1)]
    known += [Given("a more likely sample", k > i), Given("A push", alpha > 1)]
    by_k, by_i = ((change(1, m, (alpha - 1) * x, 0), change(alpha, x, (alpha - 1) * x, 0)) for x in (k, i))
    return [*known, 2 * by_k[1] <= 2 * by_i[1] if in_total else -by_k[0] <= -by_i[0]]


def more_than_the_larger(share: Any) -> list[Any]:
    """Negation: both pushes together change m by at most `share` times the larger of what each alone changes it by.

    Up alone it falls, down alone it rises.
    """
    i, j, m, alpha, beta = z3.Reals("pi_i pi_j pi_m alpha beta")
    known = [Given("probabilities are above 0 and sum to 1", i > 0, j > 0, m > 0, i + j + m <= 1)]
    known += [Given("both pushes", alpha > 1, beta > 0, beta < 1)]
    up, down = (alpha - 1) * i, (1 - beta) * j
    joint, falls, rises = change(1, m, up, down), -change(1, m, up, 0), change(1, m, 0, down)
    return [*known, z3.Or(*(z3.And(size > share * falls, size > share * rises) for size in (joint, -joint)))]


def test_third() -> None:
    """The change of a third sample is B0's form, in pi_m, the pushed probability and alpha alone."""
    proved(*less_than_the_other(False), size="any number of samples, any alpha > 1")


def test_joint() -> None:
    """As `test_third`: the change of another sample depends on it, on the two that are pushed and on the factors."""
    proved(*more_than_the_larger(1), size="any number of samples, any pushes up and down")


def test_larger_controls() -> None:
    satisfiable(*less_than_the_other(True))
    satisfiable(*more_than_the_larger(z3.Q(1, 2)))
