/*
 * A line of input, typed and edited.
 */
#pragma once

#define MAX_LINE 128

/* Shows `prompt` and returns the line that was entered, without its end. Valid until the next call. */
char *line_read(const char *prompt);
