/*
 * A lock for a few CPUs that meet seldom.
 */
#pragma once

#include "cpu/instructions.h"

struct spinlock {
	u32 taken;
};

static inline bool try_lock(struct spinlock *lock)
{
	return __atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE) == 0;
}

static inline void lock(struct spinlock *lock)
{
	while (!try_lock(lock))
		relax();
}

static inline void unlock(struct spinlock *lock)
{
	__atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
}
