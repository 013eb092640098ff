/*
 * The line to vmm: frames over a port of a virtio console, and before its driver is there over the serial port, beside the kernel's
 * console. A frame is 0x01, a letter, the payload's length in two bytes (little-endian), and the payload. vmm's side is packages/vmm/src/sandbox/frames.ts.
 */
#pragma once

#include <stddef.h>

enum frame {
	/* From here. */
	FRAME_READY = 'R',
	FRAME_OUTPUT = 'O',
	FRAME_ERRORS = 'E',
	/* Bytes of input that have been passed on: as many more may come. */
	FRAME_CREDIT = 'C',
	FRAME_STATUS = 'X',
	/* Why the command could not be run at all: a line of text. */
	FRAME_FAILURE = 'F',
	/* To here. */
	FRAME_INPUT = 'I',
	FRAME_INPUT_END = 'Z',
	FRAME_SIZE = 'W',
	FRAME_SIGNAL = 'S',
};

/* As many bytes of input are on their way at most. */
enum { INPUT_WINDOW = 8192, MOST_PAYLOAD = 4096 };

extern int line;

/* Opens the serial port, raw. Negative: an errno. */
long open_line(void);
/* From here on the line is the port, which appears some time after its driver. */
void move_line_to_port(void);
void send_frame(enum frame kind, const void *payload, size_t length);
/* Takes what has come; calls `take` for each frame that is complete. */
void receive_frames(void (*take)(enum frame kind, const unsigned char *payload, size_t length));
/* Says why, and ends the machine. */
_Noreturn void fail(const char *what, const char *which, long error);
_Noreturn void switch_off(void);
