"""Allocation by trying everything: the definition, with fractions, one configuration at a time."""

from fractions import Fraction
from itertools import product


def exact_sum(values):
    return sum((Fraction(value) for value in values), Fraction(0))


def configurations(scores, costs):
    """Yield (choice, score, cost of each resource); costs[resource][unit][option]."""
    for choice in product(*(range(len(row)) for row in scores)):
        yield (
            choice,
            exact_sum(row[k] for row, k in zip(scores, choice, strict=True)),
            tuple(
                exact_sum(row[k] for row, k in zip(table, choice, strict=True)) for table in costs
            ),
        )


def best(scores, costs, budgets):
    """Return the least (score, costs...) within the budgets, or None."""
    fitting = [
        (score, *spent)
        for _, score, spent in configurations(scores, costs)
        if all(cost <= Fraction(limit) for cost, limit in zip(spent, budgets, strict=True))
    ]
    return min(fitting, default=None)


def front(scores, costs):
    """Return the set of nondominated (cost, score), one resource."""
    points = {(spent[0], score) for _, score, spent in configurations(scores, [costs])}
    return {
        (cost, score)
        for cost, score in points
        if not any(
            other != (cost, score) and other[0] <= cost and other[1] <= score for other in points
        )
    }


def smallest(costs, resource, budgets):
    """Return the least cost of one resource with the other budgets kept, or None."""
    return min(
        (
            spent[resource]
            for _, _, spent in configurations(costs[resource], costs)
            if all(
                cost <= Fraction(limit)
                for index, (cost, limit) in enumerate(zip(spent, budgets, strict=True))
                if index != resource
            )
        ),
        default=None,
    )
