/* JSON values (RFC 8259) that are certain to be right; all others are refused. */
#ifndef HANDLER_JSON_H
#define HANDLER_JSON_H

#include "text.h"

enum { DEEPEST = 32, FEW_DIGITS = 18, LARGEST_POWER = 999 };

/* 16 bytes that are compared at once, and the two words that they make. */
typedef uint8_t Block __attribute__((vector_size(16)));
typedef uint64_t Words __attribute__((vector_size(16)));
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte of a block is the lowest of its words");

/* Go on to the first quotation mark, backslash or control character, or to the end of the text. */
static void find_special(Cursor *c)
{
    const uint8_t *at = c->at, *end = c->end;
    Block seen = {0};
    uint64_t mark = 0;
    for (; end - at >= (int64_t)sizeof seen; at += 8) {
        Block block;
        memcpy(&block, at, sizeof block);
        seen |= block; /* what follows the mark, too: then is_utf8 looks at more lines than it must */
        Words marks = (Words)((block == '"') | (block == '\\') | (block < ' '));
        mark = marks[0];
        if (mark != 0)
            break;
        at += 8;
        mark = marks[1];
        if (mark != 0)
            break;
    }
    if (mark != 0)
        at += __builtin_ctzll(mark) / 8;
    else
        for (; at < end && *at != '"' && *at != '\\' && *at >= ' '; at++)
            seen[0] |= *at;
    Words all = (Words)seen;
    c->seen |= (all[0] | all[1]) & 0x8080808080808080;
    c->at = at;
}

/* Take a string without escapes. */
static bool take_text(Cursor *c, Text *text)
{
    if (!take(c, '"'))
        return false;
    text->start = c->at;
    find_special(c);
    text->length = c->at - text->start;
    return take(c, '"');
}

/* Pass over a string; escapes of code units, which may be half of a pair, are refused. */
static bool skip_text(Cursor *c)
{
    if (!take(c, '"'))
        return false;
    for (;;) {
        find_special(c);
        if (take(c, '"'))
            return true;
        if (!take(c, '\\') || c->at == c->end || *c->at == 0 || strchr("\"\\/bfnrt", *c->at) == NULL)
            return false;
        c->at++;
    }
}

typedef struct {
    uint64_t digits;
    int64_t exponent; /* of ten */
    bool is_negative, is_whole, is_exact; /* is_exact: digits and exponent hold all of the number */
} Number;

static void take_digits(Cursor *c, Number *n, int64_t exponent_each)
{
    for (; c->at < c->end && is_digit(*c->at); c->at++) {
        n->is_exact &= n->digits < UINT64_MAX / 10 - 1;
        n->digits = n->digits * 10 + (uint8_t)(*c->at - '0');
        n->exponent += exponent_each;
    }
}

/* Take any number (RFC 8259, section 6). */
static bool take_any_number(Cursor *c, Number *n)
{
    *n = (Number){.is_exact = true, .is_whole = true};
    n->is_negative = take(c, '-');
    const uint8_t *first = c->at;
    take_digits(c, n, 0);
    if (c->at == first || (*first == '0' && c->at - first > 1))
        return false;
    if (take(c, '.')) {
        n->is_whole = false;
        first = c->at;
        take_digits(c, n, -1);
        if (c->at == first)
            return false;
    }
    if (take(c, 'e') || take(c, 'E')) {
        n->is_whole = false;
        bool is_negative = take(c, '-');
        if (!is_negative)
            take(c, '+');
        Number power = {.is_exact = true};
        first = c->at;
        take_digits(c, &power, 0);
        if (c->at == first)
            return false;
        if (power.is_exact && power.digits <= LARGEST_POWER)
            n->exponent += is_negative ? -(int64_t)power.digits : (int64_t)power.digits;
        else
            n->is_exact = false;
    }
    return true;
}

static const uint8_t *read_few_digits(const uint8_t *at, const uint8_t *end, uint64_t *digits)
{
    for (; at < end && is_digit(*at); at++)
        *digits = *digits * 10 + (uint8_t)(*at - '0');
    return at;
}

/* Take any number; few digits, with or without a point, in the shortest way. */
static bool take_number(Cursor *c, Number *n)
{
    bool is_negative = c->at < c->end && *c->at == '-';
    const uint8_t *first = c->at + is_negative, *at = first;
    uint64_t digits = 0;
    int64_t places = 0;
    at = read_few_digits(at, c->end, &digits);
    bool is_plain = at > first && (*first != '0' || at - first == 1);
    if (at < c->end && *at == '.') {
        const uint8_t *point = at;
        at = read_few_digits(at + 1, c->end, &digits);
        places = at - point - 1;
        is_plain &= places > 0;
    }
    if (!is_plain || at - first > FEW_DIGITS || (at < c->end && (*at == 'e' || *at == 'E' || *at == '.')))
        return take_any_number(c, n);
    *n = (Number){digits, -places, .is_negative = is_negative, .is_whole = places == 0, .is_exact = true};
    c->at = at;
    return true;
}

static bool skip_value(Cursor *c, int depth, bool *is_number);

static bool skip_container(Cursor *c, int depth, uint8_t opening, uint8_t closing)
{
    bool is_number;
    if (depth == DEEPEST || !take_mark(c, opening))
        return false;
    if (take(c, closing))
        return true;
    do {
        if (opening == '{' && !(skip_text(c) && take_mark(c, ':')))
            return false;
        if (!skip_value(c, depth + 1, &is_number))
            return false;
    } while (take_mark(c, ','));
    return take(c, closing);
}

/* Pass over any value. */
static bool skip_value(Cursor *c, int depth, bool *is_number)
{
    Number number;
    *is_number = false;
    switch (c->at < c->end ? *c->at : '\n') {
    case '"':
        return skip_text(c);
    case '{':
        return skip_container(c, depth, '{', '}');
    case '[':
        return skip_container(c, depth, '[', ']');
    case 't':
        return take_word(c, "true");
    case 'f':
        return take_word(c, "false");
    case 'n':
        return take_word(c, "null");
    default:
        *is_number = true;
        return take_number(c, &number);
    }
}

#endif
