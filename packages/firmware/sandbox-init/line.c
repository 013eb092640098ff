#include "line.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <linux/fcntl.h>
#include <linux/reboot.h>
#include <linux/time.h>

#include "system.h"

enum { MARK = 0x01, HEADER_BYTES = 4, MOST_TRIES = 2500 };

int line = -1;
static bool is_port;

static unsigned char received[2 * (HEADER_BYTES + MOST_PAYLOAD)];
static size_t received_length;

long open_line(void)
{
	line = (int)sys3(__NR_open, "/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
	if (line < 0)
		return line;
	struct termios modes;
	memset(&modes, 0, sizeof modes);
	modes.c_cflag = B115200 | CS8 | CREAD | CLOCAL;
	modes.c_cc[VMIN] = 1;
	return sys3(__NR_ioctl, line, TCSETS, &modes);
}

void move_line_to_port(void)
{
	/* Of the first virtio device, 0; port 0 would be a console's. */
	static const char path[] = "/dev/vport0p1";
	const struct timespec pause = {.tv_nsec = 1000000};
	long port = -ERR_NOENT;
	for (int left = MOST_TRIES; left > 0 && port == -ERR_NOENT; left--) {
		port = sys3(__NR_open, path, O_RDWR | O_CLOEXEC, 0);
		if (port == -ERR_NOENT)
			sys2(__NR_nanosleep, &pause, NULL);
	}
	if (port < 0)
		fail("there is no ", path, port);
	sys1(__NR_close, line);
	line = (int)port;
	is_port = true;
}

static void write_all(const unsigned char *bytes, size_t length)
{
	while (length > 0) {
		long now = sys3(__NR_write, line, bytes, length);
		if (now == -ERR_INTR || now == -ERR_AGAIN)
			continue;
		if (now <= 0)
			return;
		bytes += now;
		length -= (size_t)now;
	}
}

void send_frame(enum frame kind, const void *payload, size_t length)
{
	unsigned char frame[HEADER_BYTES + MOST_PAYLOAD];
	if (length > MOST_PAYLOAD)
		length = MOST_PAYLOAD;
	frame[0] = MARK;
	frame[1] = (unsigned char)kind;
	frame[2] = (unsigned char)length;
	frame[3] = (unsigned char)(length >> 8);
	memcpy(frame + HEADER_BYTES, payload, length);
	write_all(frame, HEADER_BYTES + length);
}

void receive_frames(void (*take)(enum frame kind, const unsigned char *payload, size_t length))
{
	long now = sys3(__NR_read, line, received + received_length, sizeof received - received_length);
	if (now <= 0)
		return;
	received_length += (size_t)now;
	size_t at = 0;
	while (received_length - at >= HEADER_BYTES) {
		const unsigned char *frame = received + at;
		size_t length = (size_t)(frame[2] | frame[3] << 8);
		if (frame[0] != MARK || length > MOST_PAYLOAD) {
			at++;
			continue;
		}
		if (received_length - at < HEADER_BYTES + length)
			break;
		take((enum frame)frame[1], frame + HEADER_BYTES, length);
		at += HEADER_BYTES + length;
	}
	received_length -= at;
	for (size_t i = 0; i < received_length; i++)
		received[i] = received[at + i];
}

static size_t append(char *text, size_t at, size_t room, const char *more)
{
	while (*more != 0 && at < room)
		text[at++] = *more++;
	return at;
}

void fail(const char *what, const char *which, long error)
{
	static char message[1024];
	char digits[16];
	size_t at = append(message, 0, sizeof message, what);
	at = append(message, at, sizeof message, which);
	if (error < 0) {
		unsigned long value = (unsigned long)-error;
		size_t digit = sizeof digits;
		digits[--digit] = 0;
		do {
			digits[--digit] = (char)('0' + value % 10);
			value /= 10;
		} while (value != 0);
		at = append(message, at, sizeof message, ": errno ");
		at = append(message, at, sizeof message, digits + digit);
	}
	send_frame(FRAME_FAILURE, message, at);
	switch_off();
}

void switch_off(void)
{
	/* vmm ends the machine when it has read what was said last. */
	while (is_port)
		sys0(__NR_pause);
	sys3(__NR_ioctl, line, TCSBRK, 1); /* waits until all is sent */
	sys4(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0);
	for (;;)
		sys0(__NR_pause);
}
