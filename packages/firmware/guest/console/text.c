/*
 * Words and numbers in a line of text.
 */
#include "console/text.h"

bool text_equal(const char *a, const char *b)
{
	for (; *a && *a == *b; a++)
		b++;
	return *a == *b;
}

const char *text_after(const char *text, const char *prefix)
{
	for (; *prefix; prefix++)
		if (*text++ != *prefix)
			return NULL;
	return text;
}

char *text_next_word(char **rest)
{
	char *word = *rest;

	while (*word == ' ')
		word++;
	*rest = word;
	while (**rest && **rest != ' ')
		++*rest;
	while (**rest == ' ')
		*(*rest)++ = 0;
	return word;
}

char *text_next_part(char **rest, char separator)
{
	char *part = *rest;
	char *end;

	if (!part)
		return NULL;
	while (*part == ' ')
		part++;
	for (end = part; *end && *end != separator; end++)
		;
	*rest = *end ? end + 1 : NULL;
	while (end > part && end[-1] == ' ')
		end--;
	*end = 0;
	return part;
}

bool text_number(const char *text, u64 *value)
{
	if (!*text)
		return false;
	for (*value = 0; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, *text - '0', value))
			return false;
	}
	return true;
}
