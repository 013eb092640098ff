#include "system.h"

size_t length_of(const char *text)
{
	size_t length = 0;
	while (text[length] != 0)
		length++;
	return length;
}

bool equal(const char *a, const char *b)
{
	while (*a != 0 && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

void *memcpy(void *to, const void *from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}

void *memset(void *at, int value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((char *)at)[i] = (char)value;
	return at;
}
