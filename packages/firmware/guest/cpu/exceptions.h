/*
 * Exceptions: expected ones (a fix-up, the way back from CPL3) and the others, which end the machine with a report.
 */
#pragma once

#include "types.h"

enum exception_vector {
	DIVIDE_ERROR = 0,
	INVALID_OPCODE = 6,
	GENERAL_PROTECTION = 13,
	PAGE_FAULT = 14,
	NO_EXCEPTION = 0xff,
};

/* What the entries in vectors.S leave on the stack. */
struct exception {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

/* Status that the debug-exit port gets when the guest dies of an exception. */
#define CRASH_CODE 127

void exception_handle(struct exception *e);

/*
 * An instruction that may fault, for `asm`. If it does, the code goes on at `label` with the vector in RSI, which has
 * to be an operand that holds NO_EXCEPTION before: "+S"(vector).
 */
#define TRY(instruction, label)               \
	"1:	" instruction "\n"            \
	"	.pushsection .fixups, \"a\"\n" \
	"	.quad 1b, " label "\n"        \
	"	.popsection\n"

static inline u64 try_read_msr(u32 index, u64 *value)
{
	u64 vector = NO_EXCEPTION;
	u32 low = 0, high = 0;
	asm volatile(TRY("rdmsr", "2f") "2:" : "+a"(low), "+d"(high), "+S"(vector) : "c"(index));
	*value = low | (u64)high << 32;
	return vector;
}

static inline u64 try_load(u64 address)
{
	u64 vector = NO_EXCEPTION;
	asm volatile(TRY("movb (%1), %%al", "2f") "2:" : "+S"(vector) : "r"(address) : "rax", "memory");
	return vector;
}

static inline u64 try_divide_by_zero(void)
{
	u64 vector = NO_EXCEPTION;
	asm volatile(TRY("divl %1", "2f") "2:" : "+S"(vector) : "r"(0), "a"(1), "d"(0));
	return vector;
}
