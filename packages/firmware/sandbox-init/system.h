/*
 * Linux's system calls as this program needs them. Each returns what the kernel returns: a negative errno is an error.
 */
#pragma once

#include <asm/unistd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline long system_call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define sys0(n) system_call6(n, 0, 0, 0, 0, 0, 0)
#define sys1(n, a) system_call6(n, (long)(a), 0, 0, 0, 0, 0)
#define sys2(n, a, b) system_call6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define sys3(n, a, b, c) system_call6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define sys4(n, a, b, c, d) system_call6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define sys5(n, a, b, c, d, e) system_call6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* errno values that are told apart. */
enum { ERR_NOENT = 2, ERR_INTR = 4, ERR_AGAIN = 11, ERR_EXIST = 17, ERR_NOTDIR = 20 };

/* The parts of strings and memory; the compiler calls the last two by itself. */
size_t length_of(const char *text);
bool equal(const char *a, const char *b);
void *memcpy(void *to, const void *from, size_t length);
void *memset(void *at, int value, size_t length);
