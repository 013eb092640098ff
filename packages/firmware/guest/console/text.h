/*
 * Words and numbers in a line of text.
 */
#pragma once

#include "types.h"

bool text_equal(const char *a, const char *b);

/* If `text` begins with `prefix`, what follows it; otherwise null. */
const char *text_after(const char *text, const char *prefix);

/*
 * Cuts the first word off `*rest`, which then points at the next one. Empty at the end of the line. Writes a zero
 * behind the word.
 */
char *text_next_word(char **rest);

/* Cuts the text before `separator` off `*rest`, without the spaces around it. Null when there is nothing left. */
char *text_next_part(char **rest, char separator);

/* False unless all of `text` is one decimal number. */
bool text_number(const char *text, u64 *value);
