/* The structures that Python and C share. Each member stands here once, by type and name.
 *
 * C makes its structures of these lists, and a text that the library exports. Python makes its own structures of that
 * text when it loads the library (library.py). Every member takes 8 bytes, so the order of members gives their offsets.
 */
#ifndef HANDLER_LAYOUT_H
#define HANDLER_LAYOUT_H

#include <stdint.h>

/* A field that the spec knows. */
#define FIELD(MEMBER)                                                                                                  \
    MEMBER(const uint8_t *, name) /* in quotation marks, as lines have it */                                           \
    MEMBER(int64_t, name_length) /* bytes, quotation marks included */                                                 \
    MEMBER(int64_t, kind) /* the number of a reading, from 0, or a Kind */                                             \
    MEMBER(double, lowest) /* of a reading's plausible range, in its unit, included */                                 \
    MEMBER(double, highest)

/* A line for the decoder of JSON lines. */
#define FALLBACK_LINE(MEMBER)                                                                                          \
    MEMBER(int64_t, offset) /* of its first byte in the text */                                                        \
    MEMBER(int64_t, length) /* bytes, without the line feed */                                                         \
    MEMBER(int64_t, number) /* of the line in its object, from 1 */

/* The state of a batch. Python owns all memory: a pointer's array is as long as the comment says. */
#define DECODER(MEMBER)                                                                                                \
    MEMBER(const uint8_t *, text) /* text_length bytes: whole lines, but for the last one of an object */              \
    MEMBER(int64_t, text_length) /* bytes */                                                                           \
    MEMBER(int64_t, offset) /* of the byte at which decode_lines goes on */                                            \
    MEMBER(int64_t, line_number) /* of the object's last line so far */                                                \
    MEMBER(const Field *, fields) /* field_count */                                                                    \
    MEMBER(int64_t, field_count)                                                                                       \
    MEMBER(int64_t, reading_count)                                                                                     \
    MEMBER(int64_t, latest) /* event time that is accepted, in microseconds since 1970, UTC */                         \
    MEMBER(uint64_t, key_low) /* of the hash: random, so that nobody can choose names that collide */                  \
    MEMBER(uint64_t, key_high)                                                                                         \
    MEMBER(int32_t *, machines) /* row_capacity: the number of each row's machine */                                   \
    MEMBER(int64_t *, times) /* row_capacity: event times, in microseconds since 1970, UTC */                          \
    MEMBER(double *, readings) /* row_capacity for the first reading, then for the next; NaN is no reading */          \
    MEMBER(int64_t, row_count)                                                                                         \
    MEMBER(int64_t, row_capacity)                                                                                      \
    MEMBER(int64_t, is_ordered) /* 1 as long as each machine's values of a reading come with ever later times, or 0 */ \
    MEMBER(int64_t, unknown_count) /* numeric fields of these rows that the spec does not know */                      \
    MEMBER(uint8_t *, names) /* 256 a machine: the machines' names, without gaps */                                    \
    MEMBER(int64_t *, name_ends) /* machine_capacity: where each name ends in names */                                 \
    MEMBER(int64_t *, last_times) /* machine_capacity for the first reading, then for the next: of its last values */  \
    MEMBER(int64_t, machine_count)                                                                                     \
    MEMBER(int64_t, machine_capacity)                                                                                  \
    MEMBER(int32_t *, slots) /* slot_mask + 1: a machine's number and one; 0 is a free slot */                         \
    MEMBER(uint64_t, slot_mask) /* a power of two less one, at least twice machine_capacity less one */                \
    MEMBER(FallbackLine *, fallback) /* fallback_capacity */                                                           \
    MEMBER(int64_t, fallback_count)                                                                                    \
    MEMBER(int64_t, fallback_capacity)

#define DECLARE(type, name) type name;
#define DESCRIBE(type, name) #type " " #name ";"
#define COUNT(type, name) +1

typedef struct { FIELD(DECLARE) } Field;

typedef struct { FALLBACK_LINE(DECLARE) } FallbackLine;

typedef struct { DECODER(DECLARE) } Decoder;

_Static_assert(sizeof(Field) == 8 * (0 FIELD(COUNT)), "a member of Field does not take 8 bytes");
_Static_assert(sizeof(FallbackLine) == 8 * (0 FALLBACK_LINE(COUNT)), "a member of FallbackLine does not take 8 bytes");
_Static_assert(sizeof(Decoder) == 8 * (0 DECODER(COUNT)), "a member of Decoder does not take 8 bytes");

const char decoder_layout[] =
    "Field{" FIELD(DESCRIBE) "}FallbackLine{" FALLBACK_LINE(DESCRIBE) "}"
                                                                      "Decoder{" DECODER(DESCRIBE) "}";

#endif
