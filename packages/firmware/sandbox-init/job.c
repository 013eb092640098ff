#include "job.h"

#include <linux/fcntl.h>

#include "system.h"

struct job job;

static char text[4 << 20];

static unsigned number(const char *digits)
{
	unsigned value = 0;
	for (; *digits >= '0' && *digits <= '9'; digits++)
		value = value * 10 + (unsigned)(*digits - '0');
	return value;
}

static long read_all(void)
{
	long file = sys3(__NR_open, "/job", O_RDONLY | O_CLOEXEC, 0);
	if (file < 0)
		return file;
	size_t length = 0;
	for (;;) {
		long now = sys3(__NR_read, file, text + length, sizeof text - 1 - length);
		if (now <= 0)
			break;
		length += (size_t)now;
	}
	sys1(__NR_close, file);
	return (long)length;
}

static const char *next(const char **at, const char *end)
{
	const char *word = *at;
	if (word >= end)
		return "";
	*at = word + length_of(word) + 1;
	return word;
}

const char *read_job(void)
{
	long length = read_all();
	if (length <= 0)
		return "there is no /job in the initramfs";
	const char *at = text;
	const char *end = text + length;
	while (at < end) {
		const char *what = next(&at, end);
		const char *value = next(&at, end);
		if (equal(what, "module") && job.module_count < MOST_ITEMS) {
			job.modules[job.module_count++] = value;
		} else if (equal(what, "share") && job.share_count < MOST_ITEMS) {
			struct share *share = &job.shares[job.share_count++];
			share->tag = value;
			share->path = next(&at, end);
			share->readonly = equal(next(&at, end), "ro");
		} else if (equal(what, "argument") && job.argument_count < MOST_WORDS - 1) {
			job.arguments[job.argument_count++] = value;
		} else if (equal(what, "environment") && job.environment_count < MOST_WORDS - 1) {
			job.environment[job.environment_count++] = value;
		} else if (equal(what, "group-of") && job.group_count < MOST_ITEMS) {
			job.groups[job.group_count++] = number(value);
		} else if (equal(what, "folder")) {
			job.folder = value;
		} else if (equal(what, "user")) {
			job.user = number(value);
		} else if (equal(what, "group")) {
			job.group = number(value);
		} else if (equal(what, "terminal")) {
			job.terminal = true;
			job.columns = (unsigned short)number(value);
			job.rows = (unsigned short)number(next(&at, end));
		} else if (equal(what, "address")) {
			job.address = number(value);
			job.netmask = number(next(&at, end));
			job.gateway = number(next(&at, end));
		} else if (equal(what, "resolver")) {
			job.resolver = value;
		} else {
			return "/job has a word that is not known, or too many of one";
		}
	}
	if (job.argument_count == 0 || job.folder == NULL)
		return "/job has no command";
	return NULL;
}
