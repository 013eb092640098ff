/*
 * What is to be done: the file /job, which vmm writes (packages/vmm/src/sandbox/job.ts). It is a sequence of strings, each ended by a NUL: a
 * word that says what it is, and its values.
 */
#pragma once

#include <stdbool.h>

enum { MOST_ITEMS = 64, MOST_WORDS = 32768 };

struct share {
	const char *tag;
	const char *path;
	bool readonly;
};

struct job {
	const char *modules[MOST_ITEMS];
	int module_count;
	struct share shares[MOST_ITEMS];
	int share_count;
	/* The command, and its environment. Both end with a null pointer. */
	const char *arguments[MOST_WORDS];
	int argument_count;
	const char *environment[MOST_WORDS];
	int environment_count;
	const char *folder;
	unsigned user;
	unsigned group;
	unsigned groups[MOST_ITEMS];
	int group_count;
	bool terminal;
	unsigned short columns;
	unsigned short rows;
	/* The guest's network, in network byte order; no network when the address is 0. */
	unsigned address;
	unsigned netmask;
	unsigned gateway;
	const char *resolver;
};

extern struct job job;

/* Null, or what is wrong with it. */
const char *read_job(void);
