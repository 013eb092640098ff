#include "command.h"

#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/termbits.h>
#include <asm/termios.h>
#include <linux/fcntl.h>
#include <linux/wait.h>

#include "job.h"
#include "line.h"
#include "system.h"

/* Statuses of a shell: a program that is not there, one that cannot be run, and one that signal n ended. */
enum { STATUS_NOT_FOUND = 127, STATUS_NOT_RUN = 126, STATUS_SIGNALLED = 128 };
enum { LINE, CHILDREN, OUTPUT, ERRORS, INPUT, SOURCES };

static long command;
/* Of the machine's side: pipes, or the master of a terminal for the first two. -1 when closed. */
static int input = -1;
static int output = -1;
static int errors = -1;
/* Input that the command has not taken yet. */
static unsigned char waiting[INPUT_WINDOW];
static size_t waiting_from, waiting_to;
static bool input_ends;

static void close_file(int *file)
{
	if (*file >= 0)
		sys1(__NR_close, *file);
	*file = -1;
}

static void set_size(const unsigned char *size)
{
	struct winsize window;
	memset(&window, 0, sizeof window);
	window.ws_col = (unsigned short)(size[0] | size[1] << 8);
	window.ws_row = (unsigned short)(size[2] | size[3] << 8);
	if (job.terminal)
		sys3(__NR_ioctl, output, TIOCSWINSZ, &window);
}

static void take_frame(enum frame kind, const unsigned char *payload, size_t length)
{
	if (kind == FRAME_INPUT) {
		if (waiting_from == waiting_to)
			waiting_from = waiting_to = 0;
		/* Never more than the window is on its way, so this is only moved, never lost. */
		for (size_t i = waiting_from; i < waiting_to; i++)
			waiting[i - waiting_from] = waiting[i];
		waiting_to -= waiting_from;
		waiting_from = 0;
		if (length > sizeof waiting - waiting_to)
			length = sizeof waiting - waiting_to;
		memcpy(waiting + waiting_to, payload, length);
		waiting_to += length;
	} else if (kind == FRAME_INPUT_END) {
		input_ends = true;
	} else if (kind == FRAME_SIZE && length == 4) {
		set_size(payload);
	} else if (kind == FRAME_SIGNAL && length == 1) {
		/* As on the host: what a terminal sends is for all in front of it, a request to end for the one process. */
		sys2(__NR_kill, payload[0] == SIGTERM ? command : -command, payload[0]);
	}
}

static void give_credit(size_t bytes)
{
	unsigned char credit[2] = {(unsigned char)bytes, (unsigned char)(bytes >> 8)};
	send_frame(FRAME_CREDIT, credit, sizeof credit);
}

/* Input for a command that reads no more is taken all the same, so that nobody waits for it. */
static void pass_input(void)
{
	if (waiting_from < waiting_to) {
		long now = input < 0 ? (long)(waiting_to - waiting_from)
				     : sys3(__NR_write, input, waiting + waiting_from, waiting_to - waiting_from);
		if (now == -ERR_AGAIN || now == -ERR_INTR)
			return;
		if (now <= 0) {
			close_file(&input);
			now = (long)(waiting_to - waiting_from);
		}
		waiting_from += (size_t)now;
		give_credit((size_t)now);
	}
	if (input_ends && waiting_from == waiting_to && !job.terminal)
		close_file(&input);
}

/* False when nothing more will come. */
static bool pass_output(int *file, enum frame kind)
{
	static char bytes[MOST_PAYLOAD];
	long now = sys3(__NR_read, *file, bytes, sizeof bytes);
	if (now == -ERR_AGAIN || now == -ERR_INTR)
		return true;
	if (now <= 0) {
		close_file(file);
		return false;
	}
	send_frame(kind, bytes, (size_t)now);
	return true;
}

static const char *variable(const char *name)
{
	size_t length = length_of(name);
	for (int i = 0; i < job.environment_count; i++) {
		const char *entry = job.environment[i];
		size_t at = 0;
		while (at < length && entry[at] == name[at])
			at++;
		if (at == length && entry[at] == '=')
			return entry + at + 1;
	}
	return "";
}

static long execute(const char *path)
{
	return sys3(__NR_execve, path, job.arguments, job.environment);
}

/* As execvp(3): a name without a slash is looked for along PATH. */
static long execute_by_name(const char *name)
{
	for (const char *each = name; *each != 0; each++)
		if (*each == '/')
			return execute(name);
	char path[4096];
	const char *folder = variable("PATH");
	size_t name_length = length_of(name);
	long error = -ERR_NOENT;
	while (*folder != 0) {
		size_t length = 0;
		while (folder[length] != 0 && folder[length] != ':')
			length++;
		if (length > 0 && length + 1 + name_length < sizeof path) {
			memcpy(path, folder, length);
			path[length] = '/';
			memcpy(path + length + 1, name, name_length + 1);
			long now = execute(path);
			if (now != -ERR_NOENT && now != -ERR_NOTDIR)
				error = now;
		}
		folder += length + (folder[length] == ':');
	}
	return error;
}

static void say(const char *text)
{
	sys3(__NR_write, 2, text, length_of(text));
}

static _Noreturn void become_command(const int files[3])
{
	sys0(__NR_setsid);
	for (int i = 0; i < 3; i++)
		sys2(__NR_dup2, files[i], i);
	if (job.terminal)
		sys3(__NR_ioctl, 0, TIOCSCTTY, 0);
	unsigned long none = 0;
	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
	sys2(__NR_setgroups, job.group_count, job.groups);
	sys1(__NR_setgid, job.group);
	sys1(__NR_setuid, job.user);
	if (sys1(__NR_chdir, job.folder) < 0)
		sys1(__NR_chdir, "/");
	long error = execute_by_name(job.arguments[0]);
	say("vmm sandbox: ");
	say(job.arguments[0]);
	say(error == -ERR_NOENT ? ": not found\n" : ": cannot be run\n");
	for (;;)
		sys1(__NR_exit_group, error == -ERR_NOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

/* A terminal for the command: `files` are its ends. */
static void open_terminal(int files[3])
{
	int unlocked = 0;
	char path[] = "/dev/pts/0";
	int master = (int)sys3(__NR_open, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK, 0);
	if (master < 0)
		fail("there is no ", "terminal", master);
	sys3(__NR_ioctl, master, TIOCSPTLCK, &unlocked);
	/* The first of a machine is 0. */
	int slave = (int)sys3(__NR_open, path, O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
	if (slave < 0)
		fail("cannot open ", path, slave);
	sys3(__NR_fchown, slave, job.user, 5);
	for (int i = 0; i < 3; i++)
		files[i] = slave;
	input = output = master;
	unsigned char size[4] = {(unsigned char)job.columns, (unsigned char)(job.columns >> 8), (unsigned char)job.rows,
				 (unsigned char)(job.rows >> 8)};
	set_size(size);
}

static void open_pipes(int files[3])
{
	int ends[2];
	int *const mine[3] = {&input, &output, &errors};
	for (int i = 0; i < 3; i++) {
		long error = sys2(__NR_pipe2, ends, O_CLOEXEC);
		if (error < 0)
			fail("no ", "pipe", error);
		files[i] = ends[i == 0 ? 0 : 1];
		*mine[i] = ends[i == 0 ? 1 : 0];
		sys3(__NR_fcntl, *mine[i], F_SETFL, O_NONBLOCK);
		sys3(__NR_fchown, files[i], job.user, job.group);
	}
}

static long start(void)
{
	int files[3];
	if (job.terminal)
		open_terminal(files);
	else
		open_pipes(files);
	long child = sys0(__NR_fork);
	if (child == 0)
		become_command(files);
	if (child < 0)
		fail("cannot start ", job.arguments[0], child);
	sys1(__NR_close, files[0]);
	if (!job.terminal) {
		sys1(__NR_close, files[1]);
		sys1(__NR_close, files[2]);
	}
	return child;
}

/* True when the command itself has ended: `status` is then a shell's word for it. */
static bool reap(unsigned char *status)
{
	bool ended = false;
	int how;
	for (;;) {
		long child = sys4(__NR_wait4, -1, &how, WNOHANG, NULL);
		if (child <= 0)
			return ended;
		if (child != command)
			continue;
		ended = true;
		*status = (unsigned char)((how & 0x7f) == 0 ? how >> 8 : STATUS_SIGNALLED + (how & 0x7f));
	}
}

static long watch_children(void)
{
	unsigned long mask = 1UL << (SIGCHLD - 1) | 1UL << (SIGPIPE - 1);
	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
	mask = 1UL << (SIGCHLD - 1);
	return sys4(__NR_signalfd4, -1, &mask, sizeof mask, O_NONBLOCK | O_CLOEXEC);
}

static void take_signals(long file)
{
	char details[128];
	while (sys3(__NR_read, file, details, sizeof details) > 0)
		;
}

static unsigned char relay(long children)
{
	unsigned char status = 0;
	for (;;) {
		bool has_input = waiting_from < waiting_to;
		struct pollfd sources[SOURCES] = {
			[LINE] = {.fd = line, .events = POLLIN},
			[CHILDREN] = {.fd = (int)children, .events = POLLIN},
			[OUTPUT] = {.fd = output, .events = POLLIN},
			[ERRORS] = {.fd = errors, .events = POLLIN},
			[INPUT] = {.fd = has_input ? input : -1, .events = POLLOUT},
		};
		sys3(__NR_poll, sources, SOURCES, -1);
		if (sources[LINE].revents & POLLIN)
			receive_frames(take_frame);
		if (sources[OUTPUT].revents & POLLIN)
			pass_output(&output, FRAME_OUTPUT);
		else if (sources[OUTPUT].revents != 0 && !job.terminal)
			close_file(&output);
		if (sources[ERRORS].revents & POLLIN)
			pass_output(&errors, FRAME_ERRORS);
		else if (sources[ERRORS].revents != 0)
			close_file(&errors);
		pass_input();
		if (sources[CHILDREN].revents & POLLIN) {
			take_signals(children);
			if (reap(&status))
				return status;
		}
	}
}

/* What the command has written and nobody has read yet. Its descendants, who could write more, are gone. */
static void pass_the_rest(void)
{
	struct pollfd one = {.events = POLLIN};
	while ((one.fd = output) >= 0 && sys3(__NR_poll, &one, 1, 0) > 0 && one.revents & POLLIN)
		if (!pass_output(&output, FRAME_OUTPUT))
			break;
	while ((one.fd = errors) >= 0 && sys3(__NR_poll, &one, 1, 0) > 0 && one.revents & POLLIN)
		if (!pass_output(&errors, FRAME_ERRORS))
			break;
}

void run_command(void)
{
	long children = watch_children();
	command = start();
	send_frame(FRAME_READY, "", 0);
	unsigned char status = relay(children);
	sys2(__NR_kill, -1, SIGKILL);
	pass_the_rest();
	sys0(__NR_sync);
	send_frame(FRAME_STATUS, &status, 1);
	switch_off();
}
