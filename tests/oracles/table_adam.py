"""Adam over the used entries of a table, one entry at a time, in float64."""


def update(table, gradients, first, second, steps, pace):
    """Give table, moments and counts after a step; nothing is changed in place."""
    table, first, second = (value.double().clone() for value in (table, first, second))
    (b1, b2), steps = pace.betas, steps.clone()
    for entry, gradient in enumerate(gradients.double()):
        if (gradient == 0).all():
            continue
        steps[entry] += 1
        count = int(steps[entry])
        first[entry] = b1 * first[entry] + (1 - b1) * gradient
        second[entry] = b2 * second[entry] + (1 - b2) * gradient**2
        mean = first[entry] / (1 - b1**count)
        root = (second[entry] / (1 - b2**count)).sqrt()
        kept = (1 - pace.rate * pace.decay) * table[entry]
        table[entry] = kept - pace.rate * mean / (root + pace.epsilon)
    return table, first, second, steps
