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
    uint64_t seen; /* not 0 if a string has a byte that is no ASCII */
} Cursor;

static bool is_digit(uint8_t byte) { return (uint8_t)(byte - '0') <= 9; }

static uint64_t load_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/* Compare as memcmp does, whose call costs more for longer texts; the last word overlaps the one before. */
static bool has_bytes(const uint8_t *at, Text expected)
{
    const uint8_t *bytes = expected.start;
    int64_t length = expected.length;
    if (length < 8)
        return memcmp(at, bytes, (size_t)length) == 0;
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

/* Take a mark with the blanks around it. */
static bool take_mark(Cursor *c, uint8_t mark)
{
    skip_blanks(c);
    if (!take(c, mark))
        return false;
    skip_blanks(c);
    return true;
}

static bool take_word(Cursor *c, const char *word)
{
    return take_bytes(c, (Text){(const uint8_t *)word, (int64_t)strlen(word)});
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

static uint64_t rotate(uint64_t word, int bits) { return word << bits | word >> (64 - bits); }

static void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012). */
static uint64_t hash(Text text, uint64_t key_low, uint64_t key_high)
{
    uint64_t v[] = {key_low ^ 0x736F6D6570736575, key_high ^ 0x646F72616E646F6D, key_low ^ 0x6C7967656E657261,
                    key_high ^ 0x7465646279746573};
    int64_t done = 0;
    uint64_t word = 0;
    for (; text.length - done >= 8; done += 8) {
        word = load_word(text.start + done);
        v[3] ^= word;
        mix(v);
        v[0] ^= word;
    }
    word = (uint64_t)text.length << 56;
    for (int64_t i = done; i < text.length; i++)
        word |= (uint64_t)text.start[i] << (8 * (i - done));
    v[3] ^= word;
    mix(v);
    v[0] ^= word;
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        mix(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
