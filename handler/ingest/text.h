/* Bytes of a text, and a place in it from which they are taken. */
#ifndef HANDLER_TEXT_H
#define HANDLER_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const uint8_t *start;
    int64_t length;
} Text;

typedef struct {
    const uint8_t *at, *end;
    uint16_t seen; /* not 0 if a string has a byte that is no ASCII */
} Cursor;

static bool is_digit(uint8_t byte) { return (uint8_t)(byte - '0') <= 9; }

static uint64_t load_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/* As memcmp, which is too much for so few bytes; the last word overlaps the one before. */
static bool has_bytes(const uint8_t *at, Text expected)
{
    const uint8_t *bytes = expected.start;
    int64_t length = expected.length;
    if (length < 8) {
        for (int64_t i = 0; i < length; i++)
            if (at[i] != bytes[i])
                return false;
        return true;
    }
    for (int64_t i = 0; i < length - 8; i += 8)
        if (load_word(at + i) != load_word(bytes + i))
            return false;
    return load_word(at + length - 8) == load_word(bytes + length - 8);
}

static bool is_equal(Text a, Text b) { return a.length == b.length && has_bytes(a.start, b); }

static void skip_blanks(Cursor *c)
{
    const uint8_t *at = c->at;
    while (at < c->end && *at <= ' ' && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    c->at = at;
}

static bool take(Cursor *c, uint8_t expected)
{
    if (c->at == c->end || *c->at != expected)
        return false;
    c->at++;
    return true;
}

static bool take_bytes(Cursor *c, Text expected)
{
    if (c->end - c->at < expected.length || !has_bytes(c->at, expected))
        return false;
    c->at += expected.length;
    return true;
}

static bool take_mark(Cursor *c, uint8_t mark)
{
    if (c->end - c->at > 1 && c->at[0] == mark && c->at[1] > ' ') { /* mostly there are no blanks */
        c->at++;
        return true;
    }
    skip_blanks(c);
    if (!take(c, mark))
        return false;
    skip_blanks(c);
    return true;
}

static bool take_word(Cursor *c, const char *word, int64_t length)
{
    if (c->end - c->at < length || memcmp(c->at, word, (size_t)length) != 0)
        return false;
    c->at += length;
    return true;
}

/* Unicode 16, table 3-7: well-formed UTF-8. */
static bool is_utf8(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        uint8_t lead = *at++;
        if (lead < 0x80)
            continue;
        int following = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || end - at < following)
            return false;
        uint8_t lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        uint8_t highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        for (; following > 0; following--, lowest = 0x80, highest = 0xBF)
            if (*at < lowest || *at++ > highest)
                return false;
    }
    return true;
}

#endif
