/*
 * What can be asked of the guest. Each command has a file of its own name, or is in commands.c when it is a line.
 */
#pragma once

#include "types.h"

/* Runs one command with its arguments; writes into the text. */
void command_run(char *line);

/* Each gets the text behind the command's name. */
void command_blk(char *arguments);
void command_cpu(char *arguments);
void command_exits(char *arguments);
void command_fault(char *arguments);
void command_mem(char *arguments);
void command_net(char *arguments);
void command_selftest(char *arguments);

/* The last self-test found something wrong. */
extern bool selftest_failed;
