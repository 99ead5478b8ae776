/* Sums of doubles in the order and grouping in which numpy's add.reduceat takes them: equal to its to the bit. */
#ifndef HANDLER_SUMS_H
#define HANDLER_SUMS_H

#include <stdint.h>
#include <string.h>

enum { BLOCK = 128, LANES = 8 }; /* numpy's: longer sums are split, shorter ones are added in eight lanes */

static inline double add_pairwise(const double *values, int64_t count)
{
    if (count > BLOCK) {
        int64_t half = count / 2;
        half -= half % LANES;
        return add_pairwise(values, half) + add_pairwise(values + half, count - half);
    }
    double sum = 0;
    int64_t at = 0;
    if (count >= LANES) {
        double r[LANES];
        memcpy(r, values, sizeof r);
        for (at = LANES; at < count - count % LANES; at += LANES)
            for (int64_t lane = 0; lane < LANES; lane++)
                r[lane] += values[at + lane];
        sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    }
    for (; at < count; at++)
        sum += values[at];
    return sum;
}

static inline double add(const double *values, int64_t count) { return values[0] + add_pairwise(values + 1, count - 1); }

static inline double add_products(const double *a, const double *b, int64_t count, double *products)
{
    for (int64_t i = 0; i < count; i++)
        products[i] = a[i] * b[i];
    return add(products, count);
}

#endif
